"""The profiles of `meshdiag check`: one module each, which exports `PROFILES`."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module

from meshdiag.cluster.survey import Profile


@cache
def profiles() -> Mapping[str, Profile]:
    """Every profile by its name: `adoption`, `phase-1` to `phase-4`, `development`, `production`, `after`."""
    modules = (import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__))
    return {p.name: p for m in modules for p in getattr(m, "PROFILES", ())}
