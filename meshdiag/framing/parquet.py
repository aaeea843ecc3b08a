"""Batches to Parquet and back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from meshdiag.framing.batch import NAT, Batch, Vocabulary, Words, missing
from meshdiag.framing.building import to_pandas
from meshdiag.framing.columns import BY_NAME, COLUMNS, Type
from meshdiag.model import MeshdiagError, Problem

SUFFIX: Final = ".parquet"
_PROBLEMS: Final = b"meshdiag.problems"
_TYPES: Final[Mapping[Type, pa.DataType]] = {
    Type.TIME: pa.timestamp("us", "UTC"),
    Type.CATEGORY: pa.dictionary(pa.int32(), pa.string()),
    Type.TEXT: pa.large_string(),
    Type.INTEGER: pa.int64(),
    Type.OFFSET: pa.int64(),
    Type.FLAG: pa.bool_(),
    Type.LIST: pa.list_(pa.string()),
}


def is_parquet(one: Any) -> bool:
    """Whether an input names a Parquet file."""
    return isinstance(one, (str, os.PathLike)) and os.fspath(one).endswith(SUFFIX) and Path(one).is_file()


# --- out ----------------------------------------------------------------------------------------------------------


def schema(names: Sequence[str]) -> pa.Schema:
    """Of a file with these columns; it tells pandas the types of the frame."""
    nothing = Batch.of(0, {BY_NAME[n].source if BY_NAME[n].type is Type.LIST else n: missing(0) for n in names})
    known = pa.Schema.from_pandas(to_pandas(nothing, Vocabulary(), names), preserve_index=False).metadata
    return pa.schema([pa.field(n, _TYPES[BY_NAME[n].type]) for n in names], metadata=known)


def write(
    path: str | os.PathLike[str],
    names: Sequence[str],
    batches: Iterable[Batch],
    vocabulary: Mapping[str, Words],
    problems: Sequence[Problem],
) -> int:
    """Writes batches, a row group each, and the problems that there are at the end; the number of rows.

    The file appears when it is whole.
    """
    rows, final = 0, Path(path)
    part = final.with_name(f"{final.name}.part")
    wanted = schema(names)
    try:
        with pq.ParquetWriter(part, wanted) as out:
            for batch in batches:
                rows += batch.rows
                out.write_table(_table(batch, vocabulary, wanted))
            out.add_key_value_metadata({_PROBLEMS: json.dumps([[p.where, p.what, p.hint] for p in problems])})
        part.replace(final)
    finally:
        part.unlink(missing_ok=True)
    return rows


def _table(batch: Batch, vocabulary: Mapping[str, Words], wanted: pa.Schema) -> pa.Table:
    return pa.table([_arrow(f.name, batch, vocabulary) for f in wanted], schema=wanted)


def _arrow(name: str, batch: Batch, vocabulary: Mapping[str, Words]) -> Any:
    column = BY_NAME[name]
    values = batch.plain(column.source if column.type is Type.LIST else name)
    match column.type:
        case Type.CATEGORY:
            codes = pa.array(values, pa.int32(), mask=values < 0)
            return pa.DictionaryArray.from_arrays(codes, pa.array(list(vocabulary[name].index), pa.string()))
        case Type.INTEGER:
            return pa.array(values[0], pa.int64(), mask=values[1])
        case Type.TIME:
            return pa.array(values, pa.int64(), mask=values == NAT).cast(_TYPES[Type.TIME])
        case Type.LIST:
            words = pa.array([*(w.split(",") for w in vocabulary[column.source].index), []], _TYPES[Type.LIST])
            return words.take(pa.array(np.where(values < 0, len(words) - 1, values)))
        case _:
            return values


# --- in -----------------------------------------------------------------------------------------------------------


class Stored:
    """A Parquet file that `write` made, or pandas of a frame. Raises MeshdiagError for another one."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            self._file = pq.ParquetFile(path)
        except (OSError, pa.ArrowInvalid) as e:
            raise MeshdiagError(f"{self.path}: cannot be read as Parquet: {e}") from None
        there = set(self._file.schema_arrow.names)
        self.names = tuple(c.name for c in COLUMNS if c.name in there)
        if not {"kind", "offset"} <= there:
            raise MeshdiagError(f"{self.path}: no Parquet file of meshdiag: it has no columns 'kind' and 'offset'")
        found = json.loads((self._file.metadata.metadata or {}).get(_PROBLEMS, b"[]"))
        self.problems = [Problem(*p) for p in found]

    def batches(self, names: Sequence[str], vocabulary: Vocabulary) -> Iterator[Batch]:
        """The rows, a row group at a time; columns that the file does not have are missing in all rows."""
        there = [n for n in names if n in self.names]
        for group in range(self._file.num_row_groups):
            table = self._file.read_row_group(group, there)
            columns = {n: _array(n, table[n], vocabulary) for n in there}
            columns |= {n: missing(len(table)) for n in names if n not in columns}
            yield Batch.of(len(table), columns)


def _array(name: str, column: pa.ChunkedArray, vocabulary: Vocabulary) -> Any:
    kind = BY_NAME[name].type
    if kind is Type.CATEGORY:
        whole = column.cast(pa.string()).combine_chunks() if not pa.types.is_dictionary(column.type) else None
        encoded = whole.dictionary_encode() if whole is not None else column.unify_dictionaries().combine_chunks()
        words = [vocabulary[name].code(w) for w in encoded.dictionary.to_pylist()]
        codes = encoded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
        return np.array([*words, -1], np.int32)[codes]
    array = column.cast(_TYPES[kind]).combine_chunks()
    match kind:
        case Type.INTEGER:
            missing = array.is_null().to_numpy(zero_copy_only=False)
            return array.fill_null(0).to_numpy(zero_copy_only=False), missing
        case Type.TIME:
            return array.cast(pa.int64()).fill_null(NAT).to_numpy(zero_copy_only=False)
        case Type.TEXT:
            return array
        case _:
            return array.fill_null(False if kind is Type.FLAG else 0).to_numpy(zero_copy_only=False)
