"""`df.mesh`: a frame that was filtered by hand is diagnosed again.

The rows are written as lines again, at their offsets, and the engine reads them as it reads a file: so the findings are those
of the lines, whatever was filtered. With the column `text` the lines are as they were. Without it those of an access log
are made of their columns.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from meshdiag.api import Setup
from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import Diagnosis, Findings
from meshdiag.engine.classify import Classifier
from meshdiag.engine.scan import BLOCK, Filters, Scanner
from meshdiag.formats.access import DERIVED, NAME, NEWEST_FIELDS, newest
from meshdiag.framing.columns import COLUMNS
from meshdiag.model import MeshdiagError, Origin, Problem

_ORIGIN: Final = ("path", "cluster", "namespace", "pod", "container", "previous")
_NEEDED: Final = ("kind", "time", "path", "offset", "namespace", "pod", "container")
_SUBJECT: Final = frozenset(
    {"method", "protocol", "response_code", "response_flags", "request_id", "authority", "upstream_host"}
    | {"upstream_cluster", "upstream_local_address", "downstream_local_address", "requested_server_name", "route_name"}
)
"""Fields of an access log that tell what a finding is about, which requests failed, and by which pattern."""

_COLUMN: Final = {c.source: c.name for c in COLUMNS if c.of == NAME and c.name != "flags"}
_OWN_FIELDS: Final = tuple(n for n in NEWEST_FIELDS if n != "start_time")
_GAP: Final = 1 << 16
"""Bytes between two rows beyond which a new block begins."""


class Mesh:
    """The accessor `df.mesh`."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def diagnose(
        self,
        *,
        patterns: Sequence[str | os.PathLike[str]] = (),
        access_log_format: str | None = None,
        catalogue: Catalogue | None = None,
        pure: bool = False,
    ) -> Diagnosis:
        """Diagnose the rows: of all rows of a file the findings are those of the file.

        The options are those of `diagnose`. Needs the columns that say what a record is and where it stands, and the column `text`
        (`frame(..., text=True)`) or, of an access log, the columns that patterns look at: MeshdiagError names what is missing.
        """
        book = catalogue or Catalogue.load(*patterns)
        setup = Setup(tuple(os.fspath(p) for p in patterns), access_log_format, Filters(), pure)
        scanner = setup.scanner(book)
        frame = self._frame
        _check(frame, scanner)
        found = Findings()
        for origin, rows in _origins(frame):
            _scan(scanner, origin, rows, found)
        problems = frozenset(Problem(**p) for p in frame.attrs.get("problems", ()))
        return Diagnosis(Findings() + found + Findings(problems=problems), book)


def register() -> None:
    """Gives every DataFrame `mesh`."""
    if not hasattr(pd.DataFrame, "mesh"):
        pd.api.extensions.register_dataframe_accessor("mesh")(Mesh)


def _check(frame: pd.DataFrame, scanner: Scanner) -> None:
    if lost := [n for n in _NEEDED if n not in frame.columns]:
        raise MeshdiagError(f"the frame has no column {', '.join(lost)}: without it its rows cannot be diagnosed")
    if "text" in frame.columns:
        return
    whole = (frame["kind"] == NAME) & (frame["unparsed"].isna() if "unparsed" in frame.columns else True)
    if not whole.all():
        kinds = sorted({str(k) for k in frame.loc[~whole, "kind"].dropna()})
        raise MeshdiagError(
            f"the frame has no column text, which rows of {', '.join(kinds)} need: make it with frame(..., text=True)"
        )
    asked = {_COLUMN[f] for f in _asked(scanner.classifier) | _SUBJECT if f in _COLUMN}
    if lost := sorted(asked - {*frame.columns}):
        raise MeshdiagError(f"the frame has no column text, so it needs {', '.join(lost)} to be diagnosed")


def _asked(classifier: Classifier) -> set[str]:
    """The fields that patterns of an access log look at, by the names that a line has."""
    names, outcomes = classifier.depends_on(NAME)
    return {source for n in (*names, *(n for n, _ in outcomes)) for source in DERIVED.get(n, (n,))} & {*_OWN_FIELDS}


def _origins(frame: pd.DataFrame) -> Iterator[tuple[Origin, pd.DataFrame]]:
    """The rows of each origin, in the order of the file."""
    names = [n for n in _ORIGIN if n in frame.columns]
    for key, rows in frame.groupby(names, observed=True, dropna=False, sort=False):
        values = {n: v for n, v in zip(names, key, strict=True) if not pd.isna(v)}
        values["path"] = values.get("path", "")
        yield Origin(**values), rows.sort_values("offset", kind="stable")


def _scan(scanner: Scanner, origin: Origin, rows: pd.DataFrame, found: Findings) -> None:
    part = scanner.part(origin, found)
    block, base = bytearray(), 0
    lines = _lines(rows, scanner)
    for offset, line in zip(rows["offset"].tolist(), lines, strict=True):
        gap = offset - base - len(block)
        if block and (gap < 0 or gap > _GAP or len(block) + len(line) > BLOCK):
            part.process(block, len(block), base)
            block, gap = bytearray(), 0
        if not block:
            base, gap = offset, 0
        block += b"\n" * gap
        block += line
        block += b"\n"
        found.bytes += len(line) + 1
        found.lines += line.count(b"\n") + 1
    if block:
        part.process(block, len(block), base, last=True)
    part.finish()


# --- rows to lines ------------------------------------------------------------------------------------------------


def _lines(rows: pd.DataFrame, scanner: Scanner) -> Iterator[bytes]:
    if "text" not in rows.columns:
        yield from _access_lines(rows)
        return
    for kind, text, time in zip(rows["kind"], rows["text"], rows["time"], strict=True):
        if kind != NAME or newest(text) is None:
            text = _timed(text, time, scanner)
        yield text.encode("utf-8", "replace")


def _timed(text: str, time: pd.Timestamp, scanner: Scanner) -> str:
    """The text, behind the time that only its wrapper told."""
    if time is pd.NaT or scanner.parse(text).time is not None:
        return text
    head = f"{time.isoformat().replace('+00:00', 'Z')} stdout F "
    return "\n".join(head + line for line in text.split("\n"))


def _access_lines(rows: pd.DataFrame) -> Iterator[bytes]:
    """Lines of today's default format; JSON where a value would not be read again as it is."""
    columns = [_COLUMN[f] for f in _OWN_FIELDS]
    values = [_texts(rows[c]) if c in rows.columns else ["-"] * len(rows) for c in columns]
    others = rows["fields"] if "fields" in rows.columns else [None] * len(rows)
    for time, other, *own in zip(_times(rows["time"]), others, *values, strict=True):
        start, *fields = time, *own
        line = _FORM % (start, *fields)
        match = newest(line) if not isinstance(other, str) else None
        if match is None or match.groups() != (start, *fields):
            members = dict(zip(NEWEST_FIELDS, (start, *fields), strict=True))
            line = json.dumps({**(json.loads(other) if isinstance(other, str) else {}), **members})
        yield line.encode("utf-8", "replace")


_FORM: Final = '[%s] "%s %s %s" %s %s %s %s "%s" %s %s %s %s "%s" "%s" "%s" "%s" "%s" %s %s %s %s %s %s'


def _texts(column: pd.Series[Any]) -> list[str]:
    """As Envoy writes them: `-` for what is missing."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        words = [*column.cat.categories.astype(str), "-"]
        return [words[c] for c in column.cat.codes]
    return ["-" if v is pd.NA or v != v else str(v) for v in column.tolist()]


def _times(column: pd.Series[Any]) -> list[str]:
    utc = column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("M8[us]")
    return ["-" if t == "NaT" else f"{t.removesuffix('000')}Z" for t in np.datetime_as_string(utc, unit="us").tolist()]
