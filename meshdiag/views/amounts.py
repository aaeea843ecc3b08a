"""Durations, times, rates and counts in words."""

from __future__ import annotations

from datetime import UTC, datetime


def duration(seconds: float) -> str:
    """`0.3 s`, `41 s`, `2 min 5 s`, `14 min`, `3 h 20 min`, `30 d`: two parts at most, none that is zero."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    n = round(seconds)
    if n < 120:
        return f"{n} s"
    if n < 600:
        return _two(n, 60, "min", 1, "s")
    if n < 7200:
        return f"{round(n / 60)} min"
    if n < 172_800:
        return _two(n, 3600, "h", 60, "min")
    return f"{n // 86_400:,} d"


def _two(n: int, big: int, name: str, small: int, rest_name: str) -> str:
    whole, rest = divmod(n, big)
    return f"{whole:,} {name}" + (f" {rest // small} {rest_name}" if rest // small else "")


def clock(time: datetime, dated: bool = False, seconds: bool = True) -> str:
    """`10:11:12`, with the date in front when `dated`; UTC."""
    form = "%H:%M:%S" if seconds else "%H:%M"
    return time.astimezone(UTC).strftime(f"%Y-%m-%d {form}" if dated else form)


def several_days(*times: datetime | None) -> bool:
    """Whether the times are of more than one day (UTC), so that a clock alone does not tell."""
    return len({t.astimezone(UTC).date() for t in times if t is not None}) > 1


def plural(n: int, one: str, many: str = "") -> str:
    """`1 pod`, `2 pods`, `2 proxies`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def percent(part: int, whole: int) -> str:
    """`0.04 %`, `4 %`, `100 %`; 100 only when it is all, 0 only when it is none."""
    share = 100 * part / whole
    if part >= whole:
        return "100 %"
    if share >= 99.5:
        return "over 99 %"
    if share >= 9.95 or part == 0:
        return f"{share:.0f} %"
    return f"{share:.1f} %" if share >= 0.1 else f"{share:.2g} %" if share >= 0.001 else "under 0.001 %"


def rate(a_minute: float) -> str:
    """`34 a minute`, `0.2 a minute`, `3 an hour`, `2 a day`."""
    for n, unit in ((1.0, "minute"), (60.0, "hour"), (1440.0, "day")):
        value = a_minute * n
        if value >= 0.995 or (unit == "minute" and value >= 0.095) or unit == "day":
            return f"{number(value)} {'an' if unit == 'hour' else 'a'} {unit}"
    return ""


def number(value: float) -> str:
    """`1,234`, `34`, `5.6`, `0.21`: two or three digits."""
    if value >= 9.95:
        return f"{value:,.0f}"
    return f"{value:.1f}".removesuffix(".0") if value >= 0.95 else f"{value:.2g}"
