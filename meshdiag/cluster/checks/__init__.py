"""The checks: one module each, which exports `CHECK`. A new one is added by adding its file."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module

from meshdiag.cluster.verdict import Check


@cache
def checks() -> Mapping[str, Check]:
    """Every check by its name, in order of the names."""
    modules = (import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__))
    found = {m.CHECK.name: m.CHECK for m in modules if hasattr(m, "CHECK")}
    return dict(sorted(found.items()))


def named(*names: str) -> tuple[Check, ...]:
    """The checks of these names. Raises KeyError for one that is not there."""
    return tuple(checks()[n] for n in names)
