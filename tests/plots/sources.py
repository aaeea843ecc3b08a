"""What is plotted in the tests: samples, and logs whose names are attacks on the drawing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import cycle

import meshdiag
from meshdiag.catalogue import Catalogue
from tests.conftest import access_line

NASTY = (
    "$\\frac{1}{2$", "$x$", "a$b$c", "\\$", "_hidden", "{0}", "%s", "<b>&amp;</b>", "--><script>", "\x1b[31mred", "\u202eleft",
    "名前", "a" * 300, "", " ",
)  # fmt: skip
"""Hosts that are mathtext, markup, control characters, very long, or nothing."""

ANSWERS = (
    ("503", "UF", "upstream_reset_before_response_started{remote_connection_failure}"), ("503", "UH", "no_healthy_upstream"),
    ("504", "UT", "response_timeout"), ("503", "UO", "overflow"), ("429", "RL", "request_rate_limited"),
    ("0", "DC", "downstream_remote_disconnect"), ("404", "NR", "route_not_found"), ("200", "-", "via_upstream"),
)  # fmt: skip


def nasty_lines() -> list[str]:
    """Failures on edges whose hosts are NASTY."""
    begin = datetime(2026, 11, 22, tzinfo=UTC)
    out = []
    for i, (name, (code, flags, details)) in enumerate(zip(NASTY * 8, cycle(ANSWERS))):
        time = (begin + timedelta(seconds=40 * i)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        host = name.replace(" ", "").replace("|", "")
        out.append(
            access_line(
                code,
                flags,
                details,
                time=time,
                authority=host,
                request_id=f"id-{i}",
                path=f"/{host}",
                cluster=f"outbound|80||{host or 'x'}.shop.svc.cluster.local",
            )
        )
    return out


def many_lines(destinations: int) -> list[str]:
    """Failures of every kind on many edges, over two days."""
    begin = datetime(2026, 11, 22, tzinfo=UTC)
    out = []
    for i, (code, flags, details) in zip(range(4 * destinations), cycle(ANSWERS[:-1]), strict=False):
        time = (begin + timedelta(seconds=90 * i)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        cluster = f"outbound|80||service-{i // 4}-with-quite-a-long-name.shop.svc.cluster.local"
        out.append(access_line(code, flags, details, time=time, cluster=cluster, request_id=f"id-{i}"))
    return out


def nasty(catalogue: Catalogue) -> meshdiag.Diagnosis:
    """The diagnosis of NASTY lines."""
    return meshdiag.diagnose(nasty_lines(), catalogue=catalogue)
