# SPDX-License-Identifier: MIT
"""The stdout of a SUBMIT or POLL, decoded by what its exit code promises, and outputs that do harm.

What certmonger 0.79.17 takes for a certificate stands in issued.py; how it reads delays and cookies was measured, too.
"""

from __future__ import annotations

import codecs
import re
from typing import Any

from certwitness import cookies, issued
from certwitness.redaction import redact_text

_COOKIE_TEXT = 512  # characters of a cookie that are kept
_MESSAGE_TEXT = 4096
_CHAIN = 16
_LONGEST_LINE = 1 << 20  # of a request file that certmonger reads back
_LONGEST_COOKIE = (128 << 10) - len("CERTMONGER_CA_COOKIE=") - 1  # the kernel's limit for one environment string

# As strtol reads it: blanks and line ends before the number, a sign; an empty first line counts as 0.
_DELAY = re.compile(rb"(?:\s*([+-]?[0-9]+)|(?=[\r\n]))(?:[\r\n]+|\Z)")


def decode(
    outcome_code: int | None,
    stdout: bytes,
    *,
    complete: bool = True,
    request_spki: str | None = None,
    previous_spki: str | None = None,
) -> tuple[dict[str, Any], bool]:
    """The ``result`` block of an event, and whether stdout keeps the promise of the code. Never raises.

    `outcome_code` is None for a death by signal (certmonger drops stdout then); `complete` False says that `stdout` is
    only the beginning: the promise then counts as kept unless what is there breaks it, and ``problem`` says what is
    unknown. The SPKI digests (hex) are those of the request's key and of the certificate held so far.
    """
    if outcome_code == 0:
        return _issued(stdout, complete, request_spki, previous_spki)
    text = stdout.partition(b"\0")[0]
    if outcome_code == 1:
        if not text:
            return _broken(stdout, "exit 1 promises a cookie")
        return {"kind": "cookie", "cookie": _cookie(text, complete)}, True
    if outcome_code == 5:
        return _delayed(stdout, text, complete)
    return _message(stdout), True


def _issued(
    stdout: bytes, complete: bool, request_spki: str | None, previous_spki: str | None
) -> tuple[dict[str, Any], bool]:
    found = issued.find(stdout)
    unknown = f"only the first {len(stdout)} bytes of stdout were kept: what follows is unknown"
    if found.leaf is None:
        if not complete:
            return {**_message(stdout), "problem": unknown}, True
        if found.only_certmonger_can_tell:
            return {"kind": "text", "format": found.format, "problem": found.problem}, True
        return _broken(stdout, f"exit 0 promises a certificate, stdout is not usable: {found.problem}")
    result: dict[str, Any] = {"kind": "certificate", "format": found.format, "certificate": found.leaf.as_event()}
    if found.others:
        result["chain"] = [certificate.as_event() for certificate in found.others[:_CHAIN]]
    spki = found.leaf.spki_sha256
    if request_spki:
        result["key"] = "other" if spki != request_spki else "same" if spki == previous_spki else "new"
    elif spki == previous_spki:
        result["key"] = "same"
    if not complete:
        result["problem"] = unknown
    elif issued.unterminated(stdout):
        result["problem"] = "a PEM block begins and never ends: certmonger hangs"
        return result, False
    return result, True


def _delayed(stdout: bytes, text: bytes, complete: bool) -> tuple[dict[str, Any], bool]:
    found = _DELAY.match(text)
    if not text or not found:
        return _broken(stdout, "exit 5 promises a delay in seconds alone on the first line, then a cookie")
    result: dict[str, Any] = {"kind": "delay+cookie", "cookie": _cookie(text[found.end() :], complete)}
    digits = found[1] or b"0"
    if len(digits) <= 11 and abs(int(digits)) < 1 << 31:
        result["delay_s"] = int(digits)
        if not found[1]:
            result["problem"] = "the line for the delay is empty: certmonger takes it as 0"
    else:
        result["problem"] = "the delay exceeds what certmonger can hold: it is unknown when it asks again"
    return result, True


def _cookie(text: bytes, complete: bool) -> dict[str, Any]:
    """A cookie for the log. certmonger drops the newline of a single line; after an empty one it runs a SUBMIT."""
    cookie = text.decode(errors="backslashreplace").rstrip("\r\n")
    kept: dict[str, Any] = {"text": redact_text(cookie)[:_COOKIE_TEXT], "size": len(text.rstrip(b"\r\n"))}
    kept.update(cookies.parts(cookie) if complete else {})
    return kept


def _message(stdout: bytes) -> dict[str, Any]:
    """What certmonger shows as ca-error: stdout up to the first CR, LF or NUL."""
    line = _first_line(stdout)[:_MESSAGE_TEXT]
    if line:
        return {"kind": "message", "message": redact_text(line.decode(errors="backslashreplace"))}
    return {"kind": "text" if stdout else "nothing"}


def _broken(stdout: bytes, problem: str) -> tuple[dict[str, Any], bool]:
    result = _message(stdout)
    if result["kind"] == "message":
        result["kind"] = "text"
    result["problem"] = problem if stdout else f"{problem.partition(', stdout')[0]}, stdout is empty"
    return result, False


def _first_line(stdout: bytes) -> bytes:
    return re.split(rb"[\r\n\0]", stdout, maxsplit=1)[0]


def harmful(
    outcome_code: int | None, stdout: bytes, longest_line: int, *, complete: bool = True
) -> list[dict[str, Any]]:
    """Findings about outputs that harm certmonger 0.79.17 itself. Never raises.

    `stdout` is at least its beginning (`complete`: all of it), `longest_line` the bytes of its longest line.
    """
    if outcome_code is None:
        return []
    findings = []
    first = _first_line(stdout)
    ends = len(first) < len(stdout)
    fails = outcome_code not in (0, 1, 5)
    if fails and not _is_utf8(first, whole=ends or complete):
        findings.append(_not_utf8(first))
    stored = len(first) if fails and ends else longest_line
    if outcome_code != 0 and stored > _LONGEST_LINE:
        findings.append(_too_long(stored, "ca_error" if fails else "ca_cookie"))
    if not fails and outcome_code != 0 and longest_line > _LONGEST_COOKIE:
        findings.append(_cookie_too_long(longest_line))
    if outcome_code == 0 and complete and issued.unterminated(stdout):
        findings.append(_unterminated())
    return findings


def foreign_key(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The finding that a certificate was issued for another key than the request's; empty if it was not."""
    if result.get("key") != "other":
        return []
    return [
        {
            "check": "certificate-for-another-key",
            "level": "ERROR",
            "expected": "a certificate for the public key of the request",
            "found": f"a certificate for the key {result['certificate']['spki_sha256']}",
            "breaks": "certmonger saves it without any check: the certificate and the private key no longer belong "
            "together, and the service does not start",
            "remedy": "Find out why the CA answered with it, then ask again: getcert resubmit -i ID",
        }
    ]


def _is_utf8(line: bytes, whole: bool) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(line, final=whole)
    except UnicodeDecodeError:
        return False
    return True


UNTERMINATED = "stdout-pem-unterminated"
_REQUESTS = "/var/lib/certmonger/requests"


def _not_utf8(line: bytes) -> dict[str, Any]:
    return {
        "check": "stdout-not-utf8",
        "level": "CRITICAL",
        "expected": "a first line in UTF-8",
        "found": redact_text(line[:120].decode(errors="backslashreplace")),
        "breaks": "certmonger aborts (SIGABRT) when it announces this line as ca-error, and after a restart again at "
        "each getcert list, because the line is kept in the request's file",
        "remedy": "systemctl stop certmonger; "
        f"FILE=$(LC_ALL=C.UTF-8 grep -axlv '.*' {_REQUESTS}/*); "
        "LC_ALL=C sed -i '/^ca_error=/d' $FILE; systemctl start certmonger",
    }


def _too_long(length: int, key: str) -> dict[str, Any]:
    return {
        "check": "stdout-line-too-long",
        "level": "CRITICAL",
        "expected": f"lines of at most {_LONGEST_LINE} bytes",
        "found": f"a line of {length} bytes",
        "breaks": f"certmonger writes it to the request's file as {key}; at its next start it stops reading the file "
        "there, and every later key is lost, the pre-save and post-save commands among them",
        "remedy": f"Before certmonger is restarted otherwise: systemctl stop certmonger; "
        f"FILE=$(LC_ALL=C awk 'length > {_LONGEST_LINE} {{print FILENAME; nextfile}}' {_REQUESTS}/*); "
        f"LC_ALL=C sed -i '/^{key}=/d' $FILE; systemctl start certmonger. "
        "Where it has been restarted, set the commands again: getcert start-tracking -i ID -B PRE -C POST",
    }


def _cookie_too_long(length: int) -> dict[str, Any]:
    return {
        "check": "cookie-too-long",
        "level": "CRITICAL",
        "expected": f"a cookie of at most {_LONGEST_COOKIE} bytes",
        "found": f"a line of {length} bytes",
        "breaks": "the helper cannot be started with it again (Argument list too long): certmonger tries every 30 "
        "seconds, and getcert list shows nothing of it",
        "remedy": "systemctl stop certmonger; "
        f"FILE=$(LC_ALL=C awk 'length > {_LONGEST_COOKIE} {{print FILENAME; nextfile}}' {_REQUESTS}/*); "
        "LC_ALL=C sed -i '/^ca_cookie=/d' $FILE; systemctl start certmonger",
    }


def _unterminated() -> dict[str, Any]:
    return {
        "check": UNTERMINATED,
        "level": "CRITICAL",
        "expected": "an -----END line after each -----BEGIN",
        "found": "a PEM block that begins and never ends",
        "breaks": "the certmonger process that reads it never ends and takes a whole processor; the request stays "
        "SUBMITTING, and certmonger cannot be stopped before that process is killed",
        "remedy": "End the looping child: kill -KILL $(pgrep -P $(cat /run/certmonger.pid) -x certmonger); "
        "then ask again: getcert resubmit -i ID",
    }
