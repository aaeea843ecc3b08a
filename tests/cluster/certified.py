"""Real certificates for the tests of checks, signed here."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from snapshots import NOW, obj

from meshdiag.cluster import Object


@dataclass(frozen=True)
class Signed:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """As text."""
        return self.certificate.public_bytes(Encoding.PEM).decode()


@cache
def certificate(
    name: str,
    *,
    days: tuple[int, int] = (-30, 300),
    hosts: tuple[str, ...] = (),
    ca: bool = False,
    by: Signed | None = None,
) -> Signed:
    """One that is valid from and to so many days from NOW, signed by another or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(h) for h in hosts]), critical=False)
    return Signed(builder.sign(by.key if by else key, SHA256()), key)


def encoded(*some: Signed) -> str:
    """As `data` of a Secret holds it."""
    return base64.b64encode("".join(s.pem for s in some).encode()).decode()


def secret(
    name: str,
    namespace: str,
    *,
    hosts: tuple[str, ...] = (),
    days: tuple[int, int] = (-30, 300),
    keys: tuple[str, str] = ("tls.crt", "tls.key"),
) -> Object:
    """A Secret as a snapshot has it: the certificate, and of the key that it fits."""
    data: dict[str, Any] = {
        keys[0]: encoded(certificate(name, hosts=hosts, days=days)),
        keys[1]: "meshdiag:key-matches",
    }
    return obj("Secret", name, namespace, type="kubernetes.io/tls", data=data)
