"""Many failing access lines: equal ones are counted without being taken apart.

In an incident half of an access log may fail. What decides about a line of today's default format is a handful of its values:
lines that agree in them agree in pattern, cause and subject, so the first goes the whole way and the others are counted
by one look-up. The result is the same (tests/engine), at about a quarter of the cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from meshdiag.diagnosis import signals
from meshdiag.diagnosis.findings import SAMPLES, Findings, Key
from meshdiag.diagnosis.requests import HopKey
from meshdiag.diagnosis.signals import Name
from meshdiag.engine.classify import Classifier, Outcome, is_absent
from meshdiag.formats.access import DERIVED, NAME, NEWEST_FIELDS, newest
from meshdiag.lazyre import lazy
from meshdiag.model import Origin

MEMO_SIZE = 20_000
MAX_PENDING = 20_000
"""Lines that wait to be counted together."""


_BY_VALUE = ("method", "protocol", "upstream_cluster", "requested_server_name", "route_name")
_TIME = lazy(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{3}Z)")
_BY_PRESENCE = ("upstream_host", "upstream_local_address")


Row = tuple[float, int, str]
"""Of a line: seconds since 1970, offset, request id."""


@dataclass(slots=True)
class Known:
    """Where equal lines are counted: under a cause and subject, or nowhere (they are healthy, or known as harmless).

    hop     where failing requests are counted by their id
    signal  under which name times are noted for sequences
    rows    lines that are not counted yet
    texts   offset and text of the first of them
    latest  seconds, offset and text of the last in time, of a signal
    """

    key: Key | None
    pattern: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    harmless: bool = False
    hop: HopKey | None = None
    signal: Name | None = None
    rows: list[Row] = field(default_factory=list)
    texts: list[tuple[int, str]] = field(default_factory=list)
    latest: Row = (-1.0, -1, "")


class Dense:
    """Counts lines of one stream: `take` them, then `flush`.

    `whole(text, offset)` takes the first of a kind all the way.
    """

    def __init__(
        self,
        classifier: Classifier,
        found: Findings,
        origin: Origin,
        place: str,
        whole: Callable[[str, int], Known | None],
    ) -> None:
        names, outcomes = classifier.depends_on(NAME)
        index = {n: i for i, n in enumerate(NEWEST_FIELDS)}
        wanted = {n for n in names if n in index} | {r for n in names for r in DERIVED.get(n, ())} | set(_BY_VALUE)
        # of an address only whether there is one matters to what is derived from it
        wanted -= {n for n in _BY_PRESENCE if n not in names}
        self._values = itemgetter(*sorted(index[n] for n in wanted))
        tests: dict[int, list[Outcome]] = {}
        for n, test in outcomes:
            if n in index:
                tests.setdefault(index[n], []).append(test)
        presence = {index[n] for n in _BY_PRESENCE} | {i for i, some in tests.items() if set(some) == {is_absent}}
        self._presence = itemgetter(*sorted(presence))
        for i in presence:
            if set(tests.get(i, ())) <= {is_absent}:
                tests.pop(i, None)
        self._tests = tests
        self._outcomes: list[tuple[int, dict[str, int]]] = [(i, {}) for i in tests]
        """Of each such field: what its tests say of the values that came so far, as the number of that outcome."""
        self._numbers: dict[tuple[object, ...], int] = {}
        self._flags, self._authority = index["response_flags"], index["authority"]
        self._time, self._request = index["start_time"], index["request_id"]
        self._memo: dict[Any, Known | None] = {}
        self._found, self._origin, self._place, self._whole = found, origin, place, whole
        self._seconds: dict[str, float] = {}
        self._fractions: dict[str, float] = {}
        self._touched: list[Known] = []
        self._pending = 0

    def take(self, text: str, offset: int) -> bool:
        """Whether the line was of the format, and is counted."""
        match = newest(text)
        if match is None:
            return False
        values = match.groups()
        try:
            outcomes = [known[values[i]] for i, known in self._outcomes]
        except KeyError:
            outcomes = self._tested(values)
        key = (
            self._values(values),
            *map("-".__eq__, self._presence(values)),
            values[self._authority].lower() if values[self._flags] == "NR" else None,
            *outcomes,
        )
        try:
            known = self._memo[key]
        except KeyError:
            if len(self._memo) >= MEMO_SIZE:
                self._memo.clear()
            self._memo[key] = self._whole(text, offset)
            return True
        if known is None:
            self._whole(text, offset)
            return True
        if known.key is None and known.signal is None:
            self._found.harmless += known.harmless
            return True
        time = values[self._time]
        try:
            seconds = self._seconds[time[:19]] + self._fractions[time[19:]]
        except KeyError:
            moment = self._learn(time)
            if moment is None:
                self._whole(text, offset)
                return True
            seconds = moment
        rows = known.rows
        if not rows:
            self._touched.append(known)
        if len(rows) < SAMPLES:
            known.texts.append((offset, text))
        rows.append((seconds, offset, values[self._request]))
        if known.signal is not None and (seconds, offset) >= known.latest[:2]:
            known.latest = seconds, offset, text
        self._pending += 1
        if self._pending >= MAX_PENDING:
            self.flush()
        return True

    def _learn(self, time: str) -> float | None:
        """The seconds of a time, and of its second and its fraction for the lines to come; None when it is no time of this sort."""
        match = _TIME.fullmatch(time)
        try:
            moment = datetime.fromisoformat(time)
        except ValueError:
            return None
        if moment.tzinfo is None:
            return None
        if match:
            for known in (self._seconds, self._fractions):
                if len(known) >= MEMO_SIZE:
                    known.clear()
            self._seconds[match[1]] = moment.replace(microsecond=0).timestamp()
            self._fractions[match[2]] = moment.microsecond / 1e6
        return moment.timestamp()

    def count_in(self, found: Findings) -> None:
        """From now on count into these findings; `flush` comes first."""
        self._found = found

    def flush(self) -> None:
        """Count what was taken since the last flush."""
        found, place, path = self._found, self._place, self._origin.path
        for known in self._touched:
            rows = known.rows
            first, last = min(rows), max(rows)
            if known.signal is not None:
                found.pods = signals.add_all(
                    found.pods, place, self._origin, known.signal, rows, known.texts[0], known.latest[2]
                )
            if known.key is None:
                found.harmless += known.harmless * len(rows)
            else:
                found.matched += len(rows)
                found.see(datetime.fromtimestamp(first[0], UTC))
                found.see(datetime.fromtimestamp(last[0], UTC))
                if known.hop is not None:
                    found.requests.add_all(known.hop, rows)
                found.tally(known.key).count_all(known.pattern, rows, place, path, known.texts, known.facts)
            known.rows, known.texts, known.latest = [], [], (-1.0, -1, "")
        self._touched, self._pending = [], 0

    def _tested(self, values: Sequence[str]) -> list[int]:
        out = []
        for i, known in self._outcomes:
            value = values[i]
            if value not in known:
                if len(known) >= MEMO_SIZE:
                    known.clear()
                field = None if value == "-" else value
                outcome = tuple([test(field) for test in self._tests[i]])
                known[value] = self._numbers.setdefault(outcome, len(self._numbers))
            out.append(known[value])
        return out
