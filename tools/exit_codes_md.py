# SPDX-License-Identifier: MIT
"""Bring the tables of exit codes in README.md up to date with certwitness.protocol: `python tools/exit_codes_md.py`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from certwitness import operations, protocol, signals
from certwitness.protocol import Outcome

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN = "<!-- exit codes: written by tools/exit_codes_md.py -->"
END = "<!-- end of exit codes -->"
# Beyond the table: what a shell and certmonger itself give, and the deaths that are seen most.
OTHERS = (126, 127, 137, 255)
SIGNALS = (6, 9, 11, 15)


def tables() -> str:
    """The tables as Markdown: SUBMIT and POLL, what else is known of some exits, broken promises, data operations."""
    return "\n".join([*_enrollment(), "", *_hints(), "", *_broken(), "", *_data()])


def updated(text: str) -> str:
    """`text` with the tables between its two markers. Raises ValueError where a marker is missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{README.name} needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def _enrollment() -> Iterator[str]:
    yield "SUBMIT and POLL:"
    yield ""
    yield from _head(
        "exit", "name", "meaning", "stdout", "first request", "renewal", "tries again", "ca-error", "look at"
    )
    for _, group in groupby(protocol.TABLE, lambda entry: "RESERVED" if entry.name == "RESERVED" else entry.code):
        entries = list(group)
        codes = f"{entries[0].code} to {entries[-1].code}" if len(entries) > 1 else str(entries[0].code)
        yield _outcome(codes, entries[0])
    yield _outcome("18 to 255", protocol.outcome(18))
    yield _outcome("signal 9, and any other", protocol.outcome(signal=9))


def _hints() -> Iterator[str]:
    yield "Where to look after some of these:"
    yield ""
    yield from _head("exit", "look at")
    for code in OTHERS:
        yield _row(str(code), protocol.outcome(code).look_at)
    for signal in SIGNALS:
        yield _row(f"signal {signal} ({signals.signal_name(signal)})", protocol.outcome(signal=signal).look_at)


def _outcome(exit_words: str, entry: Outcome) -> str:
    return _row(
        exit_words,
        f"`{entry.name}`",
        entry.meaning,
        entry.promise,
        _state(entry.state_first, entry.stuck_first),
        _state(entry.state_renewal, entry.stuck_renewal),
        entry.retry,
        "first line of stdout" if entry.shows_ca_error else "none",
        entry.look_at,
    )


def _broken() -> Iterator[str]:
    yield "SUBMIT and POLL whose stdout does not hold what the code promises:"
    yield ""
    yield from _head("exit", "meaning", "request state", "look at")
    for entry in protocol.TABLE:
        broken = protocol.outcome(entry.code, kept=False)
        if broken is not entry:
            state = _state(broken.state_renewal, broken.stuck_renewal)
            yield _row(str(broken.code), broken.meaning, state, broken.look_at)


def _data() -> Iterator[str]:
    yield f"The data operations ({', '.join(operations.DATA_OPERATIONS)}):"
    yield ""
    yield from _head("exit", "what certmonger does")
    for code in range(7):
        yield _row(str(code), operations.for_data_operation(code, None))
    yield _row("7 to 255", operations.for_data_operation(7, None))
    yield _row("signal 9", operations.for_data_operation(None, 9))


def _state(state: str, stuck: bool) -> str:
    return f"`{state}`{', stuck' if stuck else ''}"


def _head(*cells: str) -> Iterator[str]:
    yield _row(*cells)
    yield _row(*["---"] * len(cells))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
