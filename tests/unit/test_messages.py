# SPDX-License-Identifier: MIT
"""The catalogue of the helpers' own messages."""

from __future__ import annotations

import re

import pytest

from certwitness import protocol
from certwitness.diagnosis import messages

# As the helpers print them (certmonger 0.79.17, libcurl 7.88.1; FreeIPA 4.4 to 4.13).
SAMPLES = {
    "curl-6-name": "Error 6 connecting to https://x: Couldn't resolve host name.",
    "curl-7-connect": "ca-error: Error 7 connecting to https://ipa.example.test:8443/ca: Couldn't connect to server.",
    "curl-35-handshake": "Error 35 connecting to https://ipa.example.test/ca: SSL connect error.",
    "curl-52-empty": "Error 52 connecting to https://x/: Server returned nothing (no headers, no data).",
    "curl-55-send": "Error 55 connecting to https://x/: Failed sending data to the peer.",
    "curl-56-receive": "Error 56 connecting to https://x/: Failure when receiving data from the peer.",
    "curl-58-client-certificate": "Error 58 connecting to https://x/: Problem with the local SSL certificate.",
    "curl-60-server-certificate": "Error 60 connecting to https://x/: SSL peer certificate was not OK.",
    "curl-77-ca-file": "Error 77 connecting to https://x/: Problem with the SSL CA cert.",
    "curl": "Error 28 connecting to https://x/: Timeout was reached.",
    "no-response": 'Internal error: no response to "https://x/ca/ee/ca/profileSubmit?profileId=caServerCert".',
    "invalid-credential": 'Server at "https://x/ca/agent/ca/profileProcess" replied: 1: Invalid Credential.',
    "server-replied": 'Server at "https://x/ca/ee/ca/profileSubmit" replied: 1: Profile not found',
    "ipa-insufficient-access": "Server at https://x/ipa/json denied our request, giving up: 2100 ("
    "Insufficient access: not allowed to perform operation: request certificate).",
    "ipa-denied": "Server at https://x/ipa/json denied our request, giving up: 3009 (invalid 'csr').",
    "ipa-ra-login": "Server at https://x/ipa/json failed request, will retry: 4016 (RPC failed at server. Failed to "
    "authenticate to CA REST API).",
    "ipa-ca-unusable": "Server at https://x/ipa/json failed request, will retry: 4301 (Certificate "
    "operation cannot be completed).",
    "ipa-failed": "Server at https://x/ipa/json failed request, will retry: 903 (an internal error).",
    "ipa-no-ldap-location": "Unable to determine location of IPA LDAP server.",
    "ipa-no-ldap": "Unable to contact an IPA LDAP server.",
    "ipa-no-domain": "No IPA domain configured, and none specified.",
    "ccache-keytab": 'Error setting up ccache for "host" service on client using default keytab: Keytab contains no '
    "suitable keys for host/x@EXAMPLE.TEST.",
    "ccache-kdc": 'Error setting up ccache for "host" service on client using default keytab: Cannot find KDC for '
    "requested realm.",
    "ccache": 'Error setting up ccache for "host" service on client using keytab "F": Clock skew too great.',
    "no-principal": "Unable to determine principal name for signing request.",
    "no-credentials": "NSS database and nickname or certfile and keyfile  must be provided.",
    "no-url": "No agent URL (-A) given, and no default known.",
    "no-serial": "Requested renewal, but no serial number provided.",
    "no-csr": 'Unable to read signing request from environment variable "CERTMONGER_CSR".',
    "usage": "Usage: dogtag-ipa-renew-agent-submit [-tNRav?] [-E|--ee-url=STRING]",
    "store-failed": "Updating renewal certificate failed: cannot connect to 'ldapi://x'. Sleeping 30s",
    "store-given-up": 'Giving up. To retry storing the certificate, resubmit the request with CA "dogtag-ipa-ca-renew-'
    'agent-reuse"',
    "not-updated": "Updated certificate not available",
    "ca-about-to-expire": "Certificate with subject 'CN=Certificate Authority,O=X' is about to expire, use "
    "ipa-cacert-manage to renew it",
    "renew-agent-returned": "dogtag-ipa-renew-agent returned 3",
    "empty-cookie": "Invalid cookie: u''",
    "cookie": "Invalid 'profile' in cookie: 7",
    "new-requests": "New certificate requests not supported",
    "nickname": "Nickname could not be determined",
    "ca-csr": "Failed to write /var/lib/ipa/ca.csr: [Errno 28] No space left on device",
    "internal-error": "ca-error: Internal error",
    "lock": "ValueError: lock not acquired by dogtag-ipa-ca-renew-agent-submit[4711]",
    "helper-start": 'Error while starting helper "/usr/libexec/x": No such file or directory.',
    "helper-parse": 'Error parsing "/usr/libexec/x "y": Unmatched ".',
    "saved": 'Certificate named "x" in token "NSS Certificate DB" in database "/x" issued by CA and saved.',
    "not-saved": 'Certificate in file "/x/y.pem" issued by CA but not saved.',
    "rejected-by-ca": 'Request for certificate to be stored in file "/x/y.pem" rejected by CA.',
}


def test_every_message_has_a_sample() -> None:
    """No message of the catalogue is without an example of what it is for."""
    assert [message.key for message in messages.MESSAGES if message.key not in SAMPLES] == []


@pytest.mark.parametrize("key", SAMPLES)
def test_sample(key: str) -> None:
    """What a helper prints is found under its own name first, before anything more general."""
    found = messages.find(SAMPLES[key])
    assert found
    assert found[0].key == key


def test_curl_errors_are_known_by_their_number() -> None:
    """Other words after the number, as another libcurl has them, change nothing."""
    assert messages.find("Error 7 connecting to https://x/: Failed to connect")[0].key == "curl-7-connect"
    assert messages.find("Error 77 connecting to https://x/")[0].key == "curl-77-ca-file"


@pytest.mark.parametrize("line", ["", "all is well", "Error 7", 'Submitting request to "https://x".'])
def test_unknown(line: str) -> None:
    """What is not known is not guessed."""
    assert messages.find(line) == []


@pytest.mark.parametrize("message", messages.MESSAGES, ids=lambda message: message.key)
def test_form(message: messages.Message) -> None:
    """A message has a pattern that compiles, sentences, and an exit code of certmonger's if any."""
    assert re.compile(message.pattern)
    assert message.meaning.endswith(".")
    assert message.next_step
    assert message.exit is None or message.exit in {entry.code for entry in protocol.TABLE}


def test_keys_are_unique() -> None:
    """Names are stable, so there must be one message a name."""
    keys = [message.key for message in messages.MESSAGES]
    assert len(keys) == len(set(keys))
