# SPDX-License-Identifier: MIT
"""The gate's table: what proves that a start fails, and what does not."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from certwitness import gate, judging, start_facts
from certwitness.checks import BY_NAME
from certwitness.checks.check import Check
from certwitness.errors import CertwitnessError
from certwitness.findings import CRITICAL, ERROR, PENDING, UNKNOWN, WARNING, Finding
from certwitness.holds import Hold, Release
from certwitness.render import verdict as render
from certwitness.start_facts import Facts, SelfTests, binds_by_certificate, nss_of_tls, of_httpd, self_tests
from certwitness.stores.external_bind import REFUSED_IN_TLS, BindResult
from tests.unit import findings_factory as make
from tests.unit.findings_factory import AUDIT, BIND, NOW, PKI_NSSDB, SUBSYSTEM, USER_CERTIFICATE

CA, OCSP, KRA = "caSigningCert cert-pki-ca", "ocspSigningCert cert-pki-ca", "storageCert cert-pki-kra"
HTTP, KDC, LDAP = "/var/lib/ipa/certs/httpd.crt", "/var/kerberos/krb5kdc/kdc.crt", "Server-Cert"
DIRSRV = "/etc/dirsrv/slapd-EXAMPLE-TEST"
PASSWORD_CONF = "/etc/pki/pki-tomcat/password.conf"
HOST: Any = SimpleNamespace(
    pki_password_file=PASSWORD_CONF, pki_nssdb=PKI_NSSDB, dirsrv_nssdb=DIRSRV, certmap=f"{DIRSRV}/certmap.conf",
    instance="EXAMPLE-TEST",
)  # fmt: skip
ALL = SelfTests(
    frozenset({"CAPresence", "SystemCertsVerification"}), frozenset({"ca", "audit", "ocsp", "subsystem", "pki-server"})
)
FACTS = Facts(
    HOST,
    roles={CA: "ca", AUDIT: "audit", OCSP: "ocsp", SUBSYSTEM: "subsystem", KRA: "kra-storage", HTTP: "https",
           LDAP: "ldaps", KDC: "kdc"},
    self_tests=SelfTests(),
    bind=None,
    binds_by_certificate=True,
    mapped_by_ipa=True,
    nss_of_tls=frozenset({LDAP}),
    of_httpd=frozenset({HTTP}),
    ldaps_by_ipa=True,
)  # fmt: skip
BOUND = BindResult(0, "dn: uid=pkidbuser,ou=people,o=ipaca", "")
REFUSED = BindResult(49, "", "Invalid credentials")


def judge(service: str, *findings: Finding, hold: Hold | None = None, **facts: Any) -> gate.Verdict:
    results = [make.result(finding) for finding in findings]
    return gate.judge(gate.SERVICES[service], results, replace(FACTS, **facts), hold, NOW)


def critical(check: str, certificate: str = "", **fields: Any) -> Finding:
    return Finding(check, CRITICAL, certificate, **{"found": "wrong", "breaks": "it fails", **fields})


@pytest.mark.parametrize("service", gate.SERVICES)
def test_nothing_found(service: str) -> None:
    """Without findings every service is allowed, without a word."""
    assert judge(service) == gate.Verdict(service, True, note=gate.SERVICES[service].note)


class TestPki:
    """pki-tomcatd."""

    def test_a_refused_bind_is_proof(self) -> None:
        """389-ds refuses the bind that Dogtag does: that alone blocks."""
        for code in (49, 48, REFUSED_IN_TLS):
            assert judge("pki-tomcatd", BIND, bind=BindResult(code, "", "")).reasons == (BIND,)

    def test_taken_for_somebody_else_is_no_proof(self) -> None:
        """A bind as another user succeeds: a warning."""
        verdict = judge("pki-tomcatd", BIND, bind=BindResult(0, "dn: uid=CA-host", ""))
        assert (verdict.allow, verdict.warnings) == (True, (BIND,))

    @pytest.mark.parametrize("check", ["user-certificate", "user-binary", "pkidbuser-seealso"])
    def test_a_prediction_counts_until_a_bind_succeeds(self, check: str) -> None:
        """What LDAP holds is proof as long as no bind contradicts it."""
        finding = critical(check, SUBSYSTEM)
        assert not judge("pki-tomcatd", finding).allow
        assert not judge("pki-tomcatd", finding, bind=REFUSED).allow
        assert judge("pki-tomcatd", finding, bind=BOUND).allow
        for otherwise in (False, None):  # verifycert off: 389-ds compares nothing
            assert judge("pki-tomcatd", finding, mapped_by_ipa=otherwise).allow

    @pytest.mark.parametrize("known", [False, None])
    def test_another_login_makes_all_of_it_no_proof(self, known: bool | None) -> None:
        """Where CS.cfg logs in otherwise, or could not be read, the bind of the certificate proves nothing."""
        findings = (USER_CERTIFICATE, BIND, critical("key", SUBSYSTEM))
        assert judge("pki-tomcatd", *findings, bind=REFUSED, binds_by_certificate=known).allow

    def test_the_cause_stands_before_the_refusal(self) -> None:
        """The first reason is one that can be mended."""
        assert judge("pki-tomcatd", BIND, USER_CERTIFICATE, bind=REFUSED).reasons == (USER_CERTIFICATE, BIND)

    @pytest.mark.parametrize("check", ["certmap", "ca-store"])
    def test_what_389_ds_reads_at_its_start_counts_with_the_refusal(self, check: str) -> None:
        """certmap.conf and 389-ds's NSS database may have changed after its start: only the bind tells."""
        where = f"{DIRSRV}/certmap.conf" if check == "certmap" else DIRSRV
        finding = critical(check, "" if check == "certmap" else CA, where=where)
        assert judge("pki-tomcatd", finding).allow
        assert judge("pki-tomcatd", finding, BIND, bind=REFUSED).reasons == (finding, BIND)

    def test_the_pin(self) -> None:
        """A wrong PIN in password.conf is proof, one in a request or of another database is not even its business."""
        assert not judge("pki-tomcatd", critical("pin", where=PASSWORD_CONF)).allow
        none_right = Finding("pin", CRITICAL, where=PKI_NSSDB, found=f"wrong PIN in {PASSWORD_CONF}", breaks="x")
        assert not judge("pki-tomcatd", none_right).allow
        for where in ("certmonger's request 1", f"{DIRSRV}/pin.txt", PKI_NSSDB):
            assert judge("pki-tomcatd", critical("pin", where=where)) == judge("pki-tomcatd")

    def test_without_the_self_test_dates_prove_nothing(self) -> None:
        """An expired certificate stops the CA through its self-test alone."""
        for name in (CA, AUDIT, OCSP, SUBSYSTEM):
            assert judge("pki-tomcatd", critical("expiry", name)).warnings
            assert not judge("pki-tomcatd", critical("expiry", name), self_tests=ALL).allow
            assert judge("pki-tomcatd", critical("expiry", name), self_tests=None).allow

    def test_the_kra_fails_alone(self) -> None:
        """The CA comes up without its KRA."""
        for check in ("expiry", "saved", "key", "trust-flags"):
            assert judge("pki-tomcatd", critical(check, KRA), self_tests=ALL).allow

    @pytest.mark.parametrize(
        ("check", "name", "tests", "blocks"),
        [
            ("key", SUBSYSTEM, SelfTests(), True),
            ("saved", SUBSYSTEM, SelfTests(), True),
            ("key", CA, SelfTests(), False),
            ("key", CA, ALL, True),
            ("saved", CA, ALL, True),
            ("saved", OCSP, ALL, True),
            ("saved", OCSP, SelfTests(), False),
            ("key", OCSP, ALL, False),
            ("key", AUDIT, ALL, False),
        ],
    )
    def test_missing(self, check: str, name: str, tests: SelfTests, blocks: bool) -> None:
        """A missing certificate or key blocks where the bind needs it, or a self-test does."""
        assert judge("pki-tomcatd", critical(check, name), self_tests=tests).allow is not blocks

    def test_trust(self) -> None:
        """The CA's trust of servers is needed for the bind; no other flag stops a start."""
        lost = Finding("trust-flags", CRITICAL, CA, found="trust u,u,u: without CT for SSL", breaks="x")
        kept = Finding("trust-flags", CRITICAL, CA, found="trust CTu,u,u: without C for S/MIME", breaks="x")
        audit = critical("trust-flags", AUDIT)
        assert not judge("pki-tomcatd", lost).allow
        assert judge("pki-tomcatd", lost, bind=BOUND).allow
        assert judge("pki-tomcatd", lost, ldaps_by_ipa=False).allow
        assert judge("pki-tomcatd", kept).allow
        one_of_two = replace(lost, found="trust u,u,u or CTu,u,u: without CT for SSL")
        assert judge("pki-tomcatd", one_of_two).allow
        assert judge("pki-tomcatd", audit, self_tests=ALL).allow


class TestOthers:
    """httpd, dirsrv, krb5kdc."""

    @pytest.mark.parametrize("check", ["saved", "key"])
    def test_httpd(self, check: str) -> None:
        """mod_ssl needs the certificate and its key, if httpd's configuration is seen to name this file."""
        finding = critical(check, HTTP)
        assert not judge("httpd", finding).allow
        for seen in (frozenset({"/etc/pki/tls/certs/other.crt"}), frozenset(), None):
            assert judge("httpd", finding, of_httpd=seen).warnings == (finding,)

    def test_httpd_expired(self) -> None:
        """mod_ssl starts with an expired certificate."""
        assert judge("httpd", critical("expiry", HTTP)).warnings

    @pytest.mark.parametrize("finding", [critical("saved", LDAP), critical("key", LDAP),
                                         critical("pin", where=f"{DIRSRV}/pin.txt")])  # fmt: skip
    def test_dirsrv(self, finding: Finding) -> None:
        """389-ds needs certificate, key and PIN if TLS is on."""
        assert not judge("dirsrv", finding).allow
        assert judge("dirsrv", finding, nss_of_tls=frozenset()).allow
        assert judge("dirsrv", finding, nss_of_tls=None).allow

    def test_dirsrv_with_another_certificate(self) -> None:
        """One of two certificates is enough, and one that is not used is none of its business."""
        finding = critical("saved", LDAP)
        assert judge("dirsrv", finding, nss_of_tls=frozenset({LDAP, "ECC-Cert"})).allow
        assert judge("dirsrv", finding, nss_of_tls=frozenset({"Other"})).allow

    def test_krb5kdc(self) -> None:
        """Nothing blocks krb5kdc, and the verdict says why."""
        verdict = judge("krb5kdc", *(critical(check, KDC) for check in ("saved", "key", "expiry")))
        assert verdict.allow
        assert len(verdict.warnings) == 3
        assert "PKINIT" in "\n".join(render.journal(verdict))

    @pytest.mark.parametrize("service", ["httpd", "dirsrv", "krb5kdc"])
    def test_anothers_certificate(self, service: str) -> None:
        """What breaks another service is not told here."""
        assert judge(service, USER_CERTIFICATE, BIND, critical("key", OCSP), bind=REFUSED) == judge(service)


@pytest.mark.parametrize("level", [UNKNOWN, PENDING, ERROR, WARNING])
def test_only_critical_blocks(level: str) -> None:
    """Of what proves a start's failure, nothing below CRITICAL blocks."""
    for service, name in (("pki-tomcatd", SUBSYSTEM), ("httpd", HTTP), ("dirsrv", LDAP)):
        for proof in gate.SERVICES[service].proofs:
            finding = replace(critical(proof.check, name if proof.roles != ("",) else ""), level=level)
            verdict = judge(service, finding, bind=REFUSED, self_tests=ALL)
            assert verdict.allow
            assert not verdict.warnings
            assert bool(verdict.unseen) == (level in (UNKNOWN, PENDING))


def test_late_and_untracked_are_told() -> None:
    """What did not answer in time, and a service of which nothing is tracked, is allowed and said to be unseen."""
    late = Finding("key", UNKNOWN, found="no answer within 1.5 s")
    assert judge("pki-tomcatd", late=(late,)).unseen == (late,)
    verdict = judge("httpd", roles={}, asked=True)
    assert verdict.allow
    assert "tracks no certificate of httpd" in "\n".join(render.journal(verdict))


class Broken:
    """Evidence of which all but the roles fails as a bug of ours would."""

    host = HOST

    def __getattr__(self, name: str) -> Any:
        raise KeyError(f"no {name}\n in it")


def test_a_look_that_fails_by_itself() -> None:
    """A bug in one look is UNKNOWN, and neither ends the verdict nor proves anything."""
    service = gate.SERVICES["pki-tomcatd"]
    checks = {service.name: [BY_NAME["user-certificate"], BY_NAME["pin"]]}
    results, facts = start_facts.look(Broken(), checks, {service.name: service.roles}, 5)[service.name]  # type: ignore[arg-type]
    verdict = gate.judge(service, results, facts, None, NOW)
    assert verdict.allow
    assert {finding.check for finding in verdict.unseen} >= {"user-certificate", "pin"}
    assert "this look failed by itself: KeyError: 'no tracked" in "\n".join(render.journal(verdict))


class Looks:
    """Evidence in whose looks certain verdicts are found, one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *found: tuple[tuple[Finding, ...], dict[str, str]]) -> None:
        self.left = list(found)
        self.checks: list[Check] = []
        self.host, self.now = HOST, NOW
        monkeypatch.setattr(start_facts, "look", self.look)
        monkeypatch.setattr(judging, "Evidence", lambda _, **__: self)

    def look(self, _: Any, checks: Any, *__: Any) -> dict[str, tuple[list[Any], Facts]]:
        findings, under_way = self.left.pop(0)
        self.checks += [check for wanted in checks.values() for check in wanted]
        results = [make.result(finding) for finding in findings]
        return {name: (results, replace(FACTS, under_way=under_way)) for name in checks}

    def verdict(self) -> gate.Verdict:
        return judging.verdicts(self, [gate.SERVICES["pki-tomcatd"]], {}, 1)[0]  # type: ignore[arg-type]


UNDER_WAY = {SUBSYSTEM: "SAVING_CERT", AUDIT: "SUBMITTING"}


def test_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a start reads is what is there now: no check waits for a renewal's next step or for replication."""
    looks = Looks(monkeypatch, ((USER_CERTIFICATE,), {}))
    assert not looks.verdict().allow
    assert {check.name for check in looks.checks} == set(gate.SERVICES["pki-tomcatd"].checks)
    assert not any(check.waits for check in looks.checks)


def test_a_save_needs_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a renewal is under way of what blocks, one look may fall into a save: two must find it."""
    blocks, healthy = ((USER_CERTIFICATE,), UNDER_WAY), ((), UNDER_WAY)
    assert Looks(monkeypatch, blocks, healthy).verdict().allow
    assert not Looks(monkeypatch, blocks, blocks).verdict().allow
    for findings, under_way in (((USER_CERTIFICATE,), {AUDIT: "SUBMITTING"}), healthy):
        looks = Looks(monkeypatch, (findings, under_way))
        assert looks.verdict().allow is not bool(findings)
        assert looks.left == []


def test_a_block_says_what_is_under_way() -> None:
    """Of what blocks: which step certmonger is at, and to ask again, in one line of the journal and of the terminal."""
    many = [critical("user-binary", SUBSYSTEM, found=str(number)) for number in range(9)]
    verdict = judge("pki-tomcatd", USER_CERTIFICATE, *many, BIND, bind=REFUSED, under_way=UNDER_WAY)
    assert verdict.as_json()["under_way"] == {SUBSYSTEM: "SAVING_CERT"}
    words = (
        f"a renewal of {SUBSYSTEM} is under way: certmonger is at SAVING_CERT; it may mend this by itself; ask again "
        "when it is done"
    )
    told = list(render.journal(verdict))
    assert f"  {words}" in told
    assert len(told) <= 15
    assert words in [line.text for line in render.whole([verdict])]
    assert judge("pki-tomcatd", under_way=UNDER_WAY).under_way == {}
    (line,) = render.under_way(replace(verdict, under_way={"x\n<0>\x1b[2J": "SAVING_CERT" * 99}))
    assert line.startswith("a renewal of x\\n<0>\\x1b[2J is")


def test_a_release_allows_while_it_lasts() -> None:
    """A released service is allowed, the reasons stay, and the verdict says who released it."""
    release = Release(
        "alice (root by sudo)", "the vendor is on the line", "2026-11-23T19:00:00Z", "2026-11-23T21:00:00Z"
    )
    hold = Hold("pki-tomcatd", "2026-11-23T18:00:00Z", release=release)
    verdict = judge("pki-tomcatd", USER_CERTIFICATE, hold=hold)
    assert verdict.allow
    assert verdict.reasons == (USER_CERTIFICATE,)
    assert "alice (root by sudo) released it" in render.headline(verdict).text
    assert judge("pki-tomcatd", hold=hold).release is None
    results = [make.result(USER_CERTIFICATE)]
    for later in (timedelta(hours=1), timedelta(hours=-2)):
        assert not gate.judge(gate.SERVICES["pki-tomcatd"], results, FACTS, hold, NOW + later).allow


def test_a_held_certificate_that_nobody_can_look_for() -> None:
    """While certmonger cannot be asked, a hold's certificate that is not known is unseen; later it is not tracked."""
    hold = Hold("httpd", "", findings=({"check": "key", "certificate": "/other.crt"},))
    assert [finding.check for finding in judge("httpd", hold=hold, asked=None).unseen] == ["key"]
    assert judge("httpd", hold=hold, asked=True).unseen == ()


def test_holds_for_status() -> None:
    """A hold is told with its reason and the way out, a released one with who did it; a release that is over is not."""
    finding = {"check": "pin", "breaks": "it does not start\x1b"}
    hold = Hold("httpd", "2026-11-23T18:00:00.000000Z", findings=(finding,))
    lines = [line.text for line in render.standing([hold], NOW)]
    assert lines[0] == "HELD  httpd since 2026-11-23 18:00:00 UTC: it does not start\\x1b"
    assert "certwitness gate httpd" in lines[1]
    released = replace(hold, release=Release("alice", "because", "2026-11-23T19:00:00Z"))
    assert [line.text for line in render.standing([released], NOW)] == [
        "RELEASED  httpd: released by alice: because (it was held: it does not start\\x1b)"
    ]
    assert list(render.standing([Hold("httpd", "")], NOW)) == []


def test_names() -> None:
    """A service is named by itself or by its unit; another instance is none of ours, another word an error."""
    assert [gate.named(word) for word in ("httpd.service", "apache2")] == [gate.SERVICES["httpd"]] * 2
    assert gate.named("dirsrv@EXAMPLE-TEST", HOST) is gate.SERVICES["dirsrv"]
    assert gate.named("dirsrv@other", HOST) is None
    assert gate.named("pki-tomcatd@pki-tomcat.service", HOST) is gate.SERVICES["pki-tomcatd"]
    assert gate.named("pki-tomcatd@other") is None
    with pytest.raises(CertwitnessError, match="known: pki-tomcatd, httpd"):
        gate.named("named")


def test_journal_is_short_and_safe() -> None:
    """The journal gets at most 15 lines, with what breaks, the first command, the way out, and no escape."""
    many = [replace(critical("user-binary", SUBSYSTEM), found=f"\x1b[2J{number}" * 200) for number in range(9)]
    lines = list(render.journal(judge("pki-tomcatd", USER_CERTIFICATE, *many, BIND, bind=REFUSED)))
    assert len(lines) <= 15
    assert max(map(len, lines)) <= 1300
    text = "\n".join(lines)
    assert "\x1b" not in text
    assert "389-ds maps its certificate to nobody" in lines[0]
    assert "first: certwitness verify 'subsystemCert cert-pki-ca'" in text
    assert "certwitness release pki-tomcatd --reason TEXT" in lines[-1]


def test_journal_shows_a_short_command() -> None:
    """A command of one line stands there itself."""
    finding = replace(critical("pin", where=PASSWORD_CONF), commands=("restore it",))
    assert "  first: restore it" in list(render.journal(judge("pki-tomcatd", finding)))


def test_self_tests_of_cs_cfg() -> None:
    """Which self-tests stop the CA, and which certificates they look at, stands in CS.cfg."""
    values = {
        "selftests.container.order.startup": ("CAPresence:critical, SystemCertsVerification:critical",),
        "ca.cert.list": ("signing,ocsp_signing,sslserver,subsystem,audit_signing",),
        **{f"ca.cert.{tag}.nickname": ("x",) for tag in ("signing", "sslserver", "subsystem", "audit_signing")},
    }
    found = self_tests(values)
    assert found.critical == {"CAPresence", "SystemCertsVerification"}
    assert found.roles == {"ca", "pki-server", "subsystem"}
    audited = {**values, "log.instance.SignedAudit.signedAuditCertNickname": ("x",)}
    assert "audit" in self_tests(audited).roles
    not_critical = {**values, "selftests.container.order.startup": ("CAPresence, SystemCertsVerification",)}
    assert self_tests(not_critical) == SelfTests()
    assert self_tests({}) == SelfTests()


def test_login_of_cs_cfg() -> None:
    """The bind is Dogtag's own only with SslClientAuth and the same nickname."""
    by_certificate = {"internaldb.ldapauth.authtype": ("SslClientAuth",)}
    nickname = "internaldb.ldapauth.clientCertNickname"
    assert binds_by_certificate(by_certificate, SUBSYSTEM)
    assert binds_by_certificate({**by_certificate, nickname: (f"HSM:{SUBSYSTEM}",)}, SUBSYSTEM)
    assert not binds_by_certificate({**by_certificate, nickname: ("other",)}, SUBSYSTEM)
    assert not binds_by_certificate({"internaldb.ldapauth.authtype": ("BasicAuth",)}, SUBSYSTEM)
    assert not binds_by_certificate({}, SUBSYSTEM)


def test_tls_of_dse_ldif() -> None:
    """dse.ldif tells whether TLS is on, and with which certificates; folded lines are unfolded."""
    family = "dn: cn=RSA,cn=encryption,cn=config\nnsSSLActivation: on\nnsSSLPersonalitySSL: Server-\n Cert\n"
    config = "dn: cn=config\nnsslapd-security: on\n\n"
    assert nss_of_tls(config + family) == {"Server-Cert"}
    assert nss_of_tls(config.replace("on\n\n", "off\n\n") + family) == frozenset()
    assert nss_of_tls(config + family.replace(": on", ": off")) == frozenset()
    assert nss_of_tls("\x00garbage") == frozenset()


def test_files_of_httpd() -> None:
    """Comments are not read, quotes are."""
    text = f'#SSLCertificateFile /no\n  sslcertificatefile "{HTTP}"\nSSLCertificateKeyFile /key\n'
    assert of_httpd([text, ""]) == {HTTP}


def test_two_looks_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a renewal is under way the second look has what the first one left."""
    limits, verdict = list[float](), gate.Verdict("httpd", False, under_way={"x": "SAVING_CERT"})

    def look(_evidence: Any, _services: Any, _held: Any, limit_s: float) -> list[gate.Verdict]:
        limits.append(limit_s)
        time.sleep(0.2)
        return [verdict]

    monkeypatch.setattr(judging, "_look", look)
    monkeypatch.setattr(judging, "Evidence", lambda *_, **__: None)
    evidence: Any = SimpleNamespace(host=None, now=None)
    assert judging.verdicts(evidence, [gate.SERVICES["httpd"]], {}, 1.5) == [verdict]
    assert limits[0] == 1.5
    assert limits[1] <= 1.3
