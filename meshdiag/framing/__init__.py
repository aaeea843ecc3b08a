"""Logs as pandas DataFrames: one row per record, typed columns.

    df = meshdiag.frame("logs/")
    df[df.cause.notna()].groupby(["workload", "cause"], observed=True).size()

`frame` takes whatever `diagnose` takes, `frames` gives it in pieces, `to_parquet` keeps it. Importing this module gives every
DataFrame the accessor `df.mesh`. See docs/frames.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Unpack

try:
    import pandas as pd
    import pyarrow  # noqa: F401
except ImportError as e:
    raise ImportError(f"{e}; frames need pandas and pyarrow: pip install 'meshdiag[notebook]'") from e

from meshdiag.catalogue import Catalogue
from meshdiag.framing import accessor, parquet
from meshdiag.framing.batch import Batch
from meshdiag.framing.columns import COLUMNS, Column
from meshdiag.framing.gathering import Gathering, Options
from meshdiag.model import MeshdiagError

__all__ = ["COLUMNS", "Column", "frame", "frames", "to_parquet"]

ROWS = 500_000
"""Rows of a chunk when nothing else is said."""

accessor.register()


def frame(
    *inputs: Any,
    since: datetime | None = None,
    until: datetime | None = None,
    namespaces: Iterable[str] = (),
    pods: Iterable[str] = (),
    failures: bool = False,
    columns: Iterable[str] | None = None,
    text: bool = False,
    patterns: Sequence[str | os.PathLike[str]] = (),
    access_log_format: str | None = None,
    catalogue: Catalogue | None = None,
    pure: bool = False,
) -> pd.DataFrame:
    """One row per record, in the order of the inputs and their lines.

    inputs             what `diagnose` takes, and Parquet files that `to_parquet` wrote
    since, until       only records in this time (a naive time is UTC); records without a time go with their neighbours
    namespaces, pods   only records of these
    failures           only records of a cause that is a failure, or that are alarming and known to no pattern
    columns            only these, in this order; all but `text` when None
    text               add the column `text`: the line without its wrappers
    patterns           folders of further pattern packs
    access_log_format  an Envoy access log format string or JSON mapping, besides Istio's defaults
    catalogue          a loaded catalogue, instead of the built-in one with `patterns`
    pure               do without Hyperscan and the compiled reader (slower, same result)

    `attrs["problems"]` lists what could not be read, as mappings of `where`, `what` and `hint`. The result must fit in memory;
    `frames` gives it in chunks. Raises MeshdiagError for input that is not there, an unknown column, a broken pattern pack or
    format string.
    """
    options = Options(
        since=since,
        until=until,
        namespaces=namespaces,
        pods=pods,
        failures=failures,
        columns=columns,
        text=text,
        patterns=patterns,
        access_log_format=access_log_format,
        catalogue=catalogue,
        pure=pure,
    )
    work = Gathering(inputs, options)
    return work.framed(Batch.joined([*work.batches()] or [work.nothing()]))


def frames(*inputs: Any, rows: int = ROWS, **options: Unpack[Options]) -> Iterator[pd.DataFrame]:
    """What `frame` gives, in chunks of about `rows` rows, lazily and in bounded memory; the index goes on from chunk to chunk.

    There is at least one chunk. `attrs["problems"]` has what was met so far. Raises as `frame` does, when called.
    """
    if rows < 1:
        raise MeshdiagError(f"rows is {rows}: a chunk has at least one")
    return _framed(Gathering(inputs, options), rows)


def _framed(work: Gathering, rows: int) -> Iterator[pd.DataFrame]:
    first = 0
    for chunk in work.chunks(rows):
        yield work.framed(chunk, first)
        first += chunk.rows


def to_parquet(path: str | os.PathLike[str], *inputs: Any, rows: int = ROWS, **options: Unpack[Options]) -> int:
    """Writes what `frame` gives to a Parquet file, a row group of about `rows` rows at a time, in bounded memory; the number of rows.

    `frame(path)` reads it again, with the same columns, types and problems. Raises as `frame` does.
    """
    if rows < 1:
        raise MeshdiagError(f"rows is {rows}: a row group has at least one")
    work = Gathering(inputs, options)
    return parquet.write(path, work.names, work.chunks(rows), work.vocabulary, work.problems)
