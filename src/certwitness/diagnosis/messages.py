# SPDX-License-Identifier: MIT
"""The helpers' own messages: what each means and what to do about it.

Observed from certmonger 0.79.17's dogtag-ipa-renew-agent-submit and ipa-submit, and read in FreeIPA 4.4 to 4.13's
dogtag-ipa-ca-renew-agent-submit. curl's errors are known by their number: its words change with the version of libcurl.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Message(NamedTuple):
    """One known message.

    key: stable name. pattern: a regular expression, found anywhere in a line (not compiled here: that would cost every
    command 10 ms). meaning, next_step: sentences. source: the program that says it. exit: the exit code that comes with
    it, None if that varies.
    """

    key: str
    pattern: str
    meaning: str
    next_step: str
    source: str
    exit: int | None


def find(line: str) -> list[Message]:
    """The messages known in ``line``, the most telling first; [] if there is none."""
    return [message for message in MESSAGES if re.search(message.pattern, line)]


_DOGTAG = "dogtag-ipa-renew-agent-submit"
_IPA = "ipa-submit"
_FREEIPA = "dogtag-ipa-ca-renew-agent-submit"
_CERTMONGER = "certmonger"


def _curl(number: int, name: str, meaning: str, next_step: str) -> Message:
    return Message(f"curl-{number}-{name}", rf"\bError {number} connecting to\b", meaning, next_step, _DOGTAG, 3)


def _message(
    key: str, pattern: str, meaning: str, next_step: str, *, source: str, exit: int | None = None  # noqa: A002
) -> Message:  # fmt: skip
    return Message(key, pattern, meaning, next_step, source, exit)


MESSAGES = (
    _curl(
        6, "name",
        "The CA's host name cannot be resolved.",
        "Check DNS (getent hosts NAME) and the host names in helper-location (getcert list-cas).",
    ),
    _curl(
        7, "connect",
        "Nothing listens where the CA should: the web server or Tomcat was down when the request was sent.",
        "Start it (systemctl status pki-tomcatd@pki-tomcat httpd), then getcert refresh -i ID.",
    ),
    _curl(
        35, "handshake",
        "The TLS handshake failed: no common protocol, or the server refused our client certificate.",
        "Look at the CA's debug log and at the expiry of the RA agent's certificate; -vv in helper-location shows the "
        "TLS reason on stderr.",
    ),
    _curl(
        52, "empty",
        "The server closed the connection without an answer.",
        "Look at the CA's debug log for the time of the run: it most likely died or was starting.",
    ),
    _curl(
        55, "send",
        "The connection broke while sending: typical of a server that refuses our client certificate.",
        "Check that the RA agent's certificate is valid and is the one the CA knows (description of its LDAP entry).",
    ),
    _curl(
        56, "receive",
        "The connection broke while receiving: typical of a server that refuses our client certificate.",
        "Check that the RA agent's certificate is valid and is the one the CA knows (description of its LDAP entry).",
    ),
    _curl(
        58, "client-certificate",
        "The client certificate or key cannot be used: a file is missing or unreadable, or they do not fit each other.",
        "Compare ra-agent.pem with ra-agent.key, their owner and their SELinux label.",
    ),
    _curl(
        60, "server-certificate",
        "The server's certificate is not trusted: it is expired, has another name, or its CA is not in our CA file.",
        "Look at its expiry and at the CA file (/etc/ipa/ca.crt). Expired: ipa-cert-fix; old CA file: ipa-certupdate.",
    ),
    _curl(
        77, "ca-file",
        "The file with the CA certificates cannot be read.",
        "Check that it exists, its mode and its SELinux label (restorecon), and the path in helper-location.",
    ),
    _message(
        "curl", r"\bError \d+ connecting to\b",
        "The CA could not be reached; the number is libcurl's.",
        "Look the number up (man libcurl-errors); -vv in helper-location shows more on stderr.",
        source=_DOGTAG, exit=3,
    ),
    _message(
        "no-response", r"Internal error: no response to ",
        "The CA answered with an empty body. The helper takes that as a refusal.",
        "Look at the CA's debug log and the web server's error log for the time of the run.",
        source=_DOGTAG, exit=2,
    ),
    _message(
        "invalid-credential", r"\b(Invalid Credential|You did not provide a valid certificate for this operation)\b",
        "The CA does not accept the RA agent's certificate.",
        "Compare serial number and issuer of ra-agent.pem with description and userCertificate of uid=ipara,ou=people,"
        "o=ipaca.",
        source=_DOGTAG, exit=2,
    ),
    _message(
        "ipa-insufficient-access", r"denied our request, giving up: 2100 ",
        "FreeIPA's access control refuses the request: this host may not manage the service, or no CA ACL allows it.",
        "ipa service-add-host, or ipa caacl-find and caacl-add-host for the profile.",
        source=_IPA, exit=2,
    ),
    _message(
        "ipa-denied", r"denied our request, giving up: \d+ ",
        "FreeIPA refuses the request; the number is its error code.",
        "Read the text in parentheses; httpd's error_log on the server tells more.",
        source=_IPA, exit=2,
    ),
    _message(
        "ipa-ra-login", r"(failed request, will retry: )?\b4016 \(.*[Aa]uthenticate",
        "FreeIPA's own login to the CA failed: the RA agent's certificate is not accepted.",
        "Compare ra-agent.pem with description and userCertificate of uid=ipara,ou=people,o=ipaca, and its expiry.",
        source=_IPA, exit=3,
    ),
    _message(
        "ipa-ca-unusable", r"failed request, will retry: 4301 ",
        "FreeIPA could not use the CA: it is down, or the RA agent's certificate is not accepted.",
        "See whether the CA runs (ipactl status), then httpd's error_log and the RA agent's certificate.",
        source=_IPA, exit=3,
    ),
    _message(
        "ipa-failed", r"failed request, will retry: \d+ ",
        "FreeIPA's server had an error of its own: among others 4035 an HTTP error of the CA, 907 a directory server "
        "that is down, 903 an internal error.",
        "Look at httpd's error_log on the server for the time of the run.",
        source=_IPA, exit=3,
    ),
    _message(
        "server-replied", r"Server at \"[^\"]*\" replied: ",
        "The CA refused the request in its own words, which follow the colon.",
        "Read them, then the CA's debug log for the time of the run.",
        source=_DOGTAG, exit=2,
    ),
    _message(
        "ipa-no-ldap-location", r"Unable to determine location of IPA LDAP server",
        "Talking to the IPA server failed without a word on why, and no other server is known to the helper.",
        "See whether httpd answers on the server, and its certificate; -vv in helper-location shows the reason on "
        "stderr.",
        source=_IPA, exit=3,
    ),
    _message(
        "ipa-no-ldap", r"Unable to contact an IPA LDAP server",
        "Talking to the IPA server failed without a word on why, and neither could LDAP be reached to find another.",
        "See whether the server runs (ipactl status); stderr names the LDAP error.",
        source=_IPA, exit=3,
    ),
    _message(
        "ipa-no-domain", r"No IPA domain configured, and none specified",
        "The helper finds no realm in /etc/ipa/default.conf.",
        "Check that this host is enrolled and that certmonger may read the file.",
        source=_IPA, exit=4,
    ),
    _message(
        "ccache-keytab", r"Error setting up ccache .*[Kk]eytab contains no suitable keys",
        "The host's keytab does not hold the key that the KDC knows.",
        "Compare klist -k /etc/krb5.keytab with the host's principal; ipa-getkeytab makes a new one.",
        source=_IPA,
    ),
    _message(
        "ccache-kdc", r"Error setting up ccache .*Cannot (find|contact any) KDC",
        "No KDC is known or answers for the realm.",
        "See whether krb5kdc runs, DNS SRV records and /etc/krb5.conf.",
        source=_IPA,
    ),
    _message(
        "ccache", r"Error setting up ccache for ",
        "The helper got no Kerberos ticket from the host's keytab.",
        "Try it by hand: kinit -k host/$(hostname -f). The clock may be 5 minutes off at most.",
        source=_IPA,
    ),
    _message(
        "no-principal", r"Unable to determine principal name for signing request",
        "The request names no Kerberos principal, and FreeIPA needs one.",
        "getcert resubmit -i ID -K PRINCIPAL",
        source=_IPA, exit=4,
    ),
    _message(
        "no-credentials", r"NSS database and nickname or certfile and keyfile +must be provided",
        "The helper was given no client certificate.",
        "Compare helper-location (getcert list-cas) with what the package ships.",
        source=_DOGTAG, exit=4,
    ),
    _message(
        "no-url", r"No (end-entity|agent) URL \(-[EA]\) given, and no default known",
        "The helper does not know where the CA is.",
        "Check host and ca_host in /etc/ipa/default.conf, and helper-location (getcert list-cas).",
        source=_DOGTAG, exit=4,
    ),
    _message(
        "no-serial", r"Requested renewal, but no serial number provided",
        "A renewal by serial number was asked for, but no certificate is held whose number could be sent.",
        "Check that the tracked certificate is where getcert list says.",
        source=_DOGTAG, exit=4,
    ),
    _message(
        "no-csr", r"(Unable to read signing request from environment|Certificate request not provided)",
        "The helper was run without a signing request: not by certmonger, or with a broken environment.",
        "If certmonger ran it: getcert resubmit -i ID makes a new request.",
        source=_DOGTAG, exit=4,
    ),
    _message(
        "usage", r"^\s*(?:ca-error: )?Usage: \S*-submit\b",
        "The helper does not know an option that it was given: FreeIPA and certmonger are of versions that do not fit "
        "together, or helper-location has a mistake.",
        "Compare the versions of ipa-server and certmonger; stderr and the lines after it name the option.",
        source=_DOGTAG, exit=4,
    ),
    _message(
        "store-failed", r"Updating renewal certificate failed: ",
        "The certificate was issued, but FreeIPA's helper could not store it in LDAP (cn=ca_renewal); it tries ten "
        "times, 30 seconds apart.",
        "Mend the directory server now, while it tries: after the tenth failure the helper says issued all the same.",
        source=_FREEIPA, exit=5,
    ),
    _message(
        "store-given-up", r"Giving up\. To retry storing the certificate",
        "The certificate was never stored in LDAP, and the helper still said issued: certmonger looks healthy, but "
        "replicas will not get the certificate.",
        "Compare cn=NICKNAME,cn=ca_renewal,cn=ipa,cn=etc with the certificate, then resubmit with the CA "
        "dogtag-ipa-ca-renew-agent-reuse; not so for caSigningCert, where that brings the old one back.",
        source=_FREEIPA, exit=0,
    ),
    _message(
        "not-updated", r"Updated certificate not available",
        "This server is not the renewal master, and the master has put no newer certificate into LDAP yet.",
        "See whether the renewal master is alive and renewed: ipa config-show names it.",
        source=_FREEIPA,
    ),
    _message(
        "ca-about-to-expire", r"is about to expire, use ipa-cacert-manage to renew it",
        "The CA's own certificate is signed by another CA, so it cannot renew itself.",
        "ipa-cacert-manage renew --external-ca, before it expires.",
        source=_FREEIPA, exit=2,
    ),
    _message(
        "renew-agent-returned", r"dogtag-ipa-renew-agent returned [0-9]+",
        "The exit code of the inner helper: 0 issued, 1 and 5 a step of the usual dialogue, 2 rejected, 3 unreachable, "
        "4 unconfigured.",
        "certwitness explain N tells what it leads to; the text in ca-error is the inner helper's.",
        source=_FREEIPA,
    ),
    _message(
        "empty-cookie", r"Invalid cookie: (u?''|\"\")",
        "An old version of FreeIPA's helper stumbles over an empty cookie.",
        "Update FreeIPA (fixed in January 2020), then getcert resubmit -i ID.",
        source=_FREEIPA, exit=4,
    ),
    _message(
        "cookie", r"(Cookie not provided|Invalid cookie: |(Invalid|No) '(profile|cookie)' in cookie)",
        "FreeIPA's helper cannot read the cookie that certmonger kept from the run before.",
        "getcert resubmit -i ID starts anew: certmonger threw the cookie away with this exit.",
        source=_FREEIPA, exit=4,
    ),
    _message(
        "new-requests", r"New certificate requests not supported",
        "This CA definition renews certificates only; there is none to renew.",
        "Check that the tracked certificate is where getcert list says, and that the request has the right CA.",
        source=_FREEIPA, exit=2,
    ),
    _message(
        "nickname", r"Nickname could not be determined",
        "The subject of the request is none that FreeIPA knows a nickname for.",
        "Compare the subject in getcert list with the certificate that should be renewed.",
        source=_FREEIPA, exit=2,
    ),
    _message(
        "ca-csr", r"Failed to write /var/lib/ipa/ca\.csr",
        "The CA's signing request cannot be written, so the CA certificate is not renewed.",
        "Check space, mode and SELinux label of /var/lib/ipa.",
        source=_FREEIPA, exit=3,
    ),
    _message(
        "internal-error", r"(^|ca-error: |: )Internal error\.?\s*$",
        "FreeIPA's helper ended with an exception: kinit, LDAP, the renewal lock. If it came after the certificate was "
        "printed, the certificate was issued and is lost to certmonger.",
        "journalctl -t dogtag-ipa-ca-renew-agent-submit has the traceback; a clock that is off breaks kinit.",
        source=_FREEIPA, exit=3,
    ),
    _message(
        "lock", r"lock not acquired by ",
        "The renewal lock was taken over after an hour, or the helper is wrapped in ipa-server-guard twice.",
        "Look for hung helpers and hooks (ps), and at helper-location for a doubled guard.",
        source=_FREEIPA,
    ),
    _message(
        "helper-start", r"Error while starting helper ",
        "certmonger cannot start the helper. The request stays NEED_TO_SUBMIT, is tried every 30 seconds, and getcert "
        "list shows nothing of it.",
        "Check path, mode and SELinux label of the program in helper-location (getcert list-cas).",
        source=_CERTMONGER,
    ),
    _message(
        "helper-parse", r"Error parsing \".*\": (Unmatched |Attempt to escape)",
        "certmonger cannot split a command into words. For a helper the request is parked for ever; a hook is silently "
        "not run.",
        "Mend the quotes in helper-location or in the hook; a backslash before a space does not work.",
        source=_CERTMONGER,
    ),
    _message(
        "saved", r"issued by CA and saved\b(?!,)",
        "certmonger saved the certificate where it is tracked. It says nothing of the post-save command, nor of LDAP.",
        "Verify the other stores.",
        source=_CERTMONGER,
    ),
    _message(
        "not-saved", r"issued by CA but not saved",
        "The certificate was issued but could not be written; certmonger tries again every minute, without the "
        "pre-save command.",
        "Check owner, mode and SELinux label of the place in getcert list, and the PIN of the database.",
        source=_CERTMONGER,
    ),
    _message(
        "rejected-by-ca", r"rejected by CA\.",
        "The CA refused a first request; a refused renewal is never notified so.",
        "getcert list -i ID shows the reason as ca-error; then getcert resubmit -i ID.",
        source=_CERTMONGER, exit=2,
    ),
)  # fmt: skip
