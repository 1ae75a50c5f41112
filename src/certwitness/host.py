# SPDX-License-Identifier: MIT
"""This host: realm, suffix, names, and where FreeIPA, Dogtag and 389-ds keep what is checked.

Read from the configuration first, then from FreeIPA's own `/etc/ipa/default.conf`, then from where the platforms have
it (FreeIPA 4.4 to 4.13, ipaplatform; reference: freeipa.md, 1.4).
"""

from __future__ import annotations

import configparser
import os
import socket
from dataclasses import dataclass

from certwitness.config import Config
from certwitness.errors import ConfigurationError
from certwitness.stores import renewal_lock

IPA_DEFAULTS = "/etc/ipa/default.conf"
# Where Apache's part of the way to Dogtag is: Fedora and RHEL, Debian, SUSE.
PROXY_CONFIGURATIONS = (
    "/etc/httpd/conf.d/ipa-pki-proxy.conf",
    "/etc/apache2/conf-enabled/ipa-pki-proxy.conf",
    "/etc/apache2/conf.d/ipa-pki-proxy.conf",
)


@dataclass(frozen=True)
class Host:
    """An IPA server. Paths are absolute; `https`, `ldaps` and `pki` are "host:port"; `bus` is "system", "session" or a
    D-Bus address; `bind` says whether the real bind may be tried; `config` is where all of it was read."""

    config: Config
    realm: str
    basedn: str
    name: str
    ca_certificate: str
    pki_nssdb: str
    pki_password_file: str
    ra_certificate: str
    ra_key: str
    cs_cfg: str
    certmap: str
    renewal_lock: str
    server_xml: str
    proxy_conf: str
    uri: str
    ldaps_uri: str
    https: str
    ldaps: str
    pki: str
    bus: str
    bind: bool

    @property
    def instance(self) -> str:
        """389-ds's name for the instance: the realm with dashes."""
        return self.realm.replace(".", "-")

    @property
    def kra_cs_cfg(self) -> str:
        """The KRA's CS.cfg, beside the CA's: <instance>/kra/CS.cfg."""
        conf = os.path.dirname(os.path.dirname(self.cs_cfg))
        return os.path.join(conf, "kra", os.path.basename(self.cs_cfg))

    @property
    def dirsrv_nssdb(self) -> str:
        """389-ds's NSS database: where its certmap.conf is."""
        return os.path.dirname(self.certmap)

    @property
    def ldaps_address(self) -> tuple[str, int]:
        """Host and port that pki-tomcatd binds to."""
        place = self.ldaps_uri.split("://", 1)[1].rstrip("/")
        name, _, port = place.rpartition(":")
        return (name, int(port)) if name and port.isdecimal() else (place, 636)


def load(config: Config, defaults: str = IPA_DEFAULTS) -> Host:
    """The host that `config` and FreeIPA's `defaults` file describe.

    Raises ConfigurationError, one line, where neither tells the realm: this is no IPA server, or not yet.
    """
    ipa, services = config.values.get("ipa", {}), config.values.get("services", {})
    freeipa = _defaults(defaults)
    realm = ipa.get("realm") or freeipa.get("realm", "")
    if not realm:
        raise ConfigurationError(
            f"{defaults}: no realm there, and none in [ipa] of {config.path or 'the configuration'}; no IPA server?"
        )
    name = ipa.get("host") or freeipa.get("host") or socket.getfqdn()
    instance = realm.replace(".", "-")
    directory = config.values.get("directory", {})
    default_dn = ",".join(f"dc={part}" for part in realm.lower().split("."))
    return Host(
        config=config,
        realm=realm,
        basedn=ipa.get("basedn") or freeipa.get("basedn") or default_dn,
        name=name,
        ca_certificate=ipa.get("ca_certificate", "/etc/ipa/ca.crt"),
        pki_nssdb=ipa.get("pki_nssdb", "/etc/pki/pki-tomcat/alias"),
        pki_password_file=ipa.get("pki_password_file", "/etc/pki/pki-tomcat/password.conf"),
        ra_certificate=ipa.get("ra_certificate", "/var/lib/ipa/ra-agent.pem"),
        ra_key=ipa.get("ra_key", "/var/lib/ipa/ra-agent.key"),
        cs_cfg=ipa.get("cs_cfg", "/etc/pki/pki-tomcat/ca/CS.cfg"),
        certmap=ipa.get("certmap", f"/etc/dirsrv/slapd-{instance}/certmap.conf"),
        renewal_lock=ipa.get("renewal_lock", renewal_lock.PATH),
        server_xml=ipa.get("server_xml", "/etc/pki/pki-tomcat/server.xml"),
        proxy_conf=ipa.get("proxy_conf") or next(filter(os.path.exists, PROXY_CONFIGURATIONS), PROXY_CONFIGURATIONS[0]),
        uri=directory.get("uri", f"ldapi://%2Frun%2Fslapd-{instance}.socket"),
        ldaps_uri=directory.get("ldaps_uri", f"ldaps://{name}:636"),
        https=services.get("https", f"{name}:443"),
        ldaps=services.get("ldaps", f"{name}:636"),
        pki=services.get("pki", f"{name}:8443"),
        bus=config.values.get("certmonger", {}).get("bus", "system"),
        bind=config.values.get("checks", {}).get("bind", "yes") == "yes",
    )


def _defaults(path: str) -> dict[str, str]:
    """The [global] section of FreeIPA's own configuration; {} where there is none."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            parser.read_file(file)
    except FileNotFoundError:
        return {}
    except (OSError, configparser.Error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ConfigurationError(f"{path}: {reason}") from None
    return dict(parser["global"]) if parser.has_section("global") else {}
