"""Kubernetes quantities: `100Mi`, `0.5`, `500m`, `1e3`, `128974848`, as exact numbers, and back for a person.

The grammar is that of k8s.io/apimachinery/pkg/api/resource (a suffix is binary, decimal, or an exponent; never two of them).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from meshdiag.lazyre import lazy

_quantity = lazy(
    r"([+-]?)([0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:([KMGTPE]i|[numkMGTPE])|[eE]([+-]?[0-9]{1,2}))?\Z"
)
_BINARY: Final = {f"{s}i": 1024 ** (i + 1) for i, s in enumerate("KMGTPE")}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}

MOST: Final = 2**63 - 1
"""Beyond it the API server does not go."""


def quantity(value: object) -> Decimal | None:
    """The number (bytes, cores, pieces) of a quantity, a string or JSON number; None of anything else, or out of Kubernetes' range."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    found = _quantity.match(value if isinstance(value, str) else repr(value))
    if found is None:
        return None
    sign, digits, suffix, exponent = found.groups()
    number: Decimal
    if suffix in _BINARY:
        number = Decimal(digits) * _BINARY[suffix]
    else:
        number = Decimal(digits).scaleb(_DECIMAL[suffix] if suffix else int(exponent or 0))
    if number > MOST:
        return None
    return -number if sign == "-" else number


def memory(amount: Decimal) -> str:
    """Bytes for a person, in the unit in which manifests are written: `512Mi`, `3.8Gi`."""
    for unit in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
        if abs(amount) >= _BINARY[unit]:
            return f"{_short(amount / _BINARY[unit])}{unit}"
    return _short(amount)


def cores(amount: Decimal) -> str:
    """CPU for a person: `250m`, `1.5`."""
    return f"{_short(amount * 1000)}m" if 0 < abs(amount) < 1 else _short(amount)


def _short(number: Decimal) -> str:
    """At most one place, and only below ten."""
    text = f"{number:.1f}" if abs(number) < 10 else f"{number:.0f}"
    return text.removesuffix(".0")
