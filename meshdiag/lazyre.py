"""Regular expressions that are compiled when first used.

The package has some two hundred; compiling them all would cost a cold start more than a small diagnosis does.
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


class _Lazy:
    def __init__(self, pattern: Any, flags: int) -> None:
        self._given = (pattern, flags)

    def __getattr__(self, name: str) -> Any:
        compiled = re.compile(*self._given)
        # from here on an attribute of the instance: no detour
        for attribute in ("match", "search", "fullmatch", "sub", "subn", "finditer", "findall", "split", "pattern"):
            setattr(self, attribute, getattr(compiled, attribute))
        return getattr(compiled, name)


def lazy(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Like `re.compile`, later. A broken pattern raises `re.error` at its first use (the tests use them all)."""
    return cast("re.Pattern[AnyStr]", _Lazy(pattern, flags))
