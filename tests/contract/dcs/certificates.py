"""Certificate authorities and the certificates they sign, for a test."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class Pair:
    """Files of a certificate and its key."""

    cert: str
    key: str


class Authority:
    """Signs certificates for 127.0.0.1 that serve servers and clients alike (etcd's gateway is a client of etcd)."""

    def __init__(self, home: Path, name: str) -> None:
        self._home = home
        self._name = _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        made = _builder(self._name, self._name, self._key).add_extension(x509.BasicConstraints(True, None), True)
        self.file = str(home / f"{name}.pem")
        Path(self.file).write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def sign(self, file: str, common_name: str | None = None) -> Pair:
        """A certificate, without a CN unless one is given; files of that name are replaced."""
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        made = (
            _builder(_named(common_name), self._name, key)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(x509.ExtendedKeyUsage(usages), False)
            .sign(self._key, hashes.SHA256())
        )
        pair = Pair(str(self._home / f"{file}.pem"), str(self._home / f"{file}.key"))
        Path(pair.key).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        Path(pair.cert).write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return pair


def _named(name: str | None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "trial")]
    return x509.Name(attributes + ([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
    )
