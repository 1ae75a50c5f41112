# SPDX-License-Identifier: MIT
"""How FreeIPA's dogtag-ipa-ca-renew-agent-submit gets a certificate: ask Dogtag, store it in LDAP, or wait for another
server to have done so (freeipa.md 5.2)."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace

from cryptography import x509

from tests.lab.freeipa import cookies
from tests.lab.freeipa.cookies import BadCookieError, Result, Run
from tests.lab.freeipa.server import CA_NICKNAME, Server
from tests.lab.freeipa.updates import read_ca_renewal_entry, update_ca_renewal_entry
from tests.lab.ldapi import LdapError, Ldapi
from tests.lab.settings import HOST

STORE_ATTEMPTS = 10
EIGHT_HOURS_S = "28800"
REAL_HELPERS = ("/usr/libexec/certmonger", "/usr/lib/certmonger")
INNER_HELPER = "dogtag-ipa-renew-agent-submit"
NO_COOKIE = "Cookie not provided"
GIVING_UP = (
    'Giving up. To retry storing the certificate, resubmit the request with CA "dogtag-ipa-ca-renew-agent-reuse"'
)


@dataclass
class Renewal:
    """One run of the helper: its server and directory, its options, and its own arguments for the inner helper."""

    server: Server
    ldapi: Ldapi
    nickname: str | None
    reuse_existing: bool
    force_self_signed: bool
    arguments: list[str]

    def handle(self, run: Run) -> Result:
        """Choose the handler, by the nickname that belongs to the CSR's subject and by this server's role."""
        if self.nickname == CA_NICKNAME:
            return cookies.call(self.renew_ca_certificate, run)
        if self.nickname is None:
            return cookies.call(self.request, run)
        if self.server.is_renewal_master(self.ldapi):
            return cookies.call(self.request_and_store, run)
        return cookies.call(self.wait_for_it, run)

    # --- handlers

    def request(self, run: Run) -> Result:
        """Let certmonger's own helper do one step with Dogtag."""
        if self.reuse_existing:
            if not run.certificate:
                return Result(cookies.REJECTED, "New certificate requests not supported")
            return Result(cookies.ISSUED, run.certificate)
        self.server.log("NOTICE", "Forwarding request to dogtag-ipa-renew-agent")
        done = subprocess.run(self._inner_command(), env=_environment(run), capture_output=True, check=False)
        sys.stderr.buffer.write(done.stderr)
        sys.stderr.flush()
        self.server.log("NOTICE", f"dogtag-ipa-renew-agent returned {done.returncode}")
        text = done.stdout.decode()
        text = text[:-1] if text.endswith("\n") else text
        if done.returncode == cookies.WAIT_WITH_DELAY:
            delay, _, cookie = text.partition("\n")
            return Result(done.returncode, cookie, delay)
        return Result(done.returncode, text)

    def request_and_store(self, run: Run) -> Result:
        """Request, then store: cookies ``request:<cookie>`` and ``store:<PEM>:<cookie>``."""
        inner = run
        if run.polls:
            try:
                state, rest = cookies.split(run, "request", "store")
            except BadCookieError as error:
                return Result(cookies.UNCONFIGURED, str(error))
            inner = replace(run, cookie=rest)
            if state == "store":
                certificate, _, rest = rest.partition(":")
                return self._store_step(replace(run, certificate=certificate, cookie=rest))
        result = cookies.call(self.request, inner)
        if result.waits:
            return replace(result, text=f"request:{result.text}")
        if result.code != cookies.ISSUED:
            return result
        return self._store_step(replace(run, operation="SUBMIT", cookie=None, certificate=result.text))

    def store(self, run: Run) -> Result:
        """Write cn=ca_renewal; the cookie counts the failures. The last one is swallowed: ISSUED all the same."""
        failures = 0
        if run.polls:
            if not run.cookie or not run.cookie.isdigit():
                return Result(cookies.UNCONFIGURED, f"Invalid cookie: {run.cookie!r}" if run.cookie else NO_COOKIE)
            failures = int(run.cookie)
        assert self.nickname is not None
        certificate = x509.load_pem_x509_certificate(run.certificate.encode())
        try:
            update_ca_renewal_entry(self.server, self.ldapi, self.nickname, certificate)
        except LdapError as error:
            failures += 1
            if failures < STORE_ATTEMPTS:
                self.server.log("ERR", f"Updating renewal certificate failed: {error}. Sleeping 30s")
                return Result(cookies.WAIT_WITH_DELAY, str(failures), str(self.server.settings.store_delay_s))
            self.server.log("ERR", GIVING_UP)
        return Result(cookies.ISSUED, run.certificate)

    def retrieve(self, run: Run) -> Result:
        """The certificate in cn=ca_renewal, else the one at hand."""
        if not run.certificate:
            return Result(cookies.REJECTED, "New certificate requests not supported")
        assert self.nickname is not None
        stored = read_ca_renewal_entry(self.ldapi, self.nickname)
        return Result(cookies.ISSUED, stored or run.certificate)

    def wait_for_it(self, run: Run) -> Result:
        """Retrieve; as long as that is what is held already, look again in eight hours. Any other counts as new."""
        result = cookies.call(self.retrieve, run)
        if result.code != cookies.ISSUED or self.reuse_existing or not _same(result.text, run.certificate):
            return result
        self.server.log("INFO", "Updated certificate not available")
        return Result(cookies.WAIT_WITH_DELAY, "", EIGHT_HOURS_S)

    def retrieve_once(self, run: Run) -> Result:
        """Like `wait_for_it`, for the CA's own certificate: not there is a rejection."""
        result = cookies.call(self.wait_for_it, run)
        if result.code == cookies.WAIT_WITH_DELAY:
            return Result(cookies.REJECTED, "Updated certificate not available")
        return result

    def renew_ca_certificate(self, run: Run) -> Result:
        """The CA's own: on the master and self-signed it is requested and stored, with a profile of its own."""
        if not run.certificate:
            return Result(cookies.REJECTED, "New certificate requests not supported")
        certificate = x509.load_pem_x509_certificate(run.certificate.encode())
        self_signed = certificate.issuer == certificate.subject
        inner, state = run, "retrieve"
        if run.polls:
            try:
                state, rest = cookies.split(run, "retrieve", "request")
            except BadCookieError as error:
                return Result(cookies.UNCONFIGURED, str(error))
            inner = replace(run, cookie=rest)
        else:
            wanted = (self_signed or self.force_self_signed) and not self.reuse_existing
            if wanted and self.server.is_renewal_master(self.ldapi):
                state = "request"
            try:
                self.server.settings.ca_csr.write_text(run.csr)
            except OSError as error:
                return Result(cookies.UNREACHABLE, f"Failed to write {self.server.settings.ca_csr}: {error}")
        if state == "request":
            result = cookies.call(self.request_and_store, replace(inner, profile="caCACert"))
        else:
            result = cookies.call(self.retrieve_once, inner)
            if result.code == cookies.REJECTED and not self_signed and not self.reuse_existing:
                owner = os.environ.get("CERTMONGER_REQ_SUBJECT")
                advice = "is about to expire, use ipa-cacert-manage to renew it"
                self.server.log("ALERT", f"Certificate with subject '{owner}' {advice}")
        return replace(result, text=f"{state}:{result.text}") if result.waits else result

    # --- inside

    def _store_step(self, run: Run) -> Result:
        result = cookies.call(self.store, run)
        return replace(result, text=f"store:{run.certificate}:{result.text}") if result.waits else result

    def _inner_command(self) -> list[str]:
        settings = self.server.settings
        places = (os.path.join(directory, INNER_HELPER) for directory in REAL_HELPERS)
        key = settings.ra_key.with_suffix(".gone") if self.server.faults.is_on("ra-key-missing") else settings.ra_key
        command = [next((place for place in places if os.path.exists(place)), INNER_HELPER)]
        command += ["--cafile", str(settings.ca_certificate), "--certfile", str(settings.ra_certificate)]
        command += ["--keyfile", str(key), "--ee-url", settings.ee_url, "--agent-url", settings.agent_url]
        command += [*self.arguments, "--submit-option", "requestor_name=IPA", "--force-new"]
        command += ["--approval-option", "bypassCAnotafter=true"]
        if self.server.faults.is_on("jsonrpc-url"):
            command += ["--jsonrpc-url", f"https://{HOST}/ipa/json"]
        return command


def _environment(run: Run) -> dict[str, str]:
    changed = {"CERTMONGER_OPERATION": run.operation, "CERTMONGER_CERTIFICATE": run.certificate}
    changed["CERTMONGER_CA_PROFILE"] = run.profile or ""
    changed["CERTMONGER_CA_COOKIE"] = run.cookie or ""
    kept = {name: value for name, value in os.environ.items() if name not in changed}
    return {**kept, **{name: value for name, value in changed.items() if value}}


def _same(first: str, second: str) -> bool:
    one, other = (x509.load_pem_x509_certificate(pem.encode()) for pem in (first, second))
    return one == other
