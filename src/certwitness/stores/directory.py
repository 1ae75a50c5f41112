# SPDX-License-Identifier: MIT
"""What the directory server holds about certificates, read as root over LDAPI: FreeIPA's suffix and Dogtag's o=ipaca.

One connection and twelve searches in two waves, each wave sent before the first answer is waited for. Only searches
are sent: SASL EXTERNAL as root is Directory Manager, whom nothing is refused, which is why an entry that is not seen is
an entry that is not there (freeipa.md, section 9).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Optional

from certwitness.certificates import Certificate
from certwitness.errors import CertificateError, StoreError
from certwitness.stores.names import as_dogtag, canonical, parse_description, same_dn

if TYPE_CHECKING:
    from ldap.ldapobject import LDAPObject

__all__ = ["Directory", "Entry", "parse_description", "read", "same_dn"]

STORE = "directory"
ROOT = "cn=directory manager"
PEOPLE, KRA_PEOPLE = "ou=people,o=ipaca", "ou=people,o=kra,o=ipaca"
AUTHORITIES, REPOSITORY = "ou=authorities,ou=ca,o=ipaca", "ou=certificateRepository,ou=ca,o=ipaca"
# Dogtag's users that hold a shared certificate; CA-<host>-<port> and KRA-<host>-<port> are the subsystems'.
USERS = "(|(uid=pkidbuser)(uid=ipara)(uid=ipakra)(uid=CA-*)(uid=KRA-*)(userCertificate=*))"

BASE, ONE, SUBTREE = 0, 1, 2  # scopes of a search, RFC 4511, section 4.5.1.2


@dataclass(frozen=True)
class Entry:
    """An entry, as far as it was asked for. Attribute names are lower case and keep their options."""

    dn: str
    attributes: Mapping[str, tuple[bytes, ...]] = field(repr=False)

    def texts(self, name: str) -> tuple[str, ...]:
        """The values of an attribute as text; bytes that are not UTF-8 become ``\\xNN``."""
        return tuple(value.decode(errors="backslashreplace") for value in self.attributes.get(name.lower(), ()))

    def certificates(self, name: str) -> tuple[Certificate, ...]:
        """The certificates of an attribute, in the server's order, which means nothing; what is none is left out."""
        return tuple(certificate for certificate in self._parsed(name) if certificate is not None)

    def unreadable(self, name: str) -> int:
        """How many values of the attribute are no certificate."""
        return sum(certificate is None for certificate in self._parsed(name))

    def _parsed(self, name: str) -> Iterator[Certificate | None]:
        for value in self.attributes.get(name.lower(), ()):
            try:
                yield Certificate.from_der(value)
            except CertificateError:
                yield None


_CN = "2.5.4.3"  # names are compared by OID


def host_of(entry: Entry) -> str:
    """The server that an entry below cn=masters belongs to, in lower case: ``cn=CA,cn=<fqdn>,cn=masters,…``; "" where
    the DN is none such."""
    names = canonical(entry.dn) or ()
    return next((value for kind, value in names[1] if kind == _CN), "") if len(names) > 2 else ""


@dataclass(frozen=True)
class Directory:
    """What was read. Empty where the base of a search is not there: o=ipaca on a server without a CA."""

    bound_as: str
    suffix: str
    ca_renewal: Mapping[str, Entry]  # by the value of cn, which is the certificate's nickname
    people: tuple[Entry, ...]  # Dogtag's users with a certificate, of the CA and of the KRA
    authorities: tuple[Entry, ...]
    ca_store: tuple[Entry, ...]  # below cn=certificates
    legacy_ca: Entry | None  # cn=CAcert
    masters: tuple[Entry, ...]  # cn=CA and cn=KRA of every server
    ca_subject: str | None
    subject_base: str | None
    has_kra: bool  # whether o=ipaca holds a KRA's users, so some server has a KRA
    see_also: Mapping[str, tuple[str, ...]]  # subject as asked for -> DNs of the entries that it is seeAlso of
    issued: Mapping[str, tuple[Certificate, ...]]  # subject as asked for -> what the CA issued for it, newest first

    @property
    def renewal_masters(self) -> tuple[str, ...]:
        """The CA servers that say they are the renewal master."""
        return tuple(
            host_of(entry)
            for entry in self.masters
            if any(value.lower() == "carenewalmaster" for value in entry.texts("ipaConfigString"))
        )

    @property
    def has_ca(self) -> bool:
        """Whether there is a CA's o=ipaca here: a server without CA tracks the agent's certificate all the same."""
        return bool(self.people or self.authorities)

    def person(self, uid: str) -> Entry | None:
        """The user with this uid, in either tree."""
        wanted = uid.casefold()
        return next((e for e in self.people if wanted in (value.casefold() for value in e.texts("uid"))), None)


Found = Optional[list[Entry]]  # None: the search's base does not exist
Search = tuple[str, int, str, tuple[str, ...]]  # base, scope, filter, attributes


def read(uri: str, suffix: str, subjects: Callable[[], Sequence[str]], *, timeout_s: float = 10) -> Directory:
    """Read everything from the server at `uri` (``ldapi://%2Frun%2Fslapd-IPADOMAIN-COM.socket``).

    `subjects` gives names (RFC 4514) to look for in seeAlso and in the CA's repository. It is called when the first
    wave of searches is on its way, so that what it does costs no time of its own. `timeout_s` is for all else together.
    Raises StoreError: not there, no answer in time, not bound as Directory Manager, a search refused or cut short.
    """
    try:
        import ldap  # 0.17 s, for those who need it
    except ImportError as error:
        raise StoreError(STORE, f"{error}: install python-ldap (the package python3-ldap)") from error
    session = None
    try:
        session = _Session(uri, timeout_s)
        bound_as = session.bind()
        first = session.send(_first_wave(suffix))
        asked = time.monotonic()
        names = tuple(dict.fromkeys(subjects()))
        session.deadline += time.monotonic() - asked  # not this server's fault
        renewal, people, kra_people, *rest = (session.receive(search) for search in first)
        authorities, store, legacy, masters, ca, config = rest
        second = session.send(_second_wave(suffix, names)) if names else []
        issued, *linked = [session.receive(search) for search in second] or [None]
    except ldap.TIMEOUT:
        raise StoreError(STORE, f"no answer from {uri} in {timeout_s:g} s") from None
    except ldap.LDAPError as error:
        raise StoreError(STORE, f"{uri}: {_reason(error)}") from error
    finally:
        if session is not None:
            session.close()
    return Directory(
        bound_as=bound_as,
        suffix=suffix,
        ca_renewal={name: entry for entry in renewal or () for name in entry.texts("cn")},
        people=(*(people or ()), *(kra_people or ())),
        authorities=tuple(authorities or ()),
        ca_store=tuple(store or ()),
        legacy_ca=next(iter(legacy or ()), None),
        masters=tuple(masters or ()),
        ca_subject=_value(ca, "ipaCaSubjectDN"),
        subject_base=_value(config, "ipaCertificateSubjectBase"),
        has_kra=kra_people is not None,
        see_also=_by_subject(names, [entry for found in linked for entry in found or ()]),
        issued=_issued(names, issued or []),
    )


def _first_wave(suffix: str) -> list[Search]:
    person = ("uid", "description", "seeAlso", "userCertificate")
    named = ("cn", "description", "authorityID", "authorityDN", "authoritySerial")
    authority = (*named, "authorityKeyNickname", "authorityEnabled")
    stored = ("cn", "cACertificate", "ipaCertSubject", "ipaCertIssuerSerial", "ipaKeyTrust", "ipaConfigString")
    return [
        (f"cn=ca_renewal,cn=ipa,cn=etc,{suffix}", ONE, "(objectClass=*)", ("cn", "userCertificate")),
        (PEOPLE, ONE, USERS, person),
        (KRA_PEOPLE, ONE, USERS, person),
        (AUTHORITIES, ONE, "(objectClass=authority)", authority),
        (f"cn=certificates,cn=ipa,cn=etc,{suffix}", ONE, "(objectClass=*)", stored),
        (f"cn=CAcert,cn=ipa,cn=etc,{suffix}", BASE, "(objectClass=*)", ("cn", "cACertificate")),
        (f"cn=masters,cn=ipa,cn=etc,{suffix}", SUBTREE, "(|(cn=CA)(cn=KRA))", ("cn", "ipaConfigString")),
        (f"cn=ipa,cn=cas,cn=ca,{suffix}", BASE, "(objectClass=*)", ("ipaCaSubjectDN",)),
        (f"cn=ipaConfig,cn=etc,{suffix}", BASE, "(objectClass=*)", ("ipaCertificateSubjectBase",)),
    ]


def _second_wave(suffix: str, names: Sequence[str]) -> list[Search]:
    from ldap.filter import escape_filter_chars

    def any_of(attribute: str, texts: Iterable[str] = names) -> str:
        return "(|" + "".join(f"({attribute}={escape_filter_chars(text)})" for text in texts) + ")"

    # The server compares seeAlso as a name, subjectName as text: that is to be found however it is spelled.
    spellings = dict.fromkeys(text for name in names for text in (name, as_dogtag(name)))
    return [
        (REPOSITORY, ONE, any_of("subjectName", spellings), ("subjectName", "userCertificate")),
        (suffix, SUBTREE, any_of("seeAlso", spellings), ("seeAlso",)),
        ("o=ipaca", SUBTREE, any_of("seeAlso", spellings), ("seeAlso",)),
    ]


class _Session:
    """One connection. Its methods raise ldap.LDAPError, and ldap.TIMEOUT when the time for all of them is over."""

    def __init__(self, uri: str, timeout_s: float) -> None:
        import ldap

        self._uri = uri
        self.deadline = time.monotonic() + timeout_s
        connection: LDAPObject = ldap.initialize(uri)
        # What is set here, no ldap.conf or .ldaprc of the administrator's changes.
        for option, value in (
            (ldap.OPT_PROTOCOL_VERSION, 3),
            (ldap.OPT_REFERRALS, 0),
            (ldap.OPT_DEREF, ldap.DEREF_NEVER),
            (ldap.OPT_SIZELIMIT, 0),
            (ldap.OPT_TIMELIMIT, 0),
            (ldap.OPT_NETWORK_TIMEOUT, timeout_s),
            (ldap.OPT_TIMEOUT, timeout_s),
        ):
            connection.set_option(option, value)
        self._connection = connection

    def bind(self) -> str:
        """SASL EXTERNAL; returns the identity. Raises StoreError if it is not Directory Manager's."""
        import ldap

        try:
            # Not sasl_interactive_bind_s: while a server hangs, that holds the GIL, and with it every thread.
            self._connection.sasl_bind_s("", "EXTERNAL", "")
        except ldap.INAPPROPRIATE_AUTH as error:  # 389-ds 2.3 to whom it does not know by uid
            raise StoreError(STORE, f"{self._uri}: {_reason(error)}: run as root") from error
        self._connection.timeout = self._left()
        identity: str = self._connection.whoami_s() or "nobody"
        if identity.removeprefix("dn: ").casefold() != ROOT:
            raise StoreError(STORE, f"bound as {identity}, not as {ROOT}: run as root")
        return identity

    def send(self, searches: Sequence[Search]) -> list[int]:
        """Start searches, with the time that is left as the server's limit too; returns their message IDs."""
        limit = max(1, math.ceil(self._left()))
        return [
            self._connection.search_ext(base, scope, filter_, list(attributes), timeout=limit)
            for base, scope, filter_, attributes in searches
        ]

    def receive(self, search: int) -> Found:
        """All entries of a search. A result that the server cut short is an error, not a result."""
        import ldap

        try:
            _kind, entries, _id, _controls = self._connection.result3(search, all=1, timeout=self._left())
        except ldap.NO_SUCH_OBJECT:
            return None
        return [
            Entry(dn, {name.lower(): tuple(values) for name, values in attributes.items()})
            for dn, attributes in entries
            if dn is not None  # a referral
        ]

    def close(self) -> None:
        import ldap

        try:
            self._connection.unbind_s()
        except ldap.LDAPError:  # it was never there, or is gone
            pass

    def _left(self) -> float:
        return max(0.001, self.deadline - time.monotonic())  # 0 would be a look without waiting


def _value(found: Found, name: str) -> str | None:
    return next((value for entry in found or () for value in entry.texts(name)), None)


def _by_subject(names: Sequence[str], entries: Sequence[Entry]) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(entry.dn for entry in entries if any(same_dn(name, value) for value in entry.texts("seeAlso")))
        for name in names
    }


def _issued(names: Sequence[str], entries: Sequence[Entry]) -> dict[str, tuple[Certificate, ...]]:
    """A record belongs to a name by its certificate's subject or by its subjectName, whoever spelled it."""
    found: dict[str, list[Certificate]] = {name: [] for name in names}
    wanted = [(name, canonical(name)) for name in names]
    for entry in entries:
        for certificate in (*entry.certificates("userCertificate"), *entry.certificates("userCertificate;binary")):
            spellings = {canonical(text) for text in (certificate.subject, *entry.texts("subjectName"))} - {None}
            for name, meaning in wanted:
                if meaning in spellings or name == certificate.subject:
                    found[name].append(certificate)
    return {
        name: tuple(sorted(certificates, key=lambda found: (found.not_before, found.not_after), reverse=True))
        for name, certificates in found.items()
    }


def _reason(error: Any) -> str:
    """What libldap and the server say, on one line."""
    details = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    words = [str(details.get(key) or "") for key in ("desc", "info")]
    return " ".join(": ".join(word for word in words if word).split()) or type(error).__name__
