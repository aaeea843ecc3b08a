"""YAML and JSON text to plain values, without trust: bounded, and what is broken takes nothing else with it.

Read as Kubernetes reads it, not as PyYAML does: keys are texts, times stay texts, a key that stands twice is a fault. YAML is built from
the events of its parser, which is three times as fast as its loader and lets aliases be counted before they grow.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import yaml

from meshdiag.lazyre import lazy

DEEPEST: Final = 100
ALIASED: Final = 100_000
"""Nodes that all aliases of a document may stand for."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_border = lazy(r"(?m)^---(?=[ \t\r\n]|\Z)")
_empty = lazy(r"(?:\s|#[^\n]*(?:\n|\Z)|%[^\n]*(?:\n|\Z)|---|\.\.\.)*\Z")
_json_begins = lazy(r"\ufeff?(?:---)?\s*[{\[]")
_begins = lazy(r"\s*[{\[]")
_line_begins = lazy(r"(?m)^[{\[]")
_int = lazy(r"[-+]?(?:0|[1-9][0-9]{0,30})\Z|0x[0-9a-fA-F]{1,16}\Z|0[0-7]{1,20}\Z")
_float = lazy(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]{1,4})?\Z")
_WORDS: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
}
"""Plain words that are no texts: YAML 1.1, which Kubernetes reads (https://github.com/kubernetes-sigs/yaml), but for `y` and `n`."""

_MERGE: Final = "(the key <<, not quoted)"
_TEXT: Final = "tag:yaml.org,2002:str"
_PLAIN: Final = frozenset(f"tag:yaml.org,2002:{t}" for t in ("int", "float", "bool", "null"))
_KNOWN: Final = frozenset((None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"))


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in a text and in which line (from 1)."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A value and the line in which it begins. Of a list of objects in which something is broken it holds those that are whole.

    is_cut  whether what stands behind the last of them could not be read
    """

    line: int
    value: Any
    faults: tuple[Fault, ...] = ()
    is_cut: bool = False


def documents(text: str) -> Iterator[Document]:
    """The documents of a text: JSON, one or several, or YAML, in order. Never raises; what is broken is in their faults.

    The text is cut at the lines `---`, which stand nowhere else, so that a broken document ends where the next begins.
    """
    borders = [0, *(m.start() for m in _border.finditer(text)), len(text)]
    line = 1
    for start, end in itertools.pairwise(borders):
        piece = text[start:end]
        if begin := _json_begins.match(piece):
            yield from _json(piece, begin.end() - 1, line)
        elif not _empty.match(piece):
            yield from _Builder(piece, line).read()
        line += piece.count("\n")


# --- JSON ---------------------------------------------------------------------------------------------------------


class _Twice(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [k for k, _ in pairs]
        raise _Twice(f"key {next(k for k in names if names.count(k) > 1)!r} stands twice")
    found.pop("managedFields", None)  # nobody else has a field of this name
    return found


def _number(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


_decoder: Final = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number, parse_constant=lambda _: None)


def _json(text: str, at: int, first: int) -> Iterator[Document]:
    """Values one behind the other, from a place in a text that begins with a line."""
    while begin := _begins.match(text, at) or _line_begins.search(text, at):
        start = begin.end() - 1
        line = first + text.count("\n", 0, start)
        try:
            value, at = _decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as e:
            after = _line_begins.search(text, start + 1)
            at = after.end() - 1 if after else len(text)
            where = first + e.lineno - 1 if isinstance(e, json.JSONDecodeError) else line
            yield _saved(text[start:at], line, Fault(where, _why(e)))
            continue
        if is_deep(value):
            yield Document(line, None, (Fault(line, f"nested too deep: at most {DEEPEST}"),))
        else:
            yield Document(line, value)


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"nested too deep: at most {DEEPEST}"
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _saved(text: str, line: int, fault: Fault) -> Document:
    """What is no JSON may be YAML, of which JSON is a part; of a list that is broken that reader keeps what is whole."""
    found = _Builder(text, line).read()
    return found[0] if found and found[0].value is not None else Document(line, None, (fault,))


def is_deep(value: Any) -> bool:
    """Whether a value is nested deeper than `DEEPEST`."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


# --- YAML ---------------------------------------------------------------------------------------------------------


@lru_cache(1 << 14)
def _plain(text: str) -> Any:
    """A plain scalar as YAML 1.1 has it, without what Kubernetes does not know: times and base 60."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "0123456789+-.":
        if _int.match(text):
            base = 16 if text[:2] == "0x" else 8 if text[0] == "0" and len(text) > 1 else 10
            return int(text, base)
        if _float.match(text):
            value = float(text)
            return value if math.isfinite(value) else text
    return text


class _Builder:
    """Values out of the events of a piece of YAML.

    `_stack` holds the lists and mappings that are open, `_keys` the key of each mapping for which a value is due.
    """

    def __init__(self, text: str, line: int) -> None:
        self._text, self._first = text, line
        self._stack: list[Any] = []
        self._keys: list[str | None] = []
        self._names: list[tuple[str, int]] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = self._aliased = 0
        self._skip = 0
        self._bad: Fault | None = None
        self._faults: list[Fault] = []
        self._found: list[Document] = []
        self._line = line

    def read(self) -> list[Document]:
        """The documents."""
        try:
            loader = _Loader(self._text)
        except (yaml.YAMLError, ValueError, UnicodeError) as e:  # a character that YAML does not have
            return [Document(self._first, None, (self._fault(e),))]
        try:
            while True:
                event = loader.get_event()
                if event is None or isinstance(event, yaml.StreamEndEvent):
                    break
                self._take(event)
        except (yaml.YAMLError, ValueError, UnicodeError, RecursionError) as e:
            self._break_off(self._fault(e))
        finally:
            loader.dispose()
        return self._found

    def _fault(self, error: Exception) -> Fault:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        position = getattr(error, "position", None)
        if mark is not None:
            line = mark.line
        elif isinstance(position, int):
            line = self._text.count("\n", 0, position)
        else:
            line = 0
        why = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).partition("\n")[0]
        return Fault(self._first + line, f"is no YAML: {why}" if isinstance(error, yaml.YAMLError) else str(why))

    def _take(self, event: Any) -> None:
        kind = event.__class__
        if kind is yaml.ScalarEvent:
            if self._skip:
                return
            self._scalar(event)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            if self._skip or self._unwanted():
                self._skip += 1
                return
            self._open(event, {} if kind is yaml.MappingStartEvent else [])
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            if self._skip:
                self._skip -= 1
                if not self._skip:
                    self._keys[-1] = None
                return
            self._close()
        elif kind is yaml.AliasEvent:
            if not self._skip:
                self._alias(event)
        elif kind is yaml.DocumentStartEvent:
            self._line = self._first + event.start_mark.line
            self._anchors.clear()
            self._aliased = 0
        # the ends of documents need nothing: a value is whole when it is closed

    def _unwanted(self) -> bool:
        return bool(self._keys) and self._keys[-1] == "managedFields"

    def _scalar(self, event: Any) -> None:
        self._nodes += 1
        text, tag = event.value, event.tag
        if self._stack and self._keys[-1] is None and self._stack[-1].__class__ is dict:
            self._key(text, event)
            return
        if tag is None or tag in _PLAIN:
            plain = event.implicit[0] or tag in _PLAIN
            value = (_plain(text) if len(text) < 64 else text) if plain else text
        elif tag in ("!", _TEXT):
            value = text
        else:
            value = text
            self._spoil(event, f"tag {tag} has no meaning here")
        if event.anchor:
            self._anchors[event.anchor] = value, 1
        self._add(value)

    def _key(self, text: str, event: Any) -> None:
        key = _MERGE if text == "<<" and event.implicit[0] else sys.intern(text)
        if key in self._stack[-1]:
            self._spoil(event, f"key {key!r} stands twice")
        self._keys[-1] = key

    def _open(self, event: Any, value: Any) -> None:
        self._nodes += 1
        if self._stack and self._keys[-1] is None and self._stack[-1].__class__ is dict:
            self._spoil(event, "a key is no text")
            self._skip = 1
            return
        if event.tag not in _KNOWN:
            self._spoil(event, f"tag {event.tag} has no meaning here")
        if len(self._stack) >= DEEPEST:
            self._spoil(event, f"nested too deep: at most {DEEPEST}")
            self._skip = 1
            return
        self._stack.append(value)
        self._keys.append(None)
        self._names.append((event.anchor or "", self._nodes))

    def _close(self) -> None:
        value = self._stack.pop()
        self._keys.pop()
        name, before = self._names.pop()
        if name:
            self._anchors[name] = value, self._nodes - before + 1
        if self._bad and self._is_item():
            self._faults.append(self._bad)
            self._bad = None
            if self._stack:
                return
            value = None
        self._add(value)

    def _is_item(self) -> bool:
        """Whether what was closed is an object of a list, or the whole document."""
        depth = len(self._stack)
        return depth == 0 or (
            self._stack[-1].__class__ is list and (depth == 1 or (depth == 2 and self._keys[0] == "items"))
        )

    def _add(self, value: Any) -> None:
        if not self._stack:
            self._found.append(Document(self._line, value, tuple(self._faults)))
            self._faults = []
            return
        into = self._stack[-1]
        if into.__class__ is list:
            into.append(value)
            return
        key, self._keys[-1] = self._keys[-1], None
        if key is _MERGE:
            self._merge(into, value)
        elif key != "managedFields":
            into[key] = value

    def _merge(self, into: dict[str, Any], value: Any) -> None:
        for one in value if isinstance(value, list) else [value]:
            for k, v in one.items() if isinstance(one, dict) else ():
                into.setdefault(k, v)

    def _alias(self, event: Any) -> None:
        value, size = self._anchors.get(event.anchor, (None, 0))
        self._aliased += size
        if not size:
            self._spoil(event, f"alias *{event.anchor} stands for nothing that is whole")
        elif self._aliased > ALIASED:
            self._spoil(event, f"its aliases stand for more than {ALIASED:,} values")
            value = None
        if self._stack and self._keys[-1] is None and self._stack[-1].__class__ is dict:
            if not isinstance(value, str):
                self._spoil(event, "a key is no text")
            self._keys[-1] = str(value) if isinstance(value, str) else ""
            return
        self._nodes += size
        self._add(value)

    def _spoil(self, event: Any, why: str) -> None:
        """The object in which this stands is not taken."""
        self._bad = self._bad or Fault(self._first + event.start_mark.line, why)

    def _break_off(self, fault: Fault) -> None:
        """What follows cannot be read; of a list the objects before are whole."""
        faults = (*self._faults, *([self._bad] if self._bad else []), fault)
        value: Any = None
        if self._stack:
            root = self._stack[0]
            if root.__class__ is list:
                value = root
            elif self._keys[0] == "items" and len(self._stack) > 1:
                value = {**root, "items": self._stack[1]}
            elif isinstance(root.get("items"), list):
                value = root
        self._found.append(Document(self._line, value, faults, True))
