# SPDX-License-Identifier: MIT
"""Stands in for FreeIPA's certmonger helper dogtag-ipa-ca-renew-agent-submit (freeipa.md 5.1), as far as SUBMIT and
POLL go: every other operation has been answered by the shell wrapper (programs.py)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tests.lab.freeipa import cookies
from tests.lab.freeipa.server import Server

OPTIONS = ("--reuse-existing", "--force-self-signed")


def main(server: Server, arguments: Sequence[str]) -> int:
    """One run. The lock is released after the result was printed, so a failure there spoils a good result."""
    try:
        lock = server.lock()
        lock.acquire()
        try:
            server.may_die("helper-dies")
            result = _renew(server, arguments)
            for line in result.lines():
                print(line, flush=True)
            if result.code == cookies.ISSUED and server.faults.is_on("lock-lost"):
                lock.lose()
        finally:
            lock.release()
    except Exception:
        server.log_traceback()
        print("Internal error", flush=True)
        return cookies.UNREACHABLE
    return result.code


def _renew(server: Server, arguments: Sequence[str]) -> cookies.Result:
    from cryptography import x509

    from tests.lab.freeipa.handlers import Renewal

    server.kinit()
    ldapi = server.connect()
    csr = os.environ.get("CERTMONGER_CSR", "")
    renewal = Renewal(
        server=server,
        ldapi=ldapi,
        nickname=server.nickname(ldapi, x509.load_pem_x509_csr(csr.encode()).subject.rfc4514_string()),
        reuse_existing="--reuse-existing" in arguments,
        force_self_signed="--force-self-signed" in arguments,
        arguments=[argument for argument in arguments if argument not in OPTIONS],
    )
    run = cookies.Run(
        operation=os.environ["CERTMONGER_OPERATION"],
        cookie=os.environ.get("CERTMONGER_CA_COOKIE"),
        profile=os.environ.get("CERTMONGER_CA_PROFILE"),
        csr=csr,
        certificate=os.environ.get("CERTMONGER_CERTIFICATE", ""),
    )
    return renewal.handle(run)
