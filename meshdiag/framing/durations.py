"""How long requests took on each edge: counted chunk by chunk, so that no frame is needed whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pandas as pd

from meshdiag.diagnosis.durations import rounded
from meshdiag.formats.access import NAME as ACCESS_LOG
from meshdiag.framing.traffic import ENDS, calls

_SERVERS: Final = ("request_id", "upstream_local_address", "downstream_remote_address")
"""By these `calls` tells who called a server; of a client's rows they say nothing."""

_UPGRADED: Final = 101

EDGES: Final = 4_000
"""Edges that are counted, as many as a diagnosis keeps; what comes after them is not."""

COLUMNS: Final = (*(n for n in ENDS if n not in _SERVERS), "method", "response_code", "duration")
"""What is needed of a frame."""


def durations(frames: Iterable[pd.DataFrame]) -> dict[tuple[str, str], dict[int, int]]:
    """(source, destination) -> milliseconds -> requests, the ends named as `df.mesh.edges()` names them.

    frames  chunks of `meshdiag.frames` with COLUMNS

    `duration` of the client's rows counts: from the request's first byte to the answer's last, failed ones too. Connections and
    WebSockets do not.
    """
    counts: dict[tuple[str, str], dict[int, int]] = {}
    for frame in frames:
        for (source, destination, ms), n in _counted(frame).items():
            if (source, destination) in counts or len(counts) < EDGES:
                own = counts.setdefault((source, destination), {})
                kept = rounded(int(ms))
                own[kept] = own.get(kept, 0) + int(n)
    return counts


def _counted(frame: pd.DataFrame) -> pd.Series[int]:
    """(source, destination, milliseconds) -> requests."""
    rows = frame[
        frame["kind"].eq(ACCESS_LOG) & frame["direction"].ne("inbound").fillna(True) & frame["duration"].notna()
        & frame["method"].notna() & frame["response_code"].ne(_UPGRADED).fillna(True)
    ]  # fmt: skip
    side = calls(rows.assign(**dict.fromkeys(_SERVERS, pd.Series(pd.NA, rows.index, "str"))))
    side["ms"] = rows["duration"].astype("int64")
    return side[side["client"]].groupby(["source", "destination", "ms"], observed=True).size()
