"""Certificates as Secrets, ConfigMaps and webhook configurations hold them: read without trust, and only so many."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from meshdiag.lazyre import lazy

if TYPE_CHECKING:
    from cryptography import x509

MOST: Final = 50
LONGEST: Final = 1 << 18
"""No more certificates, and no longer a text, are read of one value."""

_block = lazy(
    r"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----([A-Za-z0-9+/=\s]{1,100000})-----END (?:TRUSTED |X509 )?CERTIFICATE-----"
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What matters of one: names as RFC 4514 writes them, times in UTC, `names` its DNS names, addresses and URIs.

    fingerprint  SHA-256 in hexadecimal
    bits         of an RSA key, 0 for other keys
    """

    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]
    is_ca: bool
    fingerprint: str
    bits: int
    parsed: x509.Certificate = field(repr=False, compare=False)

    def serves(self, host: str) -> bool:
        """Whether it names a host; `*.example.com` names each that has one label more, and is named only by itself."""
        host = host.lower()
        wild = f"*.{host.partition('.')[2]}"
        return any(n.lower() == host or (n.lower() == wild and not host.startswith("*")) for n in self.names)

    def signed_by(self, other: Certificate) -> bool:
        """Whether another one's key signed it."""
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

        try:
            self.parsed.verify_directly_issued_by(other.parsed)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Bundle:
    """The certificates of one value in their order, and how many could not be read."""

    certificates: tuple[Certificate, ...] = ()
    broken: int = 0

    @property
    def fingerprints(self) -> frozenset[str]:
        """Of all of them."""
        return frozenset(c.fingerprint for c in self.certificates)


def of_base64(value: Any) -> Bundle:
    """Of `data` of a Secret or a caBundle."""
    if not isinstance(value, str) or len(value) > 2 * LONGEST:
        return Bundle()
    try:
        return of_pem(base64.b64decode("".join(value.split()), validate=True).decode("ascii", "replace"))
    except (binascii.Error, ValueError):
        return Bundle()


def of_pem(value: Any) -> Bundle:
    """Of PEM text."""
    return _read(value) if isinstance(value, str) and len(value) <= LONGEST else Bundle()


@lru_cache(2048)
def _read(text: str) -> Bundle:
    found = []
    broken = 0
    for body in _block.findall(text)[:MOST]:
        one = _certificate("".join(body.split()))
        broken += one is None
        if one is not None:
            found.append(one)
    return Bundle(tuple(found), broken)


def _certificate(body: str) -> Certificate | None:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        c = x509.load_der_x509_certificate(base64.b64decode(body, validate=True))
        key = c.public_key()
        return Certificate(
            c.subject.rfc4514_string()[:200],
            c.issuer.rfc4514_string()[:200],
            f"{c.serial_number:x}",
            c.not_valid_before_utc,
            c.not_valid_after_utc,
            _names(c),
            _is_ca(c),
            c.fingerprint(SHA256()).hex(),
            key.key_size if isinstance(key, RSAPublicKey) else 0,
            c,
        )
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None


def _names(c: x509.Certificate) -> tuple[str, ...]:
    from cryptography import x509

    try:
        names = c.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ()
    kinds = (x509.DNSName, x509.UniformResourceIdentifier, x509.IPAddress)
    return tuple(str(n.value) for n in names if isinstance(n, kinds))[:200]


def _is_ca(c: x509.Certificate) -> bool:
    from cryptography import x509

    try:
        return bool(c.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False


SOON: Final = 14
"""So many days before its end a certificate is told of."""


def date_fault(c: Certificate, now: datetime) -> str:
    """What is wrong with its dates: `expired on …`, `is not valid before …`, `expires in N days`; "" for nothing."""
    if c.not_after < now:
        return f"expired on {c.not_after:%Y-%m-%d %H:%M} UTC"
    if c.not_before > now:
        return f"is not valid before {c.not_before:%Y-%m-%d %H:%M} UTC"
    days = (c.not_after - now).days
    lasts = (c.not_after - c.not_before).days
    return f"expires in {days} days" if days < SOON and lasts > 2 * SOON else ""


def dates(c: Certificate) -> str:
    """Its dates, as a proof."""
    return f"{c.subject or 'no subject'}: {c.not_before:%Y-%m-%d} to {c.not_after:%Y-%m-%d}"
