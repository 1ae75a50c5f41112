# SPDX-License-Identifier: MIT
"""The protocol table against what certmonger 0.79.17 was measured to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from certwitness import operations, protocol, signals

SOURCE = Path(operations.__file__)


def test_imports_nothing() -> None:
    """The table costs no import: it is read on every run of a helper."""
    code = (
        "import sys; before = set(sys.modules); "
        f"exec(compile(open({str(SOURCE)!r}, encoding='utf-8').read(), 'p', 'exec'), {{'__name__': 'p'}}); "
        "print(sorted(set(sys.modules) - before))"
    )
    output = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[]"


def test_table_holds_codes_in_order() -> None:
    """The table has an entry for each code from 0 to 17, at its own index."""
    assert [entry.code for entry in protocol.TABLE] == list(range(18))


# code: name, state first, stuck, state on renewal, stuck, ca-error, our word
MEASURED = {
    0: ("ISSUED", "MONITORING", False, "MONITORING", False, False, "issued"),
    1: ("WAIT", "CA_WORKING", False, "CA_WORKING", False, False, "waiting"),
    2: ("REJECTED", "CA_REJECTED", True, "MONITORING", False, True, "rejected"),
    3: ("UNREACHABLE", "CA_UNREACHABLE", False, "CA_UNREACHABLE", False, True, "unreachable"),
    4: ("UNCONFIGURED", "CA_UNCONFIGURED", True, "MONITORING", False, True, "unconfigured"),
    5: ("WAIT_WITH_DELAY", "CA_WORKING", False, "CA_WORKING", False, False, "waiting"),
    6: ("OPERATION_NOT_SUPPORTED_BY_HELPER", "NEED_GUIDANCE", True, "NEED_GUIDANCE", True, True, "stuck"),
    16: (
        "NEED_SCEP_MESSAGES",
        "NEED_SCEP_ENCRYPTION_CERT",
        True,
        "NEED_SCEP_ENCRYPTION_CERT",
        True,
        True,
        "needs-scep",
    ),
    17: ("NEED_REKEY", "NEED_KEY_PAIR", False, "NEED_KEY_PAIR", False, True, "new-key"),
}
DEAD_END = ("NEED_GUIDANCE", True, "NEED_GUIDANCE", True, True, "stuck")


@pytest.mark.parametrize("code", [*range(18), 18, 42, 126, 127, 254, 255])
def test_exit_codes(code: int) -> None:
    """Each exit code has the name, states and ca-error that were measured."""
    entry = protocol.outcome(code)
    name = "RESERVED" if 7 <= code <= 15 else "UNDEFINED"
    expected = MEASURED.get(code, (name, *DEAD_END))
    assert (
        entry.name,
        entry.state_first,
        entry.stuck_first,
        entry.state_renewal,
        entry.stuck_renewal,
        entry.shows_ca_error,
        entry.renewal,
    ) == expected
    assert entry.code == code
    assert entry.signal is None
    assert entry.meaning.endswith(".")
    assert entry.retry
    assert entry.look_at


@pytest.mark.parametrize("code", [0, 1, 5])
def test_broken_promise(code: int) -> None:
    """An exit 0, 1 or 5 without what it promises is stuck for ever and shows no ca-error."""
    entry = protocol.outcome(code, kept=False)
    assert (entry.code, entry.name) == (code, protocol.TABLE[code].name)
    assert (entry.state_first, entry.stuck_first) == ("NEED_GUIDANCE", True)
    assert (entry.state_renewal, entry.stuck_renewal) == ("NEED_GUIDANCE", True)
    assert entry.retry.startswith("never")
    assert not entry.shows_ca_error
    assert entry.renewal == "stuck"
    assert entry.promise == protocol.TABLE[code].promise


@pytest.mark.parametrize("code", [2, 3, 4, 6, 7, 16, 17, 99])
def test_promise_matters_for_three_codes_only(code: int) -> None:
    """Codes that promise no particular output lead to the same state whatever stdout held."""
    kept, broken = protocol.outcome(code), protocol.outcome(code, kept=False)
    assert (kept.state_renewal, kept.name) == (broken.state_renewal, broken.name)


@pytest.mark.parametrize(
    ("number", "name"),
    [(9, "SIGKILL"), (11, "SIGSEGV"), (15, "SIGTERM"), (31, "SIGSYS"), (34, "SIGRTMIN"), (64, "SIGRTMIN+30")],
)
def test_signals(number: int, name: str) -> None:
    """A helper killed by a signal leaves its request stuck, without ca-error, and the signal is named."""
    entry = protocol.outcome(signal=number)
    assert entry.name == f"KILLED BY {name}"
    assert (entry.code, entry.signal) == (None, number)
    assert (entry.state_first, entry.stuck_renewal, entry.renewal) == ("NEED_GUIDANCE", True, "stuck")
    assert not entry.shows_ca_error
    assert entry.promise == "nothing"
    assert name in entry.meaning


def test_signal_without_name() -> None:
    """A number that is no Linux signal is still described."""
    assert protocol.outcome(signal=200).name == "KILLED BY SIGNAL 200"
    assert signals.signal_name(32) == "signal 32"


@pytest.mark.parametrize(("code", "signal"), [(None, None), (0, 9)])
def test_outcome_needs_one_of_both(code: int | None, signal: int | None) -> None:
    """A code and a signal, or neither, is a mistake of the caller."""
    with pytest.raises(ValueError, match="either"):
        protocol.outcome(code, signal)


def test_operations() -> None:
    """Ten operations, eight of them about the CA; the unset one counts as an enrolment."""
    assert set(operations.OPERATIONS) == {*operations.ENROLLMENT_OPERATIONS, *operations.DATA_OPERATIONS}
    assert len(operations.DATA_OPERATIONS) == 8
    assert [name for name in ("SUBMIT", "POLL", "", "IDENTIFY", "submit", "NEW") if operations.is_enrollment(name)] == [
        "SUBMIT",
        "POLL",
        "",
    ]


def test_operations_of_codes() -> None:
    """6 belongs to the data operations, 16 and 17 to SUBMIT and POLL, the reserved codes to none."""
    by_code = {entry.code: entry.operations for entry in protocol.TABLE}
    assert by_code[6] == operations.DATA_OPERATIONS
    assert by_code[16] == by_code[17] == ("SUBMIT", "POLL")
    assert all(by_code[code] == () for code in range(7, 16))
    assert set(by_code[0]) == set(operations.OPERATIONS)


@pytest.mark.parametrize(
    ("code", "signal", "words"),
    [
        (0, None, "kept"),
        (1, None, "6 hours"),
        (2, None, "year"),
        (3, None, "route"),
        (4, None, "6 hours"),
        (5, None, "seconds"),
        (6, None, "not supported"),
        (7, None, "unchanged"),
        (255, None, "unchanged"),
        (None, 9, "SIGKILL"),
        (None, None, "unchanged"),
    ],
)
def test_data_operations(code: int | None, signal: int | None, words: str) -> None:
    """The consequence of a data operation's exit is said in words."""
    assert words in operations.for_data_operation(code, signal)


def test_variables() -> None:
    """Every variable documented is one of certmonger's."""
    assert all(name.startswith("CERTMONGER_") for name in operations.VARIABLES)
    assert {"CERTMONGER_CSR", "CERTMONGER_CA_COOKIE", "CERTMONGER_CERTIFICATE"} <= set(operations.VARIABLES)
