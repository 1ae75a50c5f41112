# SPDX-License-Identifier: MIT
"""certmonger's helper interface as data: what a helper is asked, with which variables, and what the data operations
lead to (certmonger 0.79.17). Imports nothing: the helpers load it on every run. The exits of SUBMIT and POLL are in
protocol.py.
"""

ENROLLMENT_OPERATIONS = ("SUBMIT", "POLL")

# One a phase of a CA, in the order in which certmonger starts them (0.79.17; all eight run at once).
DATA_OPERATIONS = (
    "IDENTIFY",
    "FETCH-ROOTS",
    "GET-SUPPORTED-TEMPLATES",
    "GET-DEFAULT-TEMPLATE",
    "GET-NEW-REQUEST-REQUIREMENTS",
    "GET-RENEW-REQUEST-REQUIREMENTS",
    "FETCH-SCEP-CA-CAPS",
    "FETCH-SCEP-CA-CERTS",
)

OPERATIONS = {
    "SUBMIT": "send a signing request to the CA",
    "POLL": "ask the CA again about a request, with the cookie it gave",
    "IDENTIFY": "name and version of the helper",
    "FETCH-ROOTS": "the CA's own certificates",
    "GET-SUPPORTED-TEMPLATES": "names of the profiles the CA knows",
    "GET-DEFAULT-TEMPLATE": "name of the profile used when none is given",
    "GET-NEW-REQUEST-REQUIREMENTS": "variables that a first request must have",
    "GET-RENEW-REQUEST-REQUIREMENTS": "variables that a renewal must have",
    "FETCH-SCEP-CA-CAPS": "what the SCEP server can do",
    "FETCH-SCEP-CA-CERTS": "the SCEP server's certificates",
}


def is_enrollment(operation: str) -> bool:
    """Whether a run concerns one certificate. True for the unset operation too: helpers take it as SUBMIT."""
    return operation == "" or operation in ENROLLMENT_OPERATIONS


# What certmonger 0.79.17 tells a helper about the CA and the request; each is set only when not empty.
VARIABLES = {
    "CERTMONGER_OPERATION": "the operation",
    "CERTMONGER_CA_NICKNAME": "name of the CA as certmonger knows it",
    "CERTMONGER_CSR": "the signing request, PEM",
    "CERTMONGER_REQ_SUBJECT": "requested subject, the text the user gave",
    "CERTMONGER_REQ_HOSTNAME": "requested DNS names, one a line",
    "CERTMONGER_REQ_EMAIL": "requested e-mail addresses, one a line",
    "CERTMONGER_REQ_PRINCIPAL": "requested Kerberos principals, one a line",
    "CERTMONGER_REQ_IP_ADDRESS": "requested IP addresses, one a line",
    "CERTMONGER_CA_PROFILE": "requested profile",
    "CERTMONGER_CA_ISSUER": "requested issuer (a sub-CA of FreeIPA)",
    "CERTMONGER_SPKAC": "signed public key and challenge, base64",
    "CERTMONGER_SPKI": "public key, base64 of the SubjectPublicKeyInfo",
    "CERTMONGER_KEY_TYPE": "RSA, DSA or EC",
    "CERTMONGER_CERTIFICATE": "the certificate held so far, PEM; unset for a first request",
    "CERTMONGER_CA_COOKIE": "what the CA gave to ask again with (POLL only)",
    "CERTMONGER_SCEP_CA_IDENTIFIER": "SCEP: which CA of the server",
    "CERTMONGER_SCEP_RA_CERTIFICATE": "SCEP: certificate of the registration authority",
    "CERTMONGER_SCEP_CA_CERTIFICATE": "SCEP: certificate of the CA",
    "CERTMONGER_SCEP_CERTIFICATES": "SCEP: further certificates",
    "CERTMONGER_PKCSREQ": "SCEP: enrolment message",
    "CERTMONGER_PKCSREQ_REKEY": "SCEP: enrolment message with a new key",
    "CERTMONGER_GETCERTINITIAL": "SCEP: polling message",
    "CERTMONGER_GETCERTINITIAL_REKEY": "SCEP: polling message with a new key",
    "CERTMONGER_LOCAL_CA_DIR": "directory of certmonger's local CA",
    "CERTMONGER_CONFIG_DIR": "certmonger's configuration directory, if moved",
    "CERTMONGER_PVT_ADDRESS": "address of certmonger's private D-Bus listener, if it has one",
}


_DATA_CONSEQUENCES = {
    0: "the answer is kept if it can be read",
    1: "certmonger asks again in 6 hours",
    2: "refused: certmonger asks again in a year",
    3: "unreachable: certmonger asks again in 6 hours, or soon after a network route changes",
    4: "unconfigured: certmonger asks again in 6 hours, or soon after a network route changes",
    5: "certmonger asks again after the seconds on the first line, or in 6 hours if there are none",
    6: "not supported by the helper: not asked again until certmonger starts or the CA is refreshed or modified",
}


def for_data_operation(code: "int | None", signal: "int | None") -> str:
    """What certmonger does after one of the eight data operations ended so, in words."""
    if signal is not None:
        from certwitness.signals import signal_name

        return f"killed by {signal_name(signal)}: the data stays unchanged"
    unknown = "the code means nothing to certmonger: the data stays unchanged"
    return unknown if code is None else _DATA_CONSEQUENCES.get(code, unknown)
