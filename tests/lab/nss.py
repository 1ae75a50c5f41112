# SPDX-License-Identifier: MIT
"""NSS databases by certutil and pk12util, with their PIN in a file, as Dogtag and 389-ds keep them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import PBES, serialize_key_and_certificates

from tests.lab.ca import certificate_pem

# NSS stretches the PIN 10000 times for every key; once is enough for a key that lives for a test.
QUICK = {"NSS_MIN_MP_PBE_ITERATION_COUNT": "1", "NSS_MAX_MP_PBE_ITERATION_COUNT": "1"}


class NssDatabase:
    """An NSS database in `directory`, made if it is not there; `pin_file` holds its PIN.

    Methods raise RuntimeError with the tool's own words if the tool fails.
    """

    def __init__(self, directory: Path, pin_file: Path) -> None:
        self.directory = directory
        self.pin_file = pin_file
        if not (directory / "cert9.db").exists():
            directory.mkdir(parents=True, exist_ok=True)
            self._certutil("-N")

    @property
    def pin(self) -> str:
        """The PIN in clear."""
        return self.pin_file.read_text().strip()

    def import_pair(self, nickname: str, key: RSAPrivateKey, certificate: x509.Certificate) -> None:
        """Put key and certificate in as `nickname`."""
        protection = (
            PrivateFormat.PKCS12.encryption_builder()
            .kdf_rounds(1)
            .key_cert_algorithm(PBES.PBESv2SHA256AndAES256CBC)
            .hmac_hash(SHA256())
            .build(b"transport")
        )
        bundle = self.directory / "import.p12"
        bundle.write_bytes(serialize_key_and_certificates(nickname.encode(), key, certificate, None, protection))
        self._run("pk12util", "-i", str(bundle), "-d", self._location, "-k", str(self.pin_file), "-W", "transport")
        bundle.unlink()

    def add(self, nickname: str, certificate: x509.Certificate, trust: str = ",,") -> None:
        """Put a certificate without key in; `trust` as certutil's -t (a CA: ``CT,C,C``)."""
        self._certutil("-A", "-n", nickname, "-t", trust, "-a", text=certificate_pem(certificate))

    def certificate(self, nickname: str) -> x509.Certificate | None:
        """The certificate of that nickname (the newest, if there are several), None if there is none."""
        done = _tool(["certutil", "-L", "-d", self._location, "-n", nickname, "-a"], "")
        if done.returncode != 0:
            return None
        return x509.load_pem_x509_certificate(done.stdout.encode())

    def trust(self, nickname: str) -> str:
        """The trust flags of that nickname, such as ``u,u,u``. Raises LookupError if there is none."""
        for line in self._certutil("-L").splitlines():
            name, _, flags = line.rpartition(" ")
            if name.strip() == nickname:
                return flags
        raise LookupError(f"no {nickname!r} in {self.directory}")

    def set_trust(self, nickname: str, trust: str) -> None:
        """Change the trust flags."""
        self._certutil("-M", "-n", nickname, "-t", trust)

    def delete(self, nickname: str) -> None:
        """Delete the certificate; its key stays."""
        self._certutil("-D", "-n", nickname)

    def delete_pair(self, nickname: str) -> None:
        """Delete the certificate and its key."""
        self._certutil("-F", "-n", nickname)

    @property
    def _location(self) -> str:
        return f"sql:{self.directory}"

    def _certutil(self, *arguments: str, text: str = "") -> str:
        return self._run("certutil", *arguments, "-d", self._location, "-f", str(self.pin_file), text=text)

    def _run(self, *command: str, text: str = "") -> str:
        done = _tool(list(command), text)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout


def _tool(command: list[str], text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, text=True, env={**os.environ, **QUICK}, check=False)
