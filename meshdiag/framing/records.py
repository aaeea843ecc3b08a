"""Records, one by one, to rows: every format, in every wrapper. The columnar path gives the same for the lines it takes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from meshdiag.diagnosis.subjects import workload_of
from meshdiag.formats.access import NAME as ACCESS_LOG
from meshdiag.formats.ztunnel import ACCESS_NAME as ZTUNNEL_ACCESS
from meshdiag.framing.batch import NAT, Batch, Vocabulary, clean
from meshdiag.framing.columns import BY_NAME, COLUMNS, Column, Type
from meshdiag.model import Record

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
INTEGER = re.compile(r"0|[1-9][0-9]{0,17}")
"""An integer that a column can hold and that is written again as it was."""

_DERIVED: Final = frozenset({"traffic", "upstream_chosen", "upstream_connected", "sni"})
"""Fields of an access log that other columns tell."""

_LOGS: Final = frozenset({"istio-log", "envoy-log", "klog", "ztunnel-log"})


def microseconds(time: datetime | None) -> int:
    """Since 1970; NAT for None."""
    return NAT if time is None else (time - _EPOCH) // _MICROSECOND


@cache
def _columns_of(kind: str) -> Mapping[str, tuple[Column, ...]]:
    """The columns that a field of a record of this kind goes to."""
    found: dict[str, tuple[Column, ...]] = {}
    group = "logs" if kind in _LOGS else kind
    for column in COLUMNS:
        if group in column.of.split(", ") or column.name in ("direction", "unparsed"):
            found[column.source] = (*found.get(column.source, ()), column)
    if kind == ZTUNNEL_ACCESS:
        found["bytes_recv"] = (BY_NAME["bytes_received"],)  # ztunnel's own name
    return found


def values(record: Record) -> dict[str, Any]:
    """What the columns say of a record, by their names: texts, integers, microseconds; what is missing is left out."""
    origin = record.origin
    row: dict[str, Any] = {
        "kind": record.format,
        "time": microseconds(record.time),
        "path": origin.path,
        "offset": record.offset,
        "previous": origin.previous,
        "text": record.text,
    }
    places = {
        "cluster": origin.cluster,
        "namespace": origin.namespace,
        "pod": origin.pod,
        "container": origin.container,
        "workload": workload_of(origin.pod),
        "component": record.component,
        "level": record.level,
        "message": record.message,
    }
    row |= {k: v for k, v in places.items() if v}
    columns, access = _columns_of(record.format), record.format == ACCESS_LOG
    others: dict[str, str] = {}
    for name, value in record.fields.items():
        if name == "duration" and record.format == ZTUNNEL_ACCESS and INTEGER.fullmatch(value.removesuffix("ms")):
            # it writes `49ms` (src/proxy/metrics.rs)
            value = value.removesuffix("ms")
        if access and (name in _DERIVED or (name == "start_time" and record.time is not None)):
            continue
        kept = False
        for column in columns.get(name, ()):
            if column.type is not Type.INTEGER:
                row[column.name], kept = value, True
            elif INTEGER.fullmatch(value):
                row[column.name], kept = int(value), True
        if not kept and value:
            others[name] = value
    if others:
        row["fields"] = json.dumps(others, ensure_ascii=False)
    return row


def batch(rows: Sequence[Mapping[str, Any]], names: Sequence[str], vocabulary: Vocabulary) -> Batch:
    """Rows, as `values` gives them, in columns."""
    makers: Mapping[Type, Callable[[str, Sequence[Any]], Any]] = {
        Type.CATEGORY: lambda name, vs: np.array([vocabulary[name].code(v) for v in vs], np.int32),
        Type.INTEGER: lambda _, vs: (
            np.array([v or 0 for v in vs], np.int64),
            np.array([v is None for v in vs], bool),
        ),
        Type.TEXT: lambda _, vs: pa.array([None if v is None else clean(v) for v in vs], pa.large_string()),
        Type.TIME: lambda _, vs: np.array(vs, np.int64),
        Type.OFFSET: lambda _, vs: np.array(vs, np.int64),
        Type.FLAG: lambda _, vs: np.array(vs, bool),
    }
    columns = {n: makers[BY_NAME[n].type](n, [r.get(n) for r in rows]) for n in names}
    return Batch.of(len(rows), columns)
