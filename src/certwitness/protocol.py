# SPDX-License-Identifier: MIT
"""certmonger's helper interface as data: what each exit of a SUBMIT or POLL means and leads to.

What the table says was measured on certmonger 0.79.17 with one fake helper per exit; the integration tests repeat the
measurement. Imports nothing but the operations: the helpers load it on every such run. The names are those that
certmonger's own log uses (``cm_submit_e_status_text`` in submit-e.c, for the ``CM_SUBMIT_STATUS_*`` values of
submit-e.h); codes without such a name bear one of ours: RESERVED, UNDEFINED, KILLED BY ….
"""

from certwitness.operations import DATA_OPERATIONS, ENROLLMENT_OPERATIONS
from certwitness.signals import signal_name

_EVERY_OPERATION = ENROLLMENT_OPERATIONS + DATA_OPERATIONS


class Outcome:
    """What one exit of a SUBMIT or POLL means and leads to. Read-only by convention.

    code, signal     exactly one is an int, the other None
    name             in certmonger's own terms where it has one
    meaning          a sentence or two
    promise          what stdout must hold: certificate, cookie, delay+cookie, message, text or nothing
    operations       the operations for which certmonger gives this exit a meaning; () = none
    state_first      request state it leads to when no certificate is held yet; stuck_first: is that stuck?
    state_renewal    the same when a certificate is held; stuck_renewal
    retry            when certmonger tries again, in words
    shows_ca_error   whether the first line of stdout is shown as ca-error
    look_at          what an administrator should look at
    renewal          our word for the state of the renewal: issued, waiting, rejected, unreachable,
                     unconfigured, stuck, new-key or needs-scep
    """

    __slots__ = (
        "code",
        "look_at",
        "meaning",
        "name",
        "operations",
        "promise",
        "renewal",
        "retry",
        "shows_ca_error",
        "signal",
        "state_first",
        "state_renewal",
        "stuck_first",
        "stuck_renewal",
    )

    def __init__(
        self,
        *,
        name: str,
        meaning: str,
        promise: str,
        look_at: str,
        code: "int | None" = None,
        signal: "int | None" = None,
        operations: "tuple[str, ...]" = (),
        first: str = "NEED_GUIDANCE",
        stuck_first: bool = True,
        renewing: str = "NEED_GUIDANCE",
        stuck_renewal: bool = True,
        retry: str = "never by itself: only getcert resubmit or rekey leaves this state, no restart does",
        shows_ca_error: bool = True,
        renewal: str = "stuck",
    ) -> None:
        """The defaults are certmonger's dead end: the request is parked in NEED_GUIDANCE for ever."""
        self.code = code
        self.signal = signal
        self.name = name
        self.meaning = meaning
        self.promise = promise
        self.operations = operations
        self.state_first = first
        self.stuck_first = stuck_first
        self.state_renewal = renewing
        self.stuck_renewal = stuck_renewal
        self.retry = retry
        self.shows_ca_error = shows_ca_error
        self.look_at = look_at
        self.renewal = renewal

    def __repr__(self) -> str:
        return f"<Outcome {self.name} {self.code if self.signal is None else -self.signal}>"


_CA_DELAY = "after 7 days; with less than 14 days of validity left after half of what remains, at least 5 minutes"
_NEXT_TTL = (
    "first request: never. Renewal: when the next of 28, 7, 3, 2, 1 days, 12, 6, 2, 1 hours before expiry is "
    "crossed; every 30 seconds once the certificate has expired"
)
_ITSELF = "the helper itself: which program ends with this code, and its stderr"

# fmt: off
# Exit codes 0 to 17, by number.
TABLE: "tuple[Outcome, ...]" = (
    Outcome(
        code=0, name="ISSUED", promise="certificate", operations=_EVERY_OPERATION, renewal="issued",
        meaning="The CA issued the certificate; certmonger saves it.",
        first="MONITORING", stuck_first=False, renewing="MONITORING", stuck_renewal=False,
        retry="not needed", shows_ca_error=False,
        look_at="nothing here; whether every store got the new certificate is a separate question",
    ),
    Outcome(
        code=1, name="WAIT", promise="cookie", operations=_EVERY_OPERATION, renewal="waiting",
        meaning="The CA has the request but no answer yet; the cookie is kept to ask again.",
        first="CA_WORKING", stuck_first=False, renewing="CA_WORKING", stuck_renewal=False,
        retry=_CA_DELAY, shows_ca_error=False,
        look_at="the CA: does the request wait there for somebody's approval?",
    ),
    Outcome(
        code=2, name="REJECTED", promise="message", operations=_EVERY_OPERATION, renewal="rejected",
        meaning="The CA refused the request. A refused renewal goes back to MONITORING, not stuck, without a "
        "notification: it looks healthy but for its ca-error, and a CA's HTML error page leaves not even that.",
        first="CA_REJECTED", renewing="MONITORING", stuck_renewal=False, retry=_NEXT_TTL,
        look_at="the message; without one, the CA's log: it answered what the helper could not read",
    ),
    Outcome(
        code=3, name="UNREACHABLE", promise="message", operations=_EVERY_OPERATION, renewal="unreachable",
        meaning="The CA could not be reached or could not answer; a stored cookie is kept.",
        first="CA_UNREACHABLE", stuck_first=False, renewing="CA_UNREACHABLE", stuck_renewal=False,
        retry=_CA_DELAY + "; also 60 seconds after a network route changes, when certmonger starts, and at "
        "getcert refresh",
        look_at="whether the CA runs, and its certificate and ours; then getcert refresh instead of waiting",
    ),
    Outcome(
        code=4, name="UNCONFIGURED", promise="message", operations=_EVERY_OPERATION, renewal="unconfigured",
        meaning="The helper lacks something it needs: an option, a credential, a URL. A stored cookie is thrown "
        "away. A renewal goes back to MONITORING, not stuck, as after a rejection.",
        first="CA_UNCONFIGURED", renewing="MONITORING", stuck_renewal=False,
        retry=_NEXT_TTL + "; a first request is submitted again when certmonger starts",
        look_at="the options in helper-location (getcert list-cas) and the files they name",
    ),
    Outcome(
        code=5, name="WAIT_WITH_DELAY", promise="delay+cookie", operations=_EVERY_OPERATION, renewal="waiting",
        meaning="The CA has the request; ask again after the seconds on the first line, with the cookie on the "
        "second. Without a cookie the next run is a SUBMIT.",
        first="CA_WORKING", stuck_first=False, renewing="CA_WORKING", stuck_renewal=False,
        retry="after exactly the seconds given; 0 is at once; a negative number: " + _CA_DELAY,
        shows_ca_error=False, look_at="nothing, while the number of attempts stays small",
    ),
    Outcome(
        code=6, name="OPERATION_NOT_SUPPORTED_BY_HELPER", promise="message", operations=DATA_OPERATIONS,
        meaning="The helper does not do this operation: usual for data operations, a dead end for SUBMIT and "
        "POLL.",
        look_at="helper-location in getcert list-cas: is this program a helper that can enrol?",
    ),
    *[
        Outcome(
            code=code, name="RESERVED", promise="text", look_at=_ITSELF,
            meaning="The code is reserved by certmonger and has no meaning: it cannot tell what to do next.",
        )
        for code in range(7, 16)
    ],
    Outcome(
        code=16, name="NEED_SCEP_MESSAGES", promise="message", operations=ENROLLMENT_OPERATIONS,
        meaning="The helper needs SCEP messages, which certmonger makes from the SCEP server's certificates; "
        "without those the request is stuck.",
        first="NEED_SCEP_ENCRYPTION_CERT", renewing="NEED_SCEP_ENCRYPTION_CERT", renewal="needs-scep",
        retry="when the SCEP server's certificates have been fetched",
        look_at="whether this CA is a SCEP server at all; getcert refresh-ca fetches again",
    ),
    Outcome(
        code=17, name="NEED_REKEY", promise="message", operations=ENROLLMENT_OPERATIONS, renewal="new-key",
        meaning="The CA wants a new key. certmonger makes one and asks again; the old key stays until the "
        "certificate for the new one is saved.",
        first="NEED_KEY_PAIR", stuck_first=False, renewing="NEED_KEY_PAIR", stuck_renewal=False,
        retry="after 30 seconds with a new key, and every 30 seconds while the CA keeps saying so",
        look_at="that this does not repeat: a CA that always asks for a new key makes a loop",
    ),
)

# 0, 1 and 5 whose stdout is not what the code promises: parked like an undefined code, but without a ca-error.
_BROKEN = {
    0: Outcome(
        code=0, name="ISSUED", promise="certificate", operations=_EVERY_OPERATION, shows_ca_error=False,
        meaning="The helper said issued, but certmonger can read no certificate in its output: nothing is "
        "saved, and there is no ca-error.",
        look_at="the helper's output: it must be PEM, DER, PKCS#7 or certmonger's JSON",
    ),
    1: Outcome(
        code=1, name="WAIT", promise="cookie", operations=_EVERY_OPERATION, shows_ca_error=False,
        meaning="The helper said wait, but gave no cookie to ask again with; there is no ca-error.",
        look_at="the helper's output: it must hold a cookie",
    ),
    5: Outcome(
        code=5, name="WAIT_WITH_DELAY", promise="delay+cookie", operations=_EVERY_OPERATION,
        shows_ca_error=False,
        meaning="The helper said wait, but the first line of its output is no number of seconds; there is no "
        "ca-error.",
        look_at="the helper's output: a number of seconds on the first line, a cookie on the second",
    ),
}

# fmt: on

_LOOK_AT_SIGNAL = {
    6: "a core dump (coredumpctl) and the helper's stderr: it gave up by itself",
    9: "the kernel's out-of-memory killer (journalctl -k), or whoever sent it",
    11: "a core dump (coredumpctl) and the helper's stderr: it crashed",
    15: "whether the certmonger service was stopped meanwhile: systemd signals every process in it",
}
_LOOK_AT_CODE = {
    126: "whether the program that the helper runs can be executed (126 is what a shell gives)",
    127: "whether the program that the helper runs exists (127 is what a shell gives)",
    255: "quotes in helper-location (getcert list-cas): certmonger gives 255 when it cannot split it",
}


def _shell_hint(code: int) -> str:
    # A shell that runs the helper turns its death by signal N into 128+N.
    if 128 < code <= 192:
        return f"whether a shell runs the helper: it gives {code} when {signal_name(code - 128)} killed what it ran"
    return ""


def outcome(code: "int | None" = None, signal: "int | None" = None, kept: bool = True) -> Outcome:
    """The Outcome of a SUBMIT or POLL that exited with ``code``, or that ``signal`` killed.

    ``kept`` is False when stdout does not hold what code 0, 1 or 5 promises; it changes no other code.
    Raises ValueError unless exactly one of code and signal is given.
    """
    if signal is not None and code is None:
        name = signal_name(signal)
        return Outcome(
            signal=signal,
            name="KILLED BY " + name.upper(),
            promise="nothing",
            shows_ca_error=False,
            meaning=f"The helper was killed by {name}: certmonger throws its output away and shows no ca-error.",
            look_at=_LOOK_AT_SIGNAL.get(signal, "who sent the signal, and the helper's stderr"),
        )
    if code is None or signal is not None:
        raise ValueError("an outcome has either an exit code or a signal")
    if not kept and code in _BROKEN:
        return _BROKEN[code]
    if 0 <= code < len(TABLE):
        return TABLE[code]
    return Outcome(
        code=code,
        name="UNDEFINED",
        promise="text",
        meaning="The code means nothing to certmonger: it cannot determine a course of action.",
        look_at=_LOOK_AT_CODE.get(code) or _shell_hint(code) or _ITSELF,
    )
