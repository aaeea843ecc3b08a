"""Many failing access lines: equal ones are counted without being taken apart.

In an incident half of an access log may fail. What decides about a line of today's default format is a handful of its values:
lines that agree in them agree in pattern, cause and subject, so the first goes the whole way and the others are counted
by one look-up. The result is the same (tests/engine), at about a quarter of the cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import Any

from meshdiag.diagnosis.findings import Findings, Tally
from meshdiag.diagnosis.requests import HopKey
from meshdiag.engine.classify import Classifier, Outcome
from meshdiag.formats.access import DERIVED, NAME, NEWEST_FIELDS, newest

MEMO_SIZE = 20_000

_BY_VALUE = ("method", "protocol", "upstream_cluster", "requested_server_name", "route_name")
_BY_PRESENCE = ("upstream_host", "upstream_local_address")


@dataclass(slots=True)
class Known:
    """Where equal lines are counted: in a tally, or nowhere (they are healthy, or known as harmless)."""

    tally: Tally | None
    pattern: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    harmless: bool = False
    hop: HopKey | None = None
    """Where failing requests are counted by their id."""
    signal: bool = False


class Dense:
    """Counts lines of one stream. `whole(text, offset)` takes the first of a kind all the way."""

    def __init__(
        self,
        classifier: Classifier,
        found: Findings,
        path: str,
        place: str,
        whole: Callable[[str, int], Known | None],
    ) -> None:
        names, outcomes = classifier.depends_on(NAME)
        index = {n: i for i, n in enumerate(NEWEST_FIELDS)}
        wanted = {n for n in names if n in index} | {r for n in names for r in DERIVED.get(n, ())} | set(_BY_VALUE)
        # of an address only whether there is one matters to what is derived from it
        wanted -= {n for n in _BY_PRESENCE if n not in names}
        self._values = itemgetter(*sorted(index[n] for n in wanted))
        self._outcomes: list[tuple[int, Outcome]] = [(index[n], test) for n, test in outcomes if n in index]
        self._host, self._local = (index[n] for n in _BY_PRESENCE)
        self._flags, self._authority = index["response_flags"], index["authority"]
        self._time, self._request = index["start_time"], index["request_id"]
        self._memo: dict[Any, Known | None] = {}
        self._found, self._path, self._place, self._whole = found, path, place, whole

    def take(self, text: str, offset: int) -> bool:
        """Whether the line was of the format, and is counted."""
        match = newest(text)
        if match is None:
            return False
        values = match.groups()
        key = (
            self._values(values),
            values[self._host] == "-",
            values[self._local] == "-",
            values[self._authority] if values[self._flags] == "NR" else None,
            *[test(None if (v := values[i]) == "-" else v) for i, test in self._outcomes],
        )
        try:
            known = self._memo[key]
        except KeyError:
            if len(self._memo) >= MEMO_SIZE:
                self._memo.clear()
            self._memo[key] = self._whole(text, offset)
            return True
        if known is None or known.signal:
            self._whole(text, offset)
            return True
        try:
            time = datetime.fromisoformat(values[self._time])
        except ValueError:
            self._whole(text, offset)
            return True
        if time.tzinfo is None:
            self._whole(text, offset)
            return True
        found = self._found
        if known.tally is None:
            found.harmless += known.harmless
            return True
        found.matched += 1
        found.see(time)
        request_id = values[self._request]
        seconds = time.timestamp()
        if known.hop is not None and request_id != "-":
            found.requests.add(known.hop, request_id, seconds)
        known.tally.count_one(known.pattern, time, self._place, self._path, offset, text, known.facts, seconds)
        return True
