# SPDX-License-Identifier: MIT
"""One run of a helper in words: a line for `tail`, a paragraph for the timeline of `show`."""

from __future__ import annotations

from typing import Any, NamedTuple

from certwitness import operations
from certwitness.events import outcomes
from certwitness.events.fields import mapping, mappings, text, texts
from certwitness.render.text import clean, clean_lines, moment, shorten
from certwitness.schedule import duration, times

Event = dict[str, Any]
# FreeIPA's helper runs with -vv: 40 lines a run, of which the last few tell most when nothing went wrong.
STDERR_OF_GOOD_RUNS = 5
LEVEL_STYLES = {"warning": "warn", "error": "bad", "critical": "bad", "debug": "dim"}


class Line(NamedTuple):
    """A line for people, clean, and how it is marked (a key of tables.STYLES)."""

    text: str
    style: str = ""


def one_line(event: Event) -> Line:
    """Any event as one line: when, how much it matters, what ran for which certificate, how it ended, what follows."""
    level = text(event.get("level"))
    kind = text(event["event"])
    words = [moment(text(event["timestamp"])), level.ljust(8)]
    if kind not in ("run.started", "run.ended"):
        words += filter(None, (kind, _words(event)))
        return Line(clean(" ".join(words)), LEVEL_STYLES.get(level, ""))
    operation = text(event.get("operation"))
    words.append(operation or "(no operation)")
    enrollment = operations.is_enrollment(operation)
    if enrollment:
        words.append(text(event.get("nickname")) or "(no nickname)")
    words.append(f"from {text(event.get('ca')) or '?'}")
    if enrollment:
        words.append(f"[{text(event['trace_id'])[:8]} #{event.get('attempt', '?')}]")
    if kind == "run.started":
        words.append("started")
        return Line(clean(" ".join(words)), "dim")
    if not enrollment:
        words.append(_data_words(event))
        return Line(clean(" ".join(words)), LEVEL_STYLES.get(level, ""))
    words.append(f"{exit_words(event)} after {seconds(event.get('duration_s'))}")
    line = " ".join(words)
    message = text(mapping(event.get("result")).get("message"))
    if message:
        line += f": {shorten(message, 200).rstrip('.')}"
    following = text(mapping(event.get("next")).get("text"))
    if following:
        line += f"; {following}"
    return Line(clean(line), LEVEL_STYLES.get(level, ""))


def _words(event: Event) -> str:
    """What an event tells that is no run of a helper; "" for one that this version does not know."""
    kind = text(event["event"])
    if kind == "verified":
        return _verified_words(event)
    if "service" in event:
        return f"{text(event['service'])} {_gate_words(event)}"
    name = text(event.get("certificate")) or text(event.get("name"))
    if kind in ("hook.started", "hook.ended"):
        return f"{name} {text(event.get('phase'))} {_hook_words(event)}"
    if kind == "request.moved":
        return f"{name}: {text(event.get('status'))}"
    if kind == "registration.changed":
        return f"{text(event.get('what'))} {name}: {text(event.get('after')) or 'as it was'} ({text(event.get('why'))})"
    first = next(iter(mappings(event.get("findings"))), {})
    return f"{name}: {text(first.get('found'))}" if first else name


def _hook_words(event: Event) -> str:
    """What a hook runs, and how that ended."""
    words = texts(event.get("command"))
    program = words[0].rpartition("/")[2] if words else "no command"
    if event["event"] == "hook.started":
        return f"runs {program}"
    if event.get("skipped") is True:
        return f"skipped {program}"
    return f"{program}: {exit_words(event)} after {seconds(event.get('duration_s'))}"


def _gate_words(event: Event) -> str:
    """What the gate says of a service's start, or who let it start."""
    checks = ", ".join(dict.fromkeys(text(finding.get("check")) for finding in mappings(event.get("findings"))))
    verdict = ": ".join(filter(None, (text(event.get("verdict")), checks)))
    who = ", ".join(filter(None, (text(event.get("by")), text(event.get("reason")))))
    return verdict or who


def _verified_words(event: Event) -> str:
    """What a look at the stores found, and the worst of what it breaks."""
    words = f"{text(event.get('nickname')) or '(no nickname)'} [{text(event['trace_id'])[:8]}]: "
    words += outcomes.of_event(event).words() or "an outcome that this certwitness does not know"
    findings = sorted(mappings(event.get("findings")), key=lambda finding: finding.get("level") != "CRITICAL")
    return words + (f"; {shorten(text(findings[0].get('breaks')), 200)}" if findings else "")


def exit_words(event: Event) -> str:
    """How a run ended: "exit 3 UNREACHABLE", "KILLED BY SIGKILL"."""
    ended = mapping(event.get("exit"))
    code = ended.get("code")
    name = text(ended.get("name"))
    if isinstance(code, int):
        return f"exit {code} {name}".rstrip()
    signal = ended.get("signal")
    return name or (f"signal {signal}" if isinstance(signal, int) else "ended")


def _data_words(event: Event) -> str:
    """The end of a data operation: its codes have the names of SUBMIT's, but lead elsewhere."""
    ended = mapping(event.get("exit"))
    code, signal = ended.get("code"), ended.get("signal")
    code, signal = (number if isinstance(number, int) else None for number in (code, signal))
    words = f"{'ended' if code is None else f'exit {code}'} after {seconds(event.get('duration_s'))}"
    return words if code == 0 else f"{words}: {operations.for_data_operation(code, signal)}"


def run_lines(event: Event) -> list[Line]:
    """What a run.ended tells, one thing a line, without the time and the certificate before it."""
    level = text(event.get("level"))
    ended = mapping(event.get("exit"))
    following = mapping(event.get("next"))
    lines = [Line(clean(f"{exit_words(event)} after {seconds(event.get('duration_s'))}"), LEVEL_STYLES.get(level, ""))]
    if text(ended.get("meaning")):
        lines.append(Line(clean(text(ended.get("meaning")))))
    if text(event.get("lock")):
        lines.append(Line(clean(f"FreeIPA's renewal lock was held by {text(event.get('lock'))} when it began"), "warn"))
    lines += _result_lines(mapping(event.get("result")))
    stderr = stream_lines("stderr", mapping(event.get("stderr")))
    went_well = level == "info" and len(stderr) > STDERR_OF_GOOD_RUNS
    if went_well:
        hidden = len(stderr) - STDERR_OF_GOOD_RUNS
        lines.append(Line(f"stderr: … {hidden} earlier lines of a run that went well: see show --json …", "dim"))
    lines += stderr[-STDERR_OF_GOOD_RUNS:] if went_well else stderr
    for name in ("findings", "observer"):
        entries = event.get(name)
        for entry in entries if isinstance(entries, list) else []:
            lines += finding_lines(mapping(entry)) if name == "findings" else [_observer_line(text(entry))]
    follow = texts(event.get("must_follow"))
    if follow:
        lines.append(Line(clean(f"must follow: {', '.join(follow)}")))
    if following:
        state = text(following.get("state"))
        stuck = ", stuck" if following.get("stuck") is True else ""
        lines.append(Line(clean(f"next: {state}{stuck}; {text(following.get('text'))}")))
    return lines


def certificate_lines(certificate: dict[str, Any]) -> list[Line]:
    """A certificate of an event: subject, serial both ways, validity, issuer, names, fingerprint."""
    lines = [
        f"subject  {text(certificate.get('subject'))}",
        f"serial   {text(certificate.get('serial'))} ({text(certificate.get('serial_hex'))})",
        f"valid    {moment(text(certificate.get('not_before')))} to {moment(text(certificate.get('not_after')))} UTC",
        f"issuer   {text(certificate.get('issuer'))}",
    ]
    names = certificate.get("sans")
    if isinstance(names, list) and names:
        lines.append("names    " + ", ".join(text(name) for name in names))
    lines.append(f"sha256   {text(certificate.get('sha256'))}")
    return [Line(clean(line)) for line in lines]


def _result_lines(result: dict[str, Any]) -> list[Line]:
    lines = []
    certificate = mapping(result.get("certificate"))
    if certificate:
        key = {"same": ", same key", "new": ", new key", "other": ", NOT THE KEY OF THE REQUEST"}
        lines.append(
            Line(
                clean(
                    f"certificate: serial {text(certificate.get('serial'))} ({text(certificate.get('serial_hex'))}), "
                    f"valid until {moment(text(certificate.get('not_after')))} UTC, {text(result.get('format'))}"
                    f"{key.get(text(result.get('key')), '')}"
                ),
                "bad" if result.get("key") == "other" else "good",
            )
        )
    if isinstance(result.get("delay_s"), int):
        lines.append(Line(f"asks to wait: {result['delay_s']} seconds"))
    cookie = mapping(result.get("cookie"))
    if cookie:
        lines.append(Line(clean(f"cookie: {_cookie_words(cookie)}")))
    if text(result.get("message")):
        lines.append(Line(clean(f"says: {text(result.get('message'))}"), "warn"))
    if text(result.get("problem")):
        lines.append(Line(clean(f"promise: {text(result.get('problem'))}"), "bad"))
    return lines


def _cookie_words(cookie: dict[str, Any]) -> str:
    words = []
    steps = cookie.get("steps")
    if isinstance(steps, list) and steps:
        words.append("in FreeIPA's step " + " > ".join(text(step) for step in steps))
    if text(cookie.get("state")):
        words.append(f"next at the CA: {text(cookie.get('state'))} of request {text(cookie.get('request_id')) or '?'}")
    if isinstance(cookie.get("store_attempts"), int):
        words.append(f"storing in LDAP failed {times(cookie['store_attempts'])}")
    held = mapping(cookie.get("certificate"))
    if held:
        words.append(f"holds the issued certificate, serial {text(held.get('serial'))}, not yet given to certmonger")
    return "; ".join(words) if words else shorten(text(cookie.get("text")), 120)


def stream_lines(name: str, stream: dict[str, Any]) -> list[Line]:
    """A stream of an event, line by line, with what was left out."""
    if stream.get("same_as_previous") is True:
        return [Line(f"{name}: the same {stream.get('size', '?')} bytes as in the run before", "dim")]
    lines = [Line(f"{name}: {line}", "dim") for line in clean_lines(text(stream.get("text")))]
    if isinstance(stream.get("omitted"), int) and stream["omitted"] > 0:
        lines.append(Line(f"{name}: … {stream['omitted']} bytes left out …", "dim"))
        lines += [Line(f"{name}: {line}", "dim") for line in clean_lines(text(stream.get("tail")))]
    return lines


def finding_lines(finding: dict[str, Any]) -> list[Line]:
    """A finding of an event."""
    style = "warn" if finding.get("level") == "WARNING" else "bad"
    lines = [
        Line(clean(f"{text(finding.get('level'))} {text(finding.get('check'))}: {text(finding.get('found'))}"), style)
    ]
    for name in ("expected", "breaks", "remedy"):
        if text(finding.get(name)):
            lines.append(Line(clean(f"  {name}: {text(finding.get(name))}"), style if name == "breaks" else ""))
    return lines


def _observer_line(problem: str) -> Line:
    return Line(clean(f"certwitness itself: {problem}"), "warn")


def seconds(value: object) -> str:
    """A duration of an event in words."""
    return duration(value) if isinstance(value, (int, float)) and 0 <= value < 1e12 else "? seconds"
