"""Inputs of every sort to batches, chunks and frames."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from itertools import groupby
from typing import Any, Final, TypedDict

import numpy as np
import pandas as pd

from meshdiag.api import access_parser, aware
from meshdiag.catalogue import Catalogue
from meshdiag.engine.scan import ALARMING_LEVELS, Filters
from meshdiag.framing.batch import NAT, Batch, Vocabulary, missing
from meshdiag.framing.building import to_pandas
from meshdiag.framing.columns import DEFAULT, chosen
from meshdiag.framing.parquet import Stored, is_parquet
from meshdiag.framing.reading import Reading, Wanted
from meshdiag.framing.traffic import alarming
from meshdiag.model import Kind, MeshdiagError, Problem
from meshdiag.sources import open_inputs

MANY_WORDS: Final = 1_000_000
"""Categories with which the next chunk begins anew, so that ever new ones do not fill the memory."""

_STORED_FAILURES: Final = ("kind", "cause", "pattern", "response_code", "response_flags", "level", "type", "unparsed")


class Options(TypedDict, total=False):
    """What `frame`, `frames` and `to_parquet` are asked for; `frame` says what each means."""

    since: datetime | None
    until: datetime | None
    namespaces: Iterable[str]
    pods: Iterable[str]
    failures: bool
    columns: Iterable[str] | None
    text: bool
    patterns: Sequence[str | os.PathLike[str]]
    access_log_format: str | None
    catalogue: Catalogue | None
    pure: bool


class Gathering:
    """Reads inputs once. Raises MeshdiagError, at once, for what the user got wrong.

    names       the columns
    vocabulary  the words that the codes of a batch mean
    problems    what could not be read so far
    """

    def __init__(self, inputs: Sequence[Any], options: Options, *, columnar: bool = True) -> None:
        if not inputs:
            raise MeshdiagError("nothing to read: name a file, a folder, an archive, or - for standard input")
        self._options = options
        self.problems: list[Problem] = []
        self.vocabulary = Vocabulary()
        self._parts: list[list[Stored] | Iterator[Any]] = []
        stored: list[Stored] = []
        for parquet, some in groupby(inputs, is_parquet):
            if parquet:
                files = [Stored(one) for one in some]
                stored += files
                self._parts.append(files)
            else:
                self._parts.append(open_inputs([*some], self.problems.append))
        self.problems += [p for s in stored for p in s.problems]
        columns, text = options.get("columns"), options.get("text", False)
        self.names = chosen(columns, text)
        if columns is None and stored:  # what is stored comes back, and nothing else when there is nothing else
            only = all(isinstance(p, list) for p in self._parts)
            self.names = chosen(
                [n for n in (*DEFAULT, "text") if (not only and n in DEFAULT) or any(n in s.names for s in stored)],
                text,
            )
        filters = Filters(
            aware(options.get("since")),
            aware(options.get("until")),
            frozenset(options.get("namespaces", ())),
            frozenset(options.get("pods", ())),
        )
        self._wanted = Wanted(self.names, filters, options.get("failures", False), columnar)
        self._access_log = access_parser(options.get("access_log_format"))
        self._unplaced = 0
        self._rows: int | None = None
        if self._wanted.matches and len(stored) < len(inputs):
            self._catalogue  # noqa: B018  a broken pattern pack is told at once

    @cached_property
    def _catalogue(self) -> Catalogue:
        return self._options.get("catalogue") or Catalogue.load(*self._options.get("patterns", ()))

    def batches(self) -> Iterator[Batch]:
        """All rows, some at a time. `vocabulary` may be exchanged only before the next one is asked for, by `renew`."""
        for part in self._parts:
            if isinstance(part, list):
                for stored in part:
                    yield from self._stored(stored)
                continue
            for stream in part:
                for batch in self._reading.batches(stream):
                    if batch.rows:
                        yield batch
        unplaced = self._unplaced + (self._reading.unplaced if "_reading" in self.__dict__ else 0)
        if unplaced:
            what = f"{unplaced:,} records do not name their namespace or pod and were left out"
            self.problems.append(Problem("filter", what, "leave namespaces and pods away to see them"))

    @cached_property
    def _reading(self) -> Reading:
        catalogue = self._catalogue if self._wanted.matches else None
        return Reading(
            self._wanted,
            catalogue,
            self.vocabulary,
            self._access_log,
            self._options.get("pure", False),
            self.problems.append,
            rows=self._rows,
        )

    def chunks(self, rows: int) -> Iterator[Batch]:
        """Batches of `rows` rows; the last one, and one after very many categories, has less. At least one."""
        self._rows = rows
        waiting: list[Batch] = []
        count = given = 0
        for batch in self.batches():
            waiting.append(batch)
            count += batch.rows
            if count < rows:
                continue
            whole = Batch.joined(waiting)
            for start in range(0, count - rows + 1, rows):
                given += 1
                yield whole.slice(start, start + rows)
            rest = whole.slice(count - count % rows, count)
            waiting, count = [rest] if rest.rows else [], rest.rows
            if self.vocabulary.size > MANY_WORDS:
                if count:
                    yield waiting.pop()
                    count = 0
                self.vocabulary.renew()
        if count or not given:
            yield Batch.joined(waiting) if waiting else self.nothing()

    def nothing(self) -> Batch:
        """A batch without rows."""
        return Batch.of(0, {n: missing(0) for n in self._wanted.kept})

    def framed(self, batch: Batch, first: int = 0) -> pd.DataFrame:
        """A batch as a frame whose index begins with `first`."""
        frame = to_pandas(batch, self.vocabulary, self.names, first)
        frame.attrs["problems"] = [{"where": p.where, "what": p.what, "hint": p.hint} for p in self.problems]
        return frame

    # -- what is stored

    def _stored(self, stored: Stored) -> Iterator[Batch]:
        wanted, filters = self._wanted, self._wanted.filters
        asked = ["namespace", "object_namespace"] if filters.namespaces else []
        asked += ["pod"] if filters.pods else []
        asked += ["time", "path"] if filters.since or filters.until else []
        asked += _STORED_FAILURES if wanted.failures else []
        if lost := [n for n in asked if n not in stored.names]:
            raise MeshdiagError(f"{stored.path}: it has no column {', '.join(lost)}, by which it cannot be filtered")
        if lost := [n for n in wanted.kept if n not in stored.names]:
            self.problems.append(Problem(stored.path, f"has no column {', '.join(lost)}", "its rows have none there"))
        before = -1, NAT
        for batch in stored.batches([*dict.fromkeys((*wanted.kept, *asked))], self.vocabulary):
            mask = np.ones(batch.rows, bool)
            if "time" in asked and batch.rows:
                path, times = batch.plain("path"), batch.plain("time")
                times = _with_neighbours(path, times, before)
                before = int(path[-1]), int(times[-1])
                mask &= self._reading.in_time(times)
            for known, passes in self._named(batch, filters):
                mask &= passes
                self._unplaced += int(np.count_nonzero(~known))
            if wanted.failures:
                mask &= self._failed(batch)
            batch.columns = {n: batch.columns[n] for n in wanted.kept}
            yield batch if mask.all() else batch.take(mask)

    def _named(self, batch: Batch, filters: Filters) -> Iterator[tuple[Any, Any]]:
        """Of each filter by a name: which rows have one, and which pass."""
        if filters.namespaces:
            own, written = batch.plain("object_namespace"), batch.plain("namespace")
            codes = np.where(own >= 0, own, written)
            passes = self._among("namespace", written, filters.namespaces)
            yield codes >= 0, np.where(own >= 0, self._among("object_namespace", own, filters.namespaces), passes)
        if filters.pods:
            pod = batch.plain("pod")
            yield pod >= 0, self._among("pod", pod, filters.pods)

    def _among(self, name: str, codes: Any, words: Iterable[str]) -> Any:
        return np.isin(codes, [self.vocabulary[name].code(w) for w in words])

    def _failed(self, batch: Batch) -> Any:
        """As `engine.scan` tells it of a record: a failure's cause, or alarming and known to no pattern."""
        failures = [c.id for c in self._catalogue.causes.values() if c.kind is Kind.FAILURE]
        column = {n: batch.plain(n) for n in _STORED_FAILURES}
        access = self._among("kind", column["kind"], ["access-log"])
        event, text = self._among("kind", column["kind"], ["event"]), self._among("kind", column["kind"], ["text"])
        code, missing = column["response_code"]
        alarms = alarming(
            access,
            event,
            text,
            flagged=column["response_flags"] >= 0,
            code=np.where(missing, 0, code),
            warning=self._among("type", column["type"], ["Warning"]),
            level=self._among("level", column["level"], ALARMING_LEVELS),
            unparsed=column["unparsed"] >= 0,
        )
        return self._among("cause", column["cause"], failures) | (alarms & (column["pattern"] < 0))


def _with_neighbours(paths: Any, times: Any, before: tuple[int, int]) -> Any:
    """Times in which a missing one is that of the row before, of the same path; `before` are path and time of the one before all."""
    paths, times = np.concatenate(([before[0]], paths)), np.concatenate(([before[1]], times))
    known = times != NAT
    known[1:] |= paths[1:] != paths[:-1]
    known[0] = True
    last = np.maximum.accumulate(np.where(known, np.arange(len(known)), 0))
    return times[last][1:]
