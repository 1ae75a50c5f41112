# SPDX-License-Identifier: MIT
"""One renewal, as the event log tells it, and what it means. fold.py makes them out of events."""

from __future__ import annotations

from typing import Any

from certwitness.events import outcomes
from certwitness.events.fields import seconds_between, text
from certwitness.schedule import times

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3

# state: the monitoring plugins' status and what it means; the helper's message follows where there is one
STATES = {
    "issued": (OK, "the CA issued the certificate"),
    "waiting": (OK, "the CA has the request; certmonger asks again"),
    "running": (OK, "the helper runs"),
    "new-key": (OK, "the CA wants a new key; certmonger makes one"),
    "superseded": (OK, "went on as another renewal"),
    "unreachable": (WARNING, "the CA could not be reached"),
    "rejected": (WARNING, "the CA refused it"),
    "unconfigured": (WARNING, "the helper lacks something it needs"),
    "needs-scep": (CRITICAL, "SCEP messages are missing"),
    "stuck": (CRITICAL, "parked for ever"),
    "unknown": (UNKNOWN, "a state that this certwitness does not know"),
}
_FAILING = ("unreachable", "rejected", "unconfigured")
# FreeIPA's helper gives up after the tenth failure to store a certificate in LDAP, and says "issued" all the same.
# Its cookie counts the failures so far (reference: FreeIPA 4.9 to 4.13, dogtag-ipa-ca-renew-agent-submit).
LAST_STORE_FAILURE = 9
# FreeIPA's renewal lock alone may take an hour to be had.
RUNNING_TOO_LONG_S = 2 * 3600


class Renewal:
    """One renewal, from its first run to the last one seen.

    trace_id, ca; nickname and key (SHA-256 of the public key, hex), None where unknown; first and last, timestamps as
    in the log; attempts; state, a key of STATES; ended, the state after the last run that ended ("running" before);
    exit, message, next, findings, killed, promise_kept of that run as in its event; previous and new, certificates as
    in the event, None where there is none; running_since and running_span, set while a run has no end;
    store_failures, how often FreeIPA's helper failed to store the certificate in LDAP; verified, what was found in the
    stores last; hook, the hook.started of a hook that has no end yet, cut down; continued_by, the trace of the newer
    renewal of the same certificate, "" for the latest.
    Only runs count: a hook and a look at the stores are no attempts, and do not change last.
    """

    __slots__ = (
        "attempts", "ca", "continued_by", "ended", "exit", "findings", "first", "hook", "key", "killed", "last",
        "message", "new", "next", "nickname", "previous", "promise_kept", "running_since", "running_span", "state",
        "store_failures", "trace_id", "verified",
    )  # fmt: skip

    def __init__(self, trace_id: str, first: str) -> None:
        self.trace_id = trace_id
        self.first = self.last = first
        self.ca = ""
        self.nickname: str | None = None
        self.key: str | None = None
        self.attempts = 0
        self.state = self.ended = "running"
        self.exit: dict[str, Any] = {}
        self.message = ""
        self.next: dict[str, Any] = {}
        self.findings: list[dict[str, Any]] = []
        self.previous: dict[str, Any] | None = None
        self.new: dict[str, Any] | None = None
        self.running_since = ""
        self.running_span = ""
        self.store_failures = 0
        self.killed = False
        self.promise_kept = True
        self.verified = outcomes.UNSEEN
        self.hook: dict[str, Any] = {}
        self.continued_by = ""

    @property
    def name(self) -> str:
        """How people call the certificate: its nickname, else the start of its key's digest."""
        if self.nickname:
            return self.nickname
        return f"key {self.key[:16]}" if self.key else "?"

    @property
    def exit_name(self) -> str:
        """The last exit in certmonger's terms, "" before the first one."""
        return text(self.exit.get("name"))

    @property
    def outcome(self) -> str:
        """Whether it "landed" or "did not land"; "" where nobody has looked yet."""
        return self.verified.outcome

    @property
    def outcome_at(self) -> str:
        """When that was seen, a timestamp; "" where nobody has looked yet."""
        return self.verified.at

    def perhaps_not_stored(self) -> bool:
        """Whether FreeIPA's helper would have hidden that it could not store it, and nobody has looked since."""
        return self.state == "issued" and self.store_failures >= LAST_STORE_FAILURE and not self.outcome

    def expired(self, now: str) -> bool:
        """Whether the certificate held had expired at ``now``, a timestamp."""
        return bool(self.previous and "" < text(self.previous.get("not_after")) <= now)

    def status(self, now: str) -> int:
        """0 OK, 1 WARNING, 2 CRITICAL or 3 UNKNOWN, as monitoring plugins have it.

        CRITICAL also where a run proved a CRITICAL finding, and where a renewal fails whose certificate has expired. A
        certificate that did not land is WARNING, CRITICAL where a finding proves what fails because of it.
        While a helper runs it is that of the run before; WARNING if it runs for hours: neither certmonger nor Dogtag's
        helper has a time limit.
        """
        if self.state == "running" and seconds_between(self.running_since, now) > RUNNING_TOO_LONG_S:
            return max(WARNING, self._status(self.ended, now))
        return self._status(self.ended if self.state == "running" else self.state, now)

    def _status(self, state: str, now: str) -> int:
        if self.state != "superseded" and any(finding.get("level") == "CRITICAL" for finding in self.findings):
            return CRITICAL
        if state in _FAILING and self.expired(now):
            return CRITICAL
        if self.outcome == outcomes.ASTRAY:
            return CRITICAL if self.verified.critical else WARNING
        if self.perhaps_not_stored():
            return WARNING
        return STATES[state][0]

    def meaning(self) -> str:
        """What the state means for this renewal, one line (not cleaned)."""
        words = STATES[self.state][1]
        if self.state == "running":
            since = self.running_since[:19].replace("T", " ")
            words = f"the helper runs since {since} UTC, or the host went down meanwhile"
            return f"{words}; before that: {self.exit_name}" if self.exit else words
        if self.state == "superseded":
            return f"{words} ({self.continued_by[:8]})"
        if self.perhaps_not_stored():
            words += (
                f", but storing it in LDAP failed {times(self.store_failures)} before, and at the next failure the "
                "helper gives up silently: compare cn=ca_renewal with the certificate"
            )
        elif self.store_failures and self.state in ("issued", "waiting"):
            words += f"; storing it in LDAP failed {times(self.store_failures)}"
        if self.state == "stuck" and self.exit:
            words += f": {self._why_stuck()}"
        if self.outcome:
            words += f"; {self.verified.words()}"
        if self.message:
            words += f": {self.message.rstrip('.')}"
        elif self.state in ("rejected", "unconfigured", "unreachable"):
            words += ", and the helper gave no reason"
        for finding in self.findings:
            words += f"; {text(finding.get('level'))}: {text(finding.get('found'))}"
        return words

    def _why_stuck(self) -> str:
        if self.killed:
            return "certwitness was killed, and the helper with it"
        if not self.promise_kept:
            return f"the helper said {self.exit_name}, but its output does not hold what that promises"
        if self.exit.get("code") is None:
            return f"the helper was {self.exit_name}"
        return f"exit {self.exit['code']} {self.exit_name} gives certmonger nothing to go on"

    def next_text(self) -> str:
        """What certmonger does next, one line; "" where that has been overtaken or is not known."""
        return "" if self.continued_by or self.state == "running" else text(self.next.get("text"))

    def as_json(self, now: str) -> dict[str, Any]:
        """The stable form that ``--json`` prints."""
        return {
            "trace_id": self.trace_id,
            "nickname": self.nickname,
            "key": self.key,
            "ca": self.ca,
            "first": self.first,
            "last": self.last,
            "attempts": self.attempts,
            "state": self.state,
            "status": ("OK", "WARNING", "CRITICAL", "UNKNOWN")[self.status(now)],
            "meaning": self.meaning(),
            "exit": self.exit or None,
            "message": self.message or None,
            "next": self.next or None,
            "running_since": self.running_since or None,
            "store_failures": self.store_failures,
            "findings": self.findings,
            "previous": self.previous,
            "certificate": self.new,
            **self.verified.as_json(),
            "continued_by": self.continued_by or None,
        }
