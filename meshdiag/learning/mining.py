"""Template mining: which words of similar texts stay the same, and which vary.

Drain (He et al., "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017) groups texts by their number of
words and first word, then by how many words agree. It is `drain3-improved`: the kept fork of drain3, whose last
release (0.9.11, 2022) pins jsonpickle 1.5.1 and cachetools 4.2.1 and so cannot stand beside current packages
(github.com/logpai/Drain3, issues 98 and 120). Only its algorithm is used, never its storage.

What the shape of a record blanks (numbers, addresses, quoted texts) is blanked before mining, by the same expression: so
a template made of one sample holds for every line of that shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from meshdiag.engine import shapes
from meshdiag.lazyre import lazy
from meshdiag.model import MeshdiagError

INSTALL = "learning needs the package drain3-improved: pip install 'meshdiag[learn]'"

SIMILARITY = 0.6
"""Share of words that must agree. Drain's own 0.4 puts `cannot open the socket` and `cannot read the file` together."""

RAW_LIMIT = 4 * shapes.LIMIT
BLANKED_LIMIT = 200
"""A shape shows 240 characters with its head: what stands behind may differ between lines of one shape."""

GAP = "gap"
"""A piece that no condition can name: a secret, a control character, bytes that are no text."""

WORD = "word"
"""A whole word that differs between samples."""

RUN = "run"
"""Varying pieces of one word with nothing certain between them, such as `1.2.3-45`."""

_SOFT = lazy(r"[\dA-Za-z.:\[\]-]*")
"""What a number, an address or an id may be made of: such text between two of them parts nothing."""

# a pseudonym of redact.py; then what views/safe.py does not print, and U+FFFD, which stands for broken bytes
_GAP = (
    r"<[a-z-]{1,20}:[0-9a-f]{6}>"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffd\ud800-\udfff]+"
)
_PIECES = lazy(rf"(?P<gap>{_GAP})|{shapes.VARYING.pattern}")
_SPACE = lazy(r"(\s+)")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a template: `kind` "" is literal text; else `text` is one value of what varies."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Token:
    """A word: its pieces, and the blanks before it."""

    pieces: tuple[Piece, ...]
    before: str

    @property
    def key(self) -> str:
        """The word as Drain sees it: without blanks, and no text can forge a stand-in, for `<` is written in another way."""
        return "".join(f"<{p.kind}>" if p.kind else p.text.replace("<", "<<>") for p in self.pieces)


def tokens_of(text: str, *, literal_string: bool = False) -> tuple[Token, ...]:
    """The words of a text's first line, as far as a shape shows it.

    `literal_string` takes the first quoted text as words: structured klog writes `"Failed to watch" err="…"`.
    """
    line = text[:RAW_LIMIT].partition("\n")[0]
    cut = len(line) == RAW_LIMIT
    tokens: list[Token] = []
    pieces: list[Piece] = []
    before, used = "", 0

    def flush() -> None:
        nonlocal pieces
        if pieces:
            tokens.append(Token(tuple(pieces), before))
            pieces = []

    for piece in _pieces(line, literal_string):
        for i, part in enumerate(_SPACE.split(piece.text)) if not piece.kind else [(0, piece.text)]:
            if i % 2:
                flush()
                before = part
                used += len(part)
            elif part:
                shown = f"<{piece.kind}>" if piece.kind else part
                room = BLANKED_LIMIT - used
                if len(shown) > room:
                    if not piece.kind and not tokens and room > 0:  # one long word: its beginning
                        pieces.append(Piece("", part[:room]))
                        flush()
                    return tuple(tokens)
                used += len(shown)
                pieces.append(Piece(piece.kind, part))
    if not cut:  # else the last word may go on
        flush()
    return tuple(tokens)


def _pieces(line: str, literal_string: bool) -> Iterable[Piece]:
    at = 0
    while m := _PIECES.search(line, at):
        kind = m.lastgroup or GAP
        if kind == "string" and literal_string:
            literal_string = False
            yield Piece("", line[at : m.start() + 1])
            yield from _pieces(m[0][1:-1], False)
            yield Piece("", m[0][-1])
        else:
            yield Piece("", line[at : m.start()])
            yield Piece(kind, m[0])
        at = m.end()
    yield Piece("", line[at:])


def require() -> Any:
    """Drain's class. Raises MeshdiagError, which says how to install it."""
    try:
        from drain3.drain import Drain
    except ImportError:
        raise MeshdiagError(INSTALL) from None
    return Drain


def mine(texts: Sequence[tuple[Token, ...]]) -> list[list[int]]:
    """The groups of texts (their indexes) that share a template. The order of `texts` decides: sort them first."""
    drain = require()(sim_th=SIMILARITY, param_str="<*>")
    groups: dict[int, list[int]] = {}
    for i, tokens in enumerate(texts):
        cluster, _ = drain.add_log_message(" ".join(t.key for t in tokens))
        groups.setdefault(cluster.cluster_id, []).append(i)
    return list(groups.values())


def template(texts: Sequence[tuple[Token, ...]]) -> tuple[Piece, ...]:
    """What texts of the same number of words share: literal pieces joined, blanks included; what varies between.

    A literal piece "\\t" stands for any blanks, where these are not one blank in every text.
    """
    out: list[Piece] = []
    for column in zip(*texts, strict=True):
        if out:
            out.append(Piece("", " " if all(t.before == " " for t in column) else "\t"))
        first = column[0]
        if all(t.key == first.key for t in column):
            out += _settled(first.pieces)
        elif any(p.kind in ("string", "time", GAP) for t in column for p in t.pieces):
            out.append(Piece(GAP, ""))  # these may hold blanks
        else:
            out.append(Piece(WORD, "".join(p.text for p in first.pieces)))
    return tuple(_joined(out))


def _settled(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces of a word, where two that vary have a character between them that neither can take.

    Else `1.2.3` would be three numbers with dots, which an expression could share out in many ways, and try them all.
    """
    out: list[Piece] = []
    last = -1  # where in `out` the last varying piece stands with only soft text behind it
    for p in pieces:
        if p.kind in ("string", GAP) or (not p.kind and not _SOFT.fullmatch(p.text)):
            last = -1
        elif p.kind and last >= 0:
            merged = "".join(q.text for q in out[last:]) + p.text
            timed = p.kind == "time" or out[last].kind in ("time", GAP)
            out[last:] = [Piece(GAP if timed else RUN, merged)]
            continue
        elif p.kind:
            last = len(out)
        out.append(p)
    return out


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    out: list[Piece] = []
    for p in pieces:
        if out and not p.kind and not out[-1].kind:
            out[-1] = Piece("", out[-1].text + p.text)
        else:
            out.append(p)
    return out


def segments(pieces: Sequence[Piece]) -> list[tuple[bool, tuple[Piece, ...]]]:
    """The parts of a template between its gaps: (does it begin where the text begins, pieces), most letters first.

    A part in the middle begins with literal text: an expression that begins with anything would be tried everywhere.
    """
    parts: list[list[Piece]] = [[]]
    for p in pieces:
        if p.kind == GAP:
            parts.append([])
        else:
            parts[-1].append(p)
    found: list[tuple[bool, tuple[Piece, ...]]] = []
    for i, part in enumerate(parts):
        start = 0
        while i and start < len(part) and part[start].kind:
            start += 1
        if part[start:]:
            found.append((i == 0, tuple(part[start:])))
    return sorted(found, key=lambda f: -letters(f[1]))


def letters(pieces: Iterable[Piece]) -> int:
    """How much the literal text tells: the number of letters of its different words."""
    return sum(map(len, {w for p in pieces if not p.kind for w in re.findall(r"[A-Za-z]+", p.text)}))
