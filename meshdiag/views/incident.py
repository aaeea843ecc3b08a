"""The incident in a few lines, as text and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from meshdiag.diagnosis import Diagnosis
from meshdiag.diagnosis.incident import Going, Impact, Incident, incident
from meshdiag.views.amounts import clock, duration, number, percent, plural, several_days
from meshdiag.views.safe import columns, one_line
from meshdiag.views.style import Style

LABEL = 9
SHOWN = 3
"""Root causes that a line of the block tells of."""

_NEVER = datetime.min.replace(tzinfo=UTC)

KNOWN_MINUTES = 1.0
"""Minutes before an onset from which it is said that nothing failed then."""


def incident_lines(diagnosis: Diagnosis, width: int, style: Style) -> Iterator[str]:
    """Impact, onset, spread and state in at most four lines of `width` columns; none without a failure."""
    room = max(20, width - LABEL)
    for label, text in _said(incident(diagnosis), room):
        yield style(f"{label:<{LABEL}}", "dim") + one_line(text, room)


def _said(it: Incident, room: int) -> Iterator[tuple[str, str]]:
    if it.state is Going.NONE:
        return
    yield "impact", _impact(it, room)
    if began := _onset(it, room):
        yield "onset", began
    if spread := _spread(it):
        yield "spread", spread
    yield "state", _state(it)


def _fit(parts: Sequence[str], room: int) -> str:
    """The parts in a row, as many as there is room for (at most SHOWN), and how many more there are."""
    for n in range(min(SHOWN, len(parts)), 0, -1):
        said = ", ".join(parts[:n]) + (f", {len(parts) - n} more" if len(parts) > n else "")
        if columns(said) <= room or n == 1:
            return said
    return ""


def _requests(i: Impact, word: str = "") -> str:
    """`20 of 58 requests (34 %)`, `about 1,200 requests`; of a symptom's requests with its rank."""
    failed, about = i.failed or 0, "about " * i.about
    seen_as = [] if i.shown_by == i.rank else [f"in #{i.shown_by}"]
    if i.total is None:
        return f"{about}{failed:,}{word}" + (f" ({seen_as[0]})" if seen_as else "")
    return f"{failed:,} of {about}{i.total:,}{word} ({', '.join([percent(failed, i.total), *seen_as])})"


def _impact(it: Incident, room: int) -> str:
    counted = [i for i in it.impacts if i.failed is not None]
    if not counted:
        return "no failed request is in these logs"
    if len(counted) == 1:
        i = counted[0]
        number_ = f"#{i.rank} " * (len(it.impacts) > 1)
        return f"{number_}{_requests(i, ' request' + 's' * ((i.total or i.failed) != 1))} failed"
    whole = "failed requests: " if it.failed is None else f"{'about ' * it.about}{it.failed:,} requests failed: "
    return whole + _fit([f"#{i.rank} {_requests(i)}" for i in counted], room - len(whole))


def _onset(it: Incident, room: int) -> str:
    known = [i for i in it.impacts if i.began is not None]
    dated = several_days(it.first, it.end)
    numbered = len(it.impacts) > 1
    return _fit([f"#{i.rank} " * numbered + _began(i, dated, brief=n > 0) for n, i in enumerate(known)], room)


def _began(i: Impact, dated: bool, brief: bool) -> str:
    b = i.began
    assert b is not None
    at = clock(b.at, dated, seconds=False)
    if b.quiet < KNOWN_MINUTES:
        return f"from the first lines on ({at})"
    if b.before:
        per = [("a minute", 1), ("an hour", 60), ("a day", 1440)]
        unit, n = next(((u, n) for u, n in per if b.before * n >= 0.095), per[-1])
        return f"rose at {at} from {number(b.before * n)} to {number(b.after * n)} {unit}"
    quiet = f"{round(b.quiet)} min" if b.quiet < 120 else duration(b.quiet * 60)
    return f"began {at}" + ("" if brief else f", none in the {quiet} before")


def _spread(it: Incident) -> str:
    s = it.spread
    parts = []
    if s.edges:
        far = [plural(s.clients, "client")] * bool(s.clients) + [plural(s.services, "destination")] * bool(s.services)
        parts.append(plural(s.edges, "edge") + (f" ({', '.join(far)})" if s.edges > 1 and far else ""))
    for n, one in ((s.workloads, "workload"), (s.pods, "pod")):
        if n:
            parts.append(plural(n, one))
    if s.files and not s.pods:
        parts.append(plural(s.files, "file"))
    return ", ".join(parts)


def _state(it: Incident) -> str:
    dated = several_days(it.first, it.end)
    by = {state: [i for i in it.impacts if i.quiet.state is state] for state in Going}
    ongoing, over = by[Going.ONGOING], by[Going.OVER]
    if ongoing:
        latest = max((i.quiet for i in ongoing if i.quiet.last), key=lambda q: q.last or _NEVER, default=None)
        some = f" ({_ranks(ongoing)})" if len(it.impacts) > len(ongoing) else ""
        said = f"ongoing{some}"
        if latest is not None and latest.last is not None:
            said += f", last at {clock(latest.last, dated)}"
            if latest.seconds is not None:
                said += (
                    ", as the log ends" if latest.seconds < 1 else f", {duration(latest.seconds)} before the log ends"
                )
        return said + (f"; over: {_ranks(over)}" if over else "")
    if over and not by[Going.UNKNOWN]:
        last = max((i.quiet.last for i in over if i.quiet.last), default=None)
        silent = min((i.quiet.seconds for i in over if i.quiet.seconds is not None), default=None)
        said = "over"
        if silent is not None and silent >= 1:
            said += f", none in the last {duration(silent)}"
        return said + (f" (last at {clock(last, dated)})" if last else "")
    return "not known: the lines have no times" + (f"; over: {_ranks(over)}" if over else "")


def _ranks(some: Sequence[Impact]) -> str:
    more = f" and {len(some) - 4} more" if len(some) > 4 else ""
    return ", ".join(f"#{i.rank}" for i in some[:4]) + more


def incident_facts(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """(what, text) of impact, onset, spread and state; empty without a failure."""
    return list(_said(incident(diagnosis), 400))


def incident_markdown(diagnosis: Diagnosis) -> list[str]:
    """The block as a list, for the Markdown report; empty without a failure."""
    from meshdiag.views.markdown import cell  # which may show the block itself

    return [f"- **{label}**: {cell(text)}" for label, text in incident_facts(diagnosis)]
