"""Which lines of a raw block may matter: all patterns' necessary expressions at once.

`HyperscanPrefilter` scans with Hyperscan (Vectorscan), `RePrefilter` with the standard library; both give the same
lines. Expressions never match across a line end.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterable, Sequence
from os.path import commonprefix
from typing import Any, Protocol

from meshdiag import cache
from meshdiag.catalogue import Catalogue
from meshdiag.lazyre import lazy
from meshdiag.model import MeshdiagError

# A quote or a tab may be escaped by JSON, and again by the JSON of a log shipper.
_Q = r'\\{0,7}"'
_COLON = rf"{_Q}\s{{0,2}}:\s{{0,2}}\\{{0,7}}"
_SEP = r"(?:[\t ]|\\t)"
_LEVELS = "warn|warning|error|critical|fatal|WARN|ERROR|FATAL|Warning|Error"

_FLAGS = "UH|UF|UO|NR|URX|NC|DT|DC|LH|UT|LR|UR|UC|DI|FI|RL|UAEX|RLSE|SI|IH|DPE|UPE|UMSDR|OM|DF|DO|UDO|DR|RFCF|NFCF"

# Literals of three or more characters lead every expression: Hyperscan then skips healthy lines at memory speed.
GENERIC: tuple[str, ...] = (
    # Envoy access log, text: a flag, a 4xx or 5xx with an unknown one, a 5xx, details other than via_upstream, termination
    rf"\d (?:{_FLAGS})[, ]",
    r'" [45]\d\d [A-Z]',
    r'[0-3]\\{0,7}" 5\d\d ',  # behind HTTP/1.1", HTTP/2": a number of bytes stands behind another quote
    r'" \d{1,3} - [a-uw-z]',
    r'" \d{1,3} - - [a-z]',
    # Envoy access log, JSON with any key names
    rf'[Ff]lags?{_COLON}"[A-Z]',
    rf'(?:[Cc]ode|[Ss]tatus){_COLON}"?5\d\d',
    rf'[Dd]etails{_COLON}"[a-uw-z]',
    # a level of warning or worse: Istio, Envoy, ztunnel, events; Envoy's own shape; JSON; klog
    rf"{_SEP}(?:{_LEVELS}){_SEP}",
    rf"^(?:{_LEVELS}){_SEP}",
    r"\]\[(?:warning|error|critical)\]",
    rf'(?:level|type|severity){_COLON}"(?:{_LEVELS})',
    r"\.go:\d{1,5}\] ",
    r"IST\d{4}",
    # parts of a line that the container runtime cut: joined before they are looked at
    r"std(?:out|err) P ",
    r'[^n]"\s?,\s?"stream"\s?:\s?"std',
)
"""Expressions that no pattern owns: what is failing or unusual in each format."""

CUSTOM_ACCESS: tuple[str, ...] = (
    r"(?:^|[^0-9.:A-Za-z])5\d\d(?:[^0-9.:A-Za-z]|$)",
    rf"(?:^|[^A-Za-z0-9_])(?:{_FLAGS})(?:[^A-Za-z0-9_]|$)",
    r"rbac_access_denied|jwt_authn_access_denied|ext_authz_|upstream_reset_|_too_large|http[123]?\.[a-z]|_timeout",
)
"""Looser expressions for an access log in a format of the user's: the order of its fields is not known."""


class Prefilter(Protocol):
    """Finds candidate lines in raw blocks, and candidate patterns for one record."""

    name: str

    def met(self, text: str) -> set[int]:
        """Numbers of the expressions that the text meets."""
        ...

    def ends(self, block: Any) -> list[int]:
        """Offsets in the block (bytes-like), ascending, each just behind the last byte of a hit."""
        ...


def expressions(catalogue: Catalogue, custom_access: bool = False) -> tuple[str, ...]:
    """Every expression a catalogue needs, without duplicates."""
    own = {e for p in catalogue.patterns for e in p.prefilter}
    return (*GENERIC, *(CUSTOM_ACCESS if custom_access else ()), *sorted(own))


def make(wanted: tuple[str, ...], pure: bool = False) -> Prefilter:
    """The fastest prefilter there is: Hyperscan, or the standard library (`pure`, or Hyperscan is not installed)."""
    if not pure:
        try:
            return HyperscanPrefilter(wanted)
        except ImportError:
            pass  # no wheel for this platform: the pure twin gives the same lines, slower
    return RePrefilter(wanted)


class RePrefilter:
    """The pure twin: one alternation of the standard library."""

    name = "re"

    def __init__(self, wanted: Iterable[str]) -> None:
        # a global flag cannot stand inside an alternation, a scoped one can
        parts = [re.sub(r"^\(\?i\)(.*)$", r"(?i:\1)", w) for w in wanted]
        plain = [(i, re.sub(r"\\(.)", r"\1", p)) for i, p in enumerate(parts) if not _MAGIC.search(p)]
        # the literals as a tree: else each of them is tried at each place
        either = [_tree([literal for _, literal in plain])] if plain else []
        either += [f"(?:{p})" for p in parts if _MAGIC.search(p)]
        self._find = re.compile("|".join(either).encode(), re.MULTILINE).finditer
        self._plain = tuple(plain)
        self._others = tuple((i, lazy(p, re.MULTILINE)) for i, p in enumerate(parts) if _MAGIC.search(p))

    def ends(self, block: Any) -> list[int]:
        """See Prefilter."""
        return [m.end() for m in self._find(block)]

    def met(self, text: str) -> set[int]:
        """See Prefilter."""
        found = {i for i, literal in self._plain if literal in text}
        found.update(i for i, expression in self._others if expression.search(text))
        return found


_MAGIC = re.compile(r"(?<!\\)(?:\\\\)*[\[\](){}.*+?^$|]|\\[A-Za-z0-9]")


def _tree(words: Sequence[str]) -> str:
    """An expression for any of the words: what several begin with is tried once. Where one ends, longer ones need not be tried."""
    if "" in words:
        return ""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(word[0], []).append(word)
    heads = [commonprefix(group) for group in groups.values()]  # noqa: RUF071  of texts, not of paths
    tails = [_tree([word[len(h) :] for word in group]) for h, group in zip(heads, groups.values(), strict=True)]
    return f"(?:{'|'.join(re.escape(h) + t for h, t in zip(heads, tails, strict=True))})"


def lean(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The expressions without the literals that hold another one: where they stand, it stands too. For block scans only."""
    plain = sorted((w for w in wanted if not _MAGIC.search(w)), key=len)
    kept: list[str] = []
    for w in plain:
        if not any(k in w for k in kept):
            kept.append(w)
    left_out = set(plain) - set(kept)
    return tuple(w for w in wanted if w not in left_out)


class HyperscanPrefilter:
    """One Hyperscan database of all expressions, cached on disk by their content."""

    name = "hyperscan"

    def __init__(self, wanted: Iterable[str]) -> None:
        import hyperscan

        self._hs = hyperscan
        wanted = tuple(wanted)
        self._wanted = wanted
        self._db = self._load("lean", wanted)
        self._full: Any = None

    def _load(self, kind: str, wanted: tuple[str, ...]) -> Any:
        hs = self._hs
        version = getattr(hs, "__version__", "")
        parts = (kind, version, platform.machine(), *wanted)
        key = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
        name = f"hyperscan-{key}.db"
        blob = cache.read(name)
        if blob is not None:
            try:
                db = hs.loadb(blob, hs.HS_MODE_BLOCK)
                db.scratch = hs.Scratch(db)
                db.scan(b"x", match_event_handler=lambda *_: None)
                return db
            except (hs.error, ValueError, RuntimeError):
                pass  # of another CPU or build: compile again
        db = self._compile(lean(wanted) if kind == "lean" else wanted)
        cache.write(name, hs.dumpb(db))
        return db

    def _compile(self, wanted: tuple[str, ...]) -> Any:
        hs = self._hs

        def compile_(some: tuple[str, ...]) -> Any:
            db = hs.Database(mode=hs.HS_MODE_BLOCK)
            encoded = [w.encode() for w in some]
            db.compile(expressions=encoded, ids=list(range(len(some))), flags=[hs.HS_FLAG_MULTILINE] * len(some))
            return db

        try:
            return compile_(wanted)
        except hs.error:
            for w in wanted:
                try:
                    compile_((w,))
                except hs.error as e:
                    raise MeshdiagError(f"prefilter {w!r} is not in Hyperscan's syntax: {e}") from None
            raise

    def ends(self, block: Any) -> list[int]:
        """See Prefilter."""
        hits: list[int] = []
        append = hits.append

        def on_match(_id: int, _start: int, end: int, _flags: int, _context: object) -> None:
            append(end)

        self._db.scan(block, match_event_handler=on_match)
        hits.sort()
        return hits

    def met(self, text: str) -> set[int]:
        """See Prefilter."""
        found: set[int] = set()
        add = found.add

        def on_match(id_: int, _start: int, _end: int, _flags: int, _context: object) -> None:
            add(id_)

        if self._full is None:
            self._full = self._load("full", self._wanted)
        self._full.scan(text.encode("utf-8", "replace"), match_event_handler=on_match)
        return found
