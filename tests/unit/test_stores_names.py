# SPDX-License-Identifier: MIT
"""Distinguished names are compared by what they name, and descriptions are taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwitness.stores.names import as_dogtag, canonical, parse_description, same_dn

SUBSYSTEM = "CN=CA Subsystem,O=IPADOMAIN.COM"

SAME = [
    (SUBSYSTEM, "cn=ca subsystem,o=ipadomain.com"),
    (SUBSYSTEM, "CN=CA  Subsystem , O = IPADOMAIN.COM"),
    (SUBSYSTEM, "CN=CA Subsystem;O=IPADOMAIN.COM"),
    (SUBSYSTEM, "2.5.4.3=CA Subsystem,OID.2.5.4.10=IPADOMAIN.COM"),
    (SUBSYSTEM, "CN=#0c0c43412053756273797374656d,O=#130d495041444f4d41494e2e434f4d"),
    (SUBSYSTEM, 'CN="CA Subsystem",O="IPADOMAIN.COM"'),
    (SUBSYSTEM, "CN=\\43A\\20Subsystem,O=IPADOMAIN.COM"),
    ("CN=a\\,b,O=x", 'CN="a,b",O=x'),
    ("CN=a\\2Cb,O=x", "CN=a\\,b,O=x"),
    ("CN=a\\;b,O=x", "CN=a\\3bb,O=x"),
    ("CN=\\C3\\A4,O=x", "CN=ä,O=x"),
    ("CN=Ä,O=x", "CN=ä,O=x"),
    ("CN=#1e0400e40042,O=x", "CN=äb,O=x"),
    ("CN=a+UID=b,O=x", "UID=b+CN=a,O=x"),
    ("emailAddress=a@b,O=x", "1.2.840.113549.1.9.1=A@B,O=x"),
    ("E=a@b", "EMAIL=a@b"),
    ("1.2.3.4=a", "oid.1.2.3.4=A"),
    ("CN=", "cn="),
    ("", " "),
    ("no name at all", "No Name At All"),
    ("CN=\\ff", "CN=#ff,"[:-1]),
]
OTHER = [
    (SUBSYSTEM, "O=IPADOMAIN.COM,CN=CA Subsystem"),
    (SUBSYSTEM, "CN=CASubsystem,O=IPADOMAIN.COM"),
    (SUBSYSTEM, "CN=CA Subsystem"),
    (SUBSYSTEM, "CN=CA Subsystem,O=IPADOMAIN.COM,"),
    (SUBSYSTEM, "OU=CA Subsystem,O=IPADOMAIN.COM"),
    ("CN=a+UID=b,O=x", "CN=a,UID=b,O=x"),
    ("CN=a,CN=b", "CN=a\\,CN=b"),
    ("CN=ss", "CN=ß"),
    ("CN=a", "#3000"),
    ("CN=a", ""),
    ("CN=a\\", "CN=a"),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_spellings_of_one_name_are_the_same(a: str, b: str) -> None:
    """Case, blanks, escapes, hex, OIDs, quotes and the order within an RDN do not matter."""
    assert same_dn(a, b)
    assert same_dn(b, a)


@pytest.mark.parametrize(("a", "b"), OTHER)
def test_other_names_are_not_the_same(a: str, b: str) -> None:
    """The order of RDNs, the types and the values matter."""
    assert not same_dn(a, b)
    assert not same_dn(b, a)


TYPES = [("CN", "2.5.4.3"), ("O", "2.5.4.10"), ("ST", "2.5.4.8"), ("DC", "0.9.2342.19200300.100.1.25")]
VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=8)
AVAS = st.tuples(st.sampled_from(TYPES), VALUES)
NAMES = st.lists(st.lists(AVAS, min_size=1, max_size=3), min_size=1, max_size=4)
Ava = tuple[tuple[str, str], str]


def spell(draw: st.DataObject, ava: Ava) -> str:
    """One of the ways to write type and value."""
    (name, oid), value = ava
    utf8 = value.encode()
    kind = draw.draw(st.sampled_from([name, name.lower(), oid, f"OID.{oid}"]))
    written = draw.draw(
        st.sampled_from(
            [
                "".join(f"\\{byte:02x}" for byte in utf8),
                f"#0c{len(utf8):02x}{utf8.hex()}",
                '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"',
                "".join(f"\\{char}" if char in ',;+"\\#=<>' else char for char in value),
            ]
        )
    )
    return f"{kind}={written}"


def write(draw: st.DataObject, name: list[list[Ava]]) -> str:
    """One of the ways to write a name."""
    comma = draw.draw(st.sampled_from([",", ", ", ";"]))
    return comma.join("+".join(spell(draw, ava) for ava in draw.draw(st.permutations(rdn))) for rdn in name)


@given(st.data(), NAMES)
def test_any_two_spellings_are_the_same(draw: st.DataObject, name: list[list[Ava]]) -> None:
    """Whatever values a name holds, all ways to write it are equal."""
    assert same_dn(write(draw, name), write(draw, name))


@given(st.data(), NAMES, NAMES)
def test_names_with_other_values_differ(draw: st.DataObject, a: list[list[Ava]], b: list[list[Ava]]) -> None:
    """Names are equal only if their types and values are, whatever the spelling."""

    def meaning(name: list[list[Ava]]) -> list[list[tuple[str, str]]]:
        return [sorted((oid, value.lower()) for (_, oid), value in rdn) for rdn in name]

    assert same_dn(write(draw, a), write(draw, b)) == (meaning(a) == meaning(b))


@given(st.text(), st.text())
def test_nothing_raises(a: str, b: str) -> None:
    """Any text is compared, and equals itself."""
    assert same_dn(a, a)
    assert same_dn(a, b) == same_dn(b, a)
    parse_description(a)


@given(st.text(alphabet='CN=,;+\\"# 0aä.'))
def test_nothing_near_a_name_raises(text: str) -> None:
    """Text made of what names are made of is a name or none, and equals itself."""
    assert canonical(text) is None or isinstance(canonical(text), tuple)
    assert same_dn(text, text)
    parse_description(f"2;1;{text};{text}")


def test_a_description_is_taken_apart() -> None:
    """Version, decimal serial of any size, issuer, subject."""
    serial = 2**159 + 1
    assert parse_description(f"2;{serial};CN=Certificate Authority,O=X;CN=CA Subsystem,O=X") == (
        "2",
        serial,
        "CN=Certificate Authority,O=X",
        "CN=CA Subsystem,O=X",
    )
    negative = parse_description("2;-7;CN=a;CN=b")
    assert negative is not None
    assert negative.serial == -7


@pytest.mark.parametrize(
    ("text", "issuer", "subject"),
    [
        ("2;1;CN=a;CN=b;O=c", "CN=a", "CN=b;O=c"),
        ("2;1;CN=a\\;x;CN=b", "CN=a\\;x", "CN=b"),
        ('2;1;CN="a;x",O=y;CN=b', 'CN="a;x",O=y', "CN=b"),
        ('2;1;CN=a";CN=b', 'CN=a"', "CN=b"),
    ],
)
def test_semicolons_within_names_do_not_separate(text: str, issuer: str, subject: str) -> None:
    """Escaped and quoted semicolons belong to the name, and so does what comes after the third."""
    found = parse_description(text)
    assert found is not None
    assert (found.issuer, found.subject) == (issuer, subject)


@pytest.mark.parametrize("text", ["", "2;1;CN=a", "agent", "2;;CN=a;CN=b", "2;0x1;CN=a;CN=b", "2;1_0;CN=a;CN=b"])
def test_another_form_is_no_description(text: str) -> None:
    """People's ordinary descriptions are not taken for Dogtag's."""
    assert parse_description(text) is None


def test_a_serial_without_end_is_no_description() -> None:
    """A number that no certificate has is refused, not computed."""
    assert parse_description(f"2;{'9' * 100_000};CN=a;CN=b") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CN=a,1.2.840.113549.1.9.1=a@b,O=X", "CN=a,E=a@b,O=X"),
        ("2.5.4.5=7+CN=a,O=X", "SERIALNUMBER=7+CN=a,O=X"),
        ("CN=2.5.4.5=7,O=X", "CN=2.5.4.5=7,O=X"),
        ("CN=a,1.3.6.1.4.1.99999.1=odd", "CN=a,1.3.6.1.4.1.99999.1=odd"),
    ],
)
def test_dogtags_keywords(text: str, expected: str) -> None:
    """Dogtag has names for types for which cryptography writes the number; it is the same name."""
    assert as_dogtag(text) == expected
    assert same_dn(text, expected)
