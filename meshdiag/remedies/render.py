"""Fills names into the three kinds of text that a remedy has: prose, a shell command, a manifest.

The template is the catalogue's and trusted; the names are validated (`names.py`), so that none needs quoting but a wildcard
host. What is not known becomes `<namespace>`. In a command that is quoted, `'<namespace>'`: a shell takes a bare `<x>` for
a redirection, and `kubectl -n <namespace> delete …` would read a file `namespace` and empty one called `delete`. Quoted,
kubectl answers that there is no such namespace. A manifest loads as YAML with or without it.
"""

from __future__ import annotations

import re
import shlex
from functools import lru_cache

from meshdiag.lazyre import lazy
from meshdiag.remedies.names import PLACEHOLDERS, Names

_SLOT = r"\{(?:" + "|".join(PLACEHOLDERS) + r")\}"
_slot = lazy(f"({_SLOT})")
# a sentence that begins like a command will be pasted like one
_like_command = lazy(r"(?:kubectl|istioctl|curl|openssl|helm) ")

# the catalogue's own <placeholders> are quoted in a command like the unknown ones
_shell = lazy(r"""(\s+)|('[^']*'|"(?:[^"\\]|\\.)*")|\\.|""" + _SLOT + r"|<[a-z][a-z-]*>|.", re.DOTALL)
_hole = lazy(rf"({_SLOT}|<[a-z][a-z-]*>)")
# the name of a cluster is one word; elsewhere a bar is a pipe
_plain = lazy(r"[A-Za-z0-9_@%+=:,./-]*|(?:out|in)bound\|[0-9]*\|[a-z0-9-]*\|[a-z0-9.-]*")

# of a manifest: what is quoted or a comment stays as it is; a scalar with a slot may need quotes, if it begins there
_yaml = lazy(
    rf"""
      (?P<as_is> (?<![^\s\[{{,]) (?: "(?:[^"\\\n]|\\.)*" | '[^'\n]*' ) | (?<!\S)\#[^\n]* )
    | (?P<start> (?: ^ | (?<=[-:]\ ) | (?<=[\[{{,]) | (?<=,\ ) ) \ * (?:-\ +)* )?
      (?P<scalar> (?: [^\s\[\]{{}},"'\#\\] | {_SLOT} )* {_SLOT} (?: [^\s\[\]{{}},"'\#\\:] | :(?!\s|$) | {_SLOT} )* )
    """,
    re.VERBOSE | re.MULTILINE,
)
# words that YAML 1.1 takes for something else than a string
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})

Parts = tuple[tuple[str, str], ...]
"""A word or a scalar with slots: pairs of literal text and the slot behind it ("" for none)."""


def slots(text: str) -> frozenset[str]:
    """The placeholders in a text."""
    return frozenset(slot for _, slot in _split(text)) - {""}


def prose(text: str, names: Names) -> str:
    """A sentence with its names."""
    if _like_command.match(text):
        return command(text, names)
    if "{" not in text:
        return text.strip()
    return _filled(_split(_clusters(text, names)), names).strip()


def command(text: str, names: Names) -> str:
    """A shell command with its names: every word stays one word, whatever is known."""
    if "{" not in text and "<" not in text:
        return text.strip()
    pieces = _words(_clusters(text, names))
    return "".join(p if isinstance(p, str) else _word(p, names) for p in pieces).strip()


def manifest(text: str, names: Names) -> str:
    """A manifest with its names: a port stays a number, a name stays a string."""
    if "{" not in text:
        return text.strip()
    return "".join([_scalar(parts, names, whole) for parts, whole in _scalars(text)]).strip()


def _clusters(text: str, names: Names) -> str:
    """A cluster that is known and has no subset is written outbound|9080||reviews…"""
    return text.replace("|{subset}|", "||") if names.no_subset else text


def _filled(parts: Parts, names: Names) -> str:
    return "".join([literal + (names.value(slot) if slot else "") for literal, slot in parts])


@lru_cache(4096)
def _split(text: str) -> Parts:
    found = [*_slot.split(text), ""]
    pairs = zip(found[::2], found[1::2], strict=True)
    return tuple((literal, slot[1:-1]) for literal, slot in pairs if literal or slot)


# -- commands


@lru_cache(4096)
def _words(text: str) -> tuple[str | list[str], ...]:
    """A command as literal text and words with holes; a word is a list of its bare parts and quoted strings."""
    out: list[str | list[str]] = []
    word: list[str] = []
    for m in [*_shell.finditer(text), None]:
        if m is None or m[1]:
            out.append(list(word) if any(_hole.search(part) for part in word) else "".join(word))
            word.clear()
            out.append(m[0] if m else "")
        elif m[2] or not word or word[-1][0] in "'\"":
            word.append(m[0])
        else:
            word[-1] += m[0]
    return tuple(out)


def _word(word: list[str], names: Names) -> str:
    def value(m: re.Match[str]) -> str:
        return m[0] if m[0][0] == "<" else _single(m[0][1:-1], names, m.string[: m.start()])

    if len(word) == 1 and word[0][0] not in "'\"" and _plain.fullmatch(_hole.sub("", word[0])):
        return shlex.quote(_hole.sub(value, word[0]))
    # a name and a <placeholder> are plain text within quotes of either kind
    return "".join(
        _hole.sub(value, part) if part[0] in "'\"" else _hole.sub(lambda m: shlex.quote(value(m)), part)
        for part in word
    )


def _single(slot: str, names: Names, before: str) -> str:
    """The value as one name, behind `before`.

    namespace/name is no argument, no value of a field and no part of one: a template says source_name for that. In the
    name of an object (`external-{host}`) a wildcard host is its domain.
    """
    value = names.value(slot)
    if slot == "source" and "/" in value:
        return "<source>"
    return value[2:] if value.startswith("*.") and (before[-1:].isalnum() or before[-1:] == "-") else value


# -- manifests


@lru_cache(1024)
def _scalars(text: str) -> tuple[tuple[Parts, bool], ...]:
    """A manifest in parts, and of each whether it is a whole scalar, which may need quotes, or text that takes none."""
    out: list[tuple[Parts, bool]] = []
    at = 0
    for m in _yaml.finditer(text):
        if m["start"] is not None:
            out += [(_split(text[at : m.start("scalar")]), False), (_split(m["scalar"]), True)]
            at = m.end()
    out.append((_split(text[at:]), False))
    return tuple(out)


def _scalar(parts: Parts, names: Names, whole: bool) -> str:
    text = "".join([literal + (_single(slot, names, literal) if slot else "") for literal, slot in parts])
    if not whole or parts == (("", "port"),):
        return text
    plain = (text[0].isalpha() or text[0] == "<") and text.lower() not in _WORDS
    return text if plain else f'"{text}"'
