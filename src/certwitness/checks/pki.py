# SPDX-License-Identifier: MIT
"""Dogtag and the services: CS.cfg, the way from Apache to Tomcat, whether the CA runs, and what services show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from certwitness import catalogue
from certwitness.catalogue import BY_KEY, PKI
from certwitness.checks import remedies, services, wording
from certwitness.checks.authority import wrong
from certwitness.checks.check import certificate_check, host_check
from certwitness.errors import StoreError
from certwitness.evidence import Evidence
from certwitness.findings import CRITICAL, ERROR, UNKNOWN, WARNING, Finding
from certwitness.stores import cs_cfg as cs_cfg_store
from certwitness.tracked import SUBSYSTEM, Tracked

# The two places of CS.cfg where a subsystem says how it logs in to its database (FreeIPA, dogtaginstance).
_LOGINS = ("internaldb", "authz.instance.DirAclAuthz.ldap")
_BY_CERTIFICATE = "SslClientAuth"
# Of what Python's TLS and requests say, where the CA answers and this host does not trust what it shows.
_UNTRUSTED = re.compile(r"verify failed|doesn't match|hostname mismatch|CERTIFICATE_VERIFY", re.IGNORECASE)


def set_directives(path: str, values: Mapping[str, str], missing: Sequence[str] = ()) -> tuple[str, ...]:
    """The commands that set directives of a CS.cfg while Dogtag is stopped: all lines of a key become the new one,
    those `missing` are added at the end. sed writes a new file and puts it in place whole, with owner and mode."""
    file = shlex.quote(path)
    edits = [
        f"s|^[[:space:]]*{re.escape(key)}[[:space:]]*=.*|{_replacement(f'{key}={text}')}|"
        for key, text in values.items()
    ]
    lines = [shlex.join(["printf", r"%s\n", f"{key}={values[key]}"]) + f" >> {file}" for key in missing]
    # A last line without an end would swallow what is added.
    ends = [f"sed -i -e '$a\\' {file}"] if lines else []
    return (
        f"systemctl stop {PKI}",
        f"cp -p {file} {shlex.quote(path + '.before')}",
        shlex.join(["sed", "-i", *(word for edit in edits for word in ("-e", edit)), path]),
        *ends,
        *lines,
        f"systemctl start {PKI}",
    )


def _replacement(text: str) -> str:
    """Text as the right side of sed's s|||."""
    return re.sub(r"[\\&|]", r"\\\g<0>", text)


@certificate_check(
    "cs-cfg",
    ERROR,
    rows=(9, 10),
    compares="the certificate with its copies in CS.cfg of the CA and of the KRA (PKI before 11.5; the connector: any)",
    failure="Dogtag starts with the old certificate, and the CA encrypts for a KRA that has another key or certificate",
    found_by="DogtagCertsConfigCheck (not the KRA's CS.cfg)",
    applies=lambda tracked: catalogue.CS_CFG in tracked.role.stores,
)
def cs_cfg(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """One finding for each directive."""
    for wanted, holding in wrong(evidence, tracked, catalogue.CS_CFG):
        path, _, key = holding.where.rpartition(": ")
        connector, kra = ".connector." in key, path == evidence.host.kra_cs_cfg
        new = [] if key in evidence.cs_cfg("kra" if kra else "ca") else [key]
        yield Finding(
            "",
            WARNING if kra else ERROR,
            where=holding.where,
            expected=wording.told(wanted),
            found=wording.told(holding.found) if holding.found else holding.reason or "the directive is not there",
            breaks="the CA archives keys in the KRA with an old transport certificate, which the KRA may have no more"
            if connector
            else "FreeIPA never writes this file: the KRA goes on naming the old certificate"
            if kra
            else "pki-tomcatd's self-test fails at its next start, or it goes on with the old certificate",
            remedy="Set the directive while pki-tomcatd is stopped.",
            commands=set_directives(path, {key: remedies.one_line(wanted)}, new),
            since=wording.since(evidence, tracked, wanted),
        )


@host_check(
    "internal-database",
    CRITICAL,
    rows=(26,),
    compares="how CS.cfg of the CA and of the KRA log in to 389-ds: by the subsystem certificate, over TLS",
    failure="Dogtag logs in with a password that an interrupted pki-server cert-fix made up",
)
def internal_database(evidence: Evidence) -> Iterator[Finding]:
    """One finding for each CS.cfg. What is not set there is not judged."""
    if not services.has_ca(evidence):
        return
    host = evidence.host
    for subsystem, path in (("ca", host.cs_cfg), ("kra", host.kra_cs_cfg)):
        if subsystem == "kra" and not services.has_kra(evidence):
            continue
        try:
            values = {key: found[-1] for key, found in evidence.cs_cfg(subsystem).items()}
        except StoreError as error:
            yield Finding("", UNKNOWN, where=error.store, found=f"could not look: {error.reason}")
            continue
        wanted = _wrong_login(evidence, values)
        if not wanted:
            continue
        by_password = all(key.endswith(".authtype") for key in wanted) and _has_password(evidence, values)
        yield Finding(
            "",
            ERROR if by_password else CRITICAL,
            where=path,
            expected=", ".join(f"{key}={value}" for key, value in wanted.items()),
            found=", ".join(f"{key}={values.get(key, '')}" for key in wanted),
            breaks="pki-tomcatd logs in by a temporary password, and will not start when that is gone"
            if by_password
            else "pki-tomcatd will not start: it cannot log in to 389-ds",
            remedy="Finish or undo the interrupted ipa-cert-fix, then have the certificate used again.",
            commands=set_directives(path, wanted),
        )


def _wrong_login(evidence: Evidence, values: Mapping[str, str]) -> dict[str, str]:
    """The directives that are wrong, with what they must be."""
    subsystem = evidence.by_role(SUBSYSTEM)
    nickname = subsystem.nickname if subsystem else BY_KEY[SUBSYSTEM].nickname
    found: dict[str, str] = {}
    for login in _LOGINS:
        authtype = f"{login}.ldapauth.authtype"
        if authtype not in values:
            continue
        if values[authtype] != _BY_CERTIFICATE:
            found[authtype] = _BY_CERTIFICATE
        named = values.get(f"{login}.ldapauth.clientCertNickname")
        if named is not None and nickname not in (named, named.rpartition(":")[2]):
            found[f"{login}.ldapauth.clientCertNickname"] = nickname
        if values.get(f"{login}.ldapconn.secureConn", "true").lower() != "true":
            found[f"{login}.ldapconn.secureConn"] = "true"
    return found


def _has_password(evidence: Evidence, values: Mapping[str, str]) -> bool:
    """Whether there is a password to log in with; taken for granted where nobody can know."""
    try:
        known = cs_cfg_store.password_conf(evidence.host.pki_password_file)
    except StoreError:
        return True
    return values.get("internaldb.ldapauth.bindPWPrompt", "internaldb") in known


# Copies the secret of Tomcat's first AJP connector to Apache, through no argument of a process.
_COPY = """\
python3 - {tomcat} {apache} <<'EOF'
import re, sys
import xml.etree.ElementTree as tree
tomcat, apache = sys.argv[1:]
found = [c.get("secret") or c.get("requiredSecret") for c in tree.parse(tomcat).iter("Connector")
         if "AJP" in c.get("protocol", "").upper()]
secret = next(filter(None, found))
with open(apache, "r+", encoding="utf-8") as file:
    text = file.read()
    lines = [re.sub(r"(ajp://\\S+)(?:\\s+secret=\\S+)?", lambda match: f"{{match[1]}} secret={{secret}}", line)
             if re.match(r"\\s*ProxyPass(Match)?\\s", line, re.I) else line for line in text.split("\\n")]
    file.seek(0)
    file.write("\\n".join(lines))
    file.truncate()
EOF"""


@host_check(
    "ajp-secret",
    CRITICAL,
    rows=(23,),
    compares="the AJP secret of Tomcat (server.xml) with Apache's (ipa-pki-proxy.conf)",
    failure="every call to the CA through Apache is refused with 403",
    found_by="IPAProxySecretCheck",
    waits=False,
)
def ajp_secret(evidence: Evidence) -> Iterator[Finding]:
    """The secrets are shown nowhere."""
    host = evidence.host
    if not services.has_ca(evidence) or evidence.ajp_secrets_agree is not False:
        return
    apache = services.unit(host, BY_KEY["https"])
    yield Finding(
        "",
        CRITICAL,
        where=host.proxy_conf,
        expected=f"the secret of the AJP connectors in {host.server_xml}",
        found="the secrets differ, or one side has none",
        breaks="every call to the CA through httpd fails with 403: requests for certificates, and renewals",
        remedy="Give Apache the secret that Tomcat has, and restart both.",
        commands=(
            _COPY.format(tomcat=shlex.quote(host.server_xml), apache=shlex.quote(host.proxy_conf)),
            remedies.restart(PKI),
            remedies.restart(apache),
        ),
    )


@host_check(
    "ca-running",
    CRITICAL,
    rows=(20,),
    compares="Dogtag's own status page with running",
    failure="the CA is down: nothing is issued and nothing renewed; a post-save hook may have left it stopped",
    found_by="DogtagCertsConnectivityCheck, the service check pki_tomcatd",
)
def ca_running(evidence: Evidence) -> Iterator[Finding]:
    """While a certificate is being saved FreeIPA's hooks keep the CA down."""
    if not services.has_ca(evidence):
        return
    status, host = evidence.ca_status, evidence.host
    if status.running:
        return
    if _UNTRUSTED.search(status.text):
        raise StoreError(host.pki, f"answers, but {host.ca_certificate} does not verify what it shows: {status.text}")
    yield Finding(
        "",
        CRITICAL,
        where=host.pki,
        expected="the CA is running",
        found=status.text or "no answer",
        breaks="nothing is issued and nothing is renewed, and Dogtag will not come up by itself",
        remedy=f"Start it; if it does not come up, see its debug log and the other findings.{_last_save(evidence)}",
        commands=(f"systemctl start {PKI}",),
    )


def _last_save(evidence: Evidence) -> str:
    """What the log knows of the last renewal whose hooks stopped and started the CA."""
    try:
        issued = [one for one in evidence.log if one.state == "issued" and (one.nickname or "").find(" cert-pki-") > 0]
    except StoreError:
        return ""
    if not issued:
        return ""
    last = issued[-1]
    when = f"{last.last[:19].replace('T', ' ')} UTC"
    words = f"FreeIPA's hooks stopped it last for {last.nickname}, issued at {when}"
    return f" {words}: see what renew_ca_cert says in the journal."


@certificate_check(
    "served",
    CRITICAL,
    rows=(22,),
    compares="the certificate that the running service shows (443, 636, 8443) with the one that is saved",
    failure="the service was not restarted, and shows the old certificate until it expires",
    applies=lambda tracked: bool(tracked.role.served),
)
def served(evidence: Evidence, tracked: Tracked) -> Iterator[Finding]:
    """A service that is down shows nothing: UNKNOWN, or for the CA the finding of ca-running."""
    try:
        holdings = list(wrong(evidence, tracked, catalogue.SERVED))
    except StoreError:
        if tracked.role.served == "pki" and not evidence.ca_status.running:
            return
        raise
    for wanted, holding in holdings:
        shown = holding.found or evidence.served(tracked.role.served)
        expired = shown.not_after <= evidence.now
        unit = services.unit(evidence.host, tracked.role)
        until = f"{shown.not_after:%Y-%m-%d %H:%M} UTC"
        yield Finding(
            "",
            CRITICAL if expired else ERROR,
            where=holding.where,
            expected=wording.told(wanted),
            found=f"{wording.told(shown)}, from the memory of {unit}",
            breaks=f"{services.refused(tracked.role)}: since {until}"
            if expired
            else f"it shows the old one, until {until}",
            remedy=f"Restart {unit}.",
            commands=(remedies.restart(unit),),
            since=wording.since(evidence, tracked, wanted),
        )


CHECKS = (cs_cfg, internal_database, ajp_secret, ca_running, served)
