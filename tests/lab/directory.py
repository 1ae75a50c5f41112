# SPDX-License-Identifier: MIT
"""A real 389-ds without systemd: two suffixes, TLS, LDAPI, certmap.conf. What is in them is entries.py's.

It runs in the foreground (-d 0) as root, so that it stays in its place's process group and needs no directory that
a user dirsrv could search.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from datetime import timedelta
from pathlib import Path

from tests.lab.ca import TWO_YEARS, TestCA, key_of, subject
from tests.lab.ldapi import Ldapi
from tests.lab.nss import NssDatabase
from tests.lab.place import Place
from tests.lab.settings import HOST, REALM

TEMPLATE = Path("/usr/share/dirsrv/data/template-dse.ldif")
COLLATIONS = Path("/etc/dirsrv/config/slapd-collations.conf")
SCHEMAS = Path("/usr/share/dirsrv/schema")
BACKENDS = {"userRoot": "dc=ipadomain,dc=com", "ipaca": "o=ipaca"}
PATIENCE_S = 30.0
NICKNAME = "Server-Cert"  # its own certificate
CA_NICKNAME = f"{REALM} IPA CA"
READ_AT_START = ("cert9.db", "key4.db", "certmap.conf", "pin.txt")

CONFIGURATION = """\
nsslapd-listenhost: 127.0.0.1
nsslapd-securelistenhost: 127.0.0.1
nsslapd-security: on
nsslapd-securePort: {ldaps_port}
nsslapd-accesslog-logbuffering: off
"""

BACKEND = """
dn: cn={name},cn=ldbm database,cn=plugins,cn=config
objectClass: top
objectClass: extensibleObject
objectClass: nsBackendInstance
cn: {name}
nsslapd-suffix: {suffix}

dn: cn="{suffix}",cn=mapping tree,cn=config
objectClass: top
objectClass: extensibleObject
objectClass: nsMappingTree
cn: "{suffix}"
cn: {suffix}
nsslapd-state: backend
nsslapd-backend: {name}
"""

CERTMAP = """\
certmap default         default
default:DNComps
default:FilterComps     uid
certmap ipaca           CN=Certificate Authority,O=IPADOMAIN.COM
ipaca:CmapLdapAttr      seeAlso
ipaca:verifycert        on
"""

# FreeIPA's and Dogtag's own schema, as far as entries.py needs it; 389-ds takes NAME-oid for an OID.
SCHEMA = """\
dn: cn=schema
attributeTypes: ( usertype-oid NAME 'usertype' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributeTypes: ( userstate-oid NAME 'userstate' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributeTypes: ( ipaconfigstring-oid NAME 'ipaConfigString' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributeTypes: ( ipacertificatesubjectbase-oid NAME 'ipaCertificateSubjectBase' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributeTypes: ( ipacaid-oid NAME 'ipaCaId' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributeTypes: ( ipacasubjectdn-oid NAME 'ipaCaSubjectDN' SYNTAX 1.3.6.1.4.1.1466.115.121.1.12 )
attributeTypes: ( ipacaissuerdn-oid NAME 'ipaCaIssuerDN' SYNTAX 1.3.6.1.4.1.1466.115.121.1.12 )
attributeTypes: ( authorityid-oid NAME 'authorityID' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributeTypes: ( authoritydn-oid NAME 'authorityDN' SYNTAX 1.3.6.1.4.1.1466.115.121.1.12 )
attributeTypes: ( authorityserial-oid NAME 'authoritySerial' SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 )
attributeTypes: ( authoritykeynickname-oid NAME 'authorityKeyNickname' SYNTAX 1.3.6.1.4.1.1466.115.121.1.44 )
attributeTypes: ( authorityenabled-oid NAME 'authorityEnabled' SYNTAX 1.3.6.1.4.1.1466.115.121.1.7 )
attributeTypes: ( authorityparentid-oid NAME 'authorityParentID' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributeTypes: ( authorityparentdn-oid NAME 'authorityParentDN' SYNTAX 1.3.6.1.4.1.1466.115.121.1.12 )
attributeTypes: ( ipacertsubject-oid NAME 'ipaCertSubject' SYNTAX 1.3.6.1.4.1.1466.115.121.1.12 )
attributeTypes: ( ipacertissuerserial-oid NAME 'ipaCertIssuerSerial' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributeTypes: ( ipapublickey-oid NAME 'ipaPublicKey' SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
attributeTypes: ( ipakeytrust-oid NAME 'ipaKeyTrust' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributeTypes: ( ipakeyextusage-oid NAME 'ipaKeyExtUsage' SYNTAX 1.3.6.1.4.1.1466.115.121.1.38 )
attributeTypes: ( subjectname-oid NAME 'subjectName' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributeTypes: ( certstatus-oid NAME 'certStatus' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectClasses: ( cmsuser-oid NAME 'cmsuser' SUP top STRUCTURAL MUST usertype MAY userstate )
objectClasses: ( ipaconfigobject-oid NAME 'ipaConfigObject' AUXILIARY MAY ipaConfigString )
objectClasses: ( ipaguiconfig-oid NAME 'ipaGuiConfig' AUXILIARY MAY ipaCertificateSubjectBase )
objectClasses: ( ipaca-oid NAME 'ipaCa' SUP top STRUCTURAL MUST ( cn $ ipaCaId $ ipaCaSubjectDN $ ipaCaIssuerDN ) )
objectClasses: ( authority-oid NAME 'authority' SUP top STRUCTURAL MUST ( cn $ authorityID $ authorityDN ) \
MAY ( authoritySerial $ authorityKeyNickname $ authorityEnabled $ authorityParentID $ authorityParentDN \
$ description ) )
objectClasses: ( ipacertificate-oid NAME 'ipaCertificate' SUP top STRUCTURAL \
MUST ( cn $ ipaCertIssuerSerial $ ipaCertSubject $ ipaPublicKey ) MAY ipaConfigString )
objectClasses: ( ipakeypolicy-oid NAME 'ipaKeyPolicy' SUP top AUXILIARY MAY ( ipaKeyTrust $ ipaKeyExtUsage ) )
objectClasses: ( certificaterecord-oid NAME 'certificateRecord' SUP top STRUCTURAL MUST cn \
MAY ( subjectName $ certStatus $ userCertificate ) )
"""


class Directory389:
    """A running ns-slapd with empty suffixes. Attributes: `ldapi`, `socket`, `ldaps_port`, `logs` (its directory),
    `nss` (its NSS database, where its own certificate ends after `lifetime`), `loaded` (what it read from its
    configuration at its last start), `starts` (how often it was started)."""

    def __init__(self, place: Place, ca: TestCA, lifetime: timedelta = TWO_YEARS) -> None:
        self.place = place
        self.directory = place.directory / "dirsrv"
        self.configuration = self.directory / "config"
        self.logs = self.directory / "log"
        self.socket = place.directory / "run" / "slapd.socket"
        self.ldapi = Ldapi(self.socket)
        self.ldaps_port = _free_port()
        self.starts = 0
        self.loaded: dict[str, bytes] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._configure()
        self._make_certificates(ca, lifetime)

    @property
    def ldaps_uri(self) -> str:
        """Where it speaks TLS."""
        return f"ldaps://localhost:{self.ldaps_port}"

    def launch(self) -> None:
        """Start without waiting."""
        self.starts += 1
        self.loaded = self.on_disk()
        with self.place.log("dirsrv") as log:
            pid_file = self.place.directory / "run" / "slapd.pid"
            command: list[str | Path] = ["ns-slapd", "-D", self.configuration, "-i", pid_file, "-d", "0"]
            self._process = self.place.spawn(command, stdout=log, stderr=log)

    def wait(self) -> None:
        """Wait until it answers. Raises RuntimeError with its log if it ends, TimeoutError."""
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE_S
        while not (self.socket.exists() and self.ldapi.answers()):
            if self._process.poll() is not None:
                raise RuntimeError(f"ns-slapd ended: {(self.place.directory / 'log/dirsrv').read_text()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"ns-slapd did not answer in {PATIENCE_S:.0f} s")
            time.sleep(0.02)

    def start(self) -> None:
        """Start and wait."""
        self.launch()
        self.wait()

    def stop(self) -> None:
        """Orderly stop. Raises TimeoutError: ns-slapd has been seen to hang in it (lab.md)."""
        if self._process is not None:
            self._process.terminate()
            self.place.wait_for(self._process, PATIENCE_S)

    def kill(self) -> None:
        """The quick end, in 5 ms; the next start recovers the database."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def on_disk(self) -> dict[str, bytes]:
        """What it reads at a start only: its NSS database and certmap.conf, by name."""
        return {name: (self.configuration / name).read_bytes() for name in READ_AT_START}

    @property
    def pid(self) -> int:
        """Process id of ns-slapd."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def access_log(self) -> str:
        """The access log so far; it is not buffered."""
        return (self.logs / "access").read_text(errors="replace")

    # --- inside

    def _configure(self) -> None:
        names = "lock tmp ldif bak run inst log db"
        values = {f"{name}_dir": self.directory / name for name in names.split()}
        for directory in values.values():
            directory.mkdir(parents=True)
        shutil.copytree(SCHEMAS, self.configuration / "schema")
        (self.configuration / "schema" / "99user.ldif").write_text(SCHEMA)
        (self.configuration / "certmap.conf").write_text(CERTMAP)
        shutil.copy(COLLATIONS, self.configuration)
        settings: dict[str, object] = {
            **values,
            "schema_dir": self.configuration / "schema",
            "cert_dir": self.configuration,
            "config_dir": self.configuration,
            "db_home_dir": self.directory / "db",
            "db_lib": "bdb",
            "fqdn": "localhost",
            "ds_port": 0,
            "ds_user": "root",
            "ds_suffix": BACKENDS["userRoot"],
            "rootdn": "cn=Directory Manager",
            "ds_passwd": _password(),
            "ldapi": self.socket,
            "ldapi_enabled": "on",
            "ldapi_autobind": "on",
        }
        text = TEMPLATE.read_text()
        for name, value in settings.items():
            text = text.replace(f"%{name}%", str(value))
        head, _, tail = text.partition("\n\n")
        head += "\n" + CONFIGURATION.format(ldaps_port=self.ldaps_port)
        backends = "".join(BACKEND.format(name=name, suffix=suffix) for name, suffix in BACKENDS.items())
        (self.configuration / "dse.ldif").write_text(f"{head}\n{tail.rstrip()}\n{backends}")

    def _make_certificates(self, ca: TestCA, lifetime: timedelta) -> None:
        pin = self.configuration / "pwdfile.txt"
        pin.write_text("Directory.123")
        (self.configuration / "pin.txt").write_text("Internal (Software) Token:Directory.123")
        self.nss = NssDatabase(self.configuration, pin)
        key = key_of(NICKNAME)
        certificate = ca.issue(subject(HOST), key.public_key(), lifetime=lifetime, server=True, dns=[HOST])
        self.nss.import_pair(NICKNAME, key, certificate)
        self.nss.add(CA_NICKNAME, ca.certificate, "CT,C,C")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _password() -> str:
    done = subprocess.run(["pwdhash", "-s", "PBKDF2-SHA512", "unused"], capture_output=True, text=True, check=True)
    return done.stdout.strip()
