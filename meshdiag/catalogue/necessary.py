"""What must stand in the raw bytes when a pattern holds: the prefilter's expressions.

A line reaches us in some encoding: JSON escapes quotes, backslashes, tabs and (Go) `<`, `>`, `&`; a container runtime or a
log shipper may have escaped it once more; old Envoy versions write blanks where new ones write underscores. So an expression is made
only of runs of characters that no encoding changes, and of the longest such run of a condition.
All expressions are in the common subset of Hyperscan and `re`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from meshdiag.catalogue.conditions import normal, texts

MIN_LITERAL = 5
"""Shorter runs stand in too many healthy lines to be worth a scan."""

_SAFE = re.compile(r"[A-Za-z0-9 ,.:;()=_{}\[\]|@%#+*$!?~^`-]+")
_BLANKABLE = frozenset(
    {
        "response_code_details",
        "connection_termination_details",
        "upstream_transport_failure_reason",
        "downstream_transport_failure_reason",
    }
)

Literals = frozenset[tuple[str, bool]]
"""Alternatives, one of which must stand in the text: (run, case-insensitive)."""


COMMON = (
    '[2026-11-22T10:00:00.000Z] "GET /api/v1/items HTTP/1.1" 200 - via_upstream - "-" 0 19 3 2 "-" "Mozilla/5.0 (X11; Linux) '
    'AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36" "41dbb472-e31e-457f-a70c-adbe2c9e9315" "reviews:9080" '
    '"10.0.0.7:9080" outbound|9080||reviews.default.svc.cluster.local 10.1.1.1:54556 10.96.0.1:9080 10.1.1.1:55722 - default '
    "inbound|9080|| outbound_.9080_._.reviews.default.svc.cluster.local PassthroughCluster allow_any InboundPassthroughCluster "
    '{"start_time":"","method":"","path":"","protocol":"HTTP/2","response_code":200,"response_flags":"-",'
    '"response_code_details":"via_upstream","connection_termination_details":null,"upstream_transport_failure_reason":null,'
    '"bytes_received":0,"bytes_sent":0,"duration":0,"upstream_service_time":"","x_forwarded_for":"","user_agent":"",'
    '"request_id":"","authority":"","upstream_host":"","upstream_cluster":"","upstream_local_address":"",'
    '"downstream_local_address":"","downstream_remote_address":"","requested_server_name":"","route_name":"default"} '
    "(Macintosh; Intel Mac OS X 10_15_7) Version/26.1 Mobile/15E148 (iPhone; CPU iPhone OS 18_6 like Mac OS X) (Windows NT 10.0; "
    "Win64; x64; rv:145.0) Firefox/145.0 (Linux; Android 14) Edg/126.0 okhttp/5.2.1 python-requests/2.32 Apache-HttpClient/5.3 "
    "(Java/21.0.3) (compatible; Googlebot/2.1; +http://www.google.com/bot.html) /healthz /ready /livez /metrics /login /logout "
    "/index.html /favicon.ico /static/assets/main.js /v1/version /status /search?q= /users /orders /products /token /callback "
    "kube-probe/1.31 Prometheus curl/8.5.0 Go-http-client/1.1 grpc-go/1.60.0 istio-proxy istio-system stdout stderr stream "
    "connection complete info access src.addr dst.addr src.workload dst.workload direction bytes_sent duration"
)
"""Words of every healthy access line: an expression that one of them meets would make each a candidate."""


def expressions(when: Mapping[str, Any]) -> tuple[str, ...]:
    """The necessary expressions of a pattern's conditions (one of them is in every line that meets them); () for none."""
    best: tuple[float, tuple[str, ...]] | None = None
    for field, condition in when.items():
        for alternatives in _of_condition(normal(condition)):
            found = _render(alternatives, blankable=field in _BLANKABLE)
            if found and (best is None or found > best):
                best = found
    return best[1] if best else ()


def alternatives_of(expression: str) -> tuple[str, ...]:
    """An expression written by hand as literals, where it has few: Hyperscan scans these at several times the speed."""
    try:
        texts_ = _expanded(parser.parse(expression))
    except (re.error, RecursionError):
        texts_ = None
    if texts_ is None or min(map(len, texts_), default=0) < 4:
        return (expression,)
    return tuple(sorted({re.escape(t).replace(r"\ ", " ").replace(r"\-", "-") for t in texts_}))


MAX_EXPANDED = 32


def _expanded(tree: Any) -> list[str] | None:
    """Every text the expression can match, or None when these are too many or not finite."""
    out = [""]
    for op, arg in tree:
        parts: list[str] | None
        if op is c.LITERAL:
            parts = [chr(arg)]
        elif op is c.IN and all(o is c.LITERAL for o, _ in arg):
            parts = [chr(a) for _, a in arg]
        elif op is c.SUBPATTERN and not arg[1]:
            parts = _expanded(arg[3])
        elif op is c.BRANCH:
            branches = [_expanded(t) for t in arg[1]]
            parts = None if None in branches else [t for b in branches for t in b or ()]
        elif op is c.MAX_REPEAT and arg[:2] == (0, 1):
            inner = _expanded(arg[2])
            parts = None if inner is None else ["", *inner]
        else:
            return None
        if parts is None or len(out) * len(parts) > MAX_EXPANDED:
            return None
        out = [a + b for a in out for b in parts]
    return out


def _of_condition(condition: Mapping[str, Any]) -> Iterable[Literals]:
    for op, arg in condition.items():
        match op:
            case "contains":
                yield from (frozenset({(t, False)}) for t in texts(arg))
            case "equals" | "one_of" | "contains_any" | "starts" | "ends" | "has":
                yield frozenset((t, False) for t in texts(arg))
            case "regex":
                yield from of_regex(arg)


def _render(alternatives: Literals, *, blankable: bool) -> tuple[float, tuple[str, ...]] | None:
    """(score, expressions) for alternatives, or None when one of them has no usable run."""
    out: set[str] = set()
    shortest = 1_000
    for text, fold in alternatives:
        runs = (r.strip() for r in _SAFE.findall(text))
        folded = COMMON.lower() if fold else COMMON
        run = max((r for r in runs if (r.lower() if fold else r) not in folded), key=len, default="")
        if len(run) < MIN_LITERAL:
            return None
        shortest = min(shortest, len(run))
        for written in {run, run.replace("_", " ")} if blankable else {run}:
            plain = re.escape(written).replace(r"\ ", " ").replace(r"\-", "-")
            out.add(f"(?i:{plain})" if fold else plain)
    return shortest - 0.5 * (len(alternatives) - 1), tuple(sorted(out))


def of_regex(pattern: str) -> list[Literals]:
    """Sets of literals, each of which is necessary for the expression; [] when none is known."""
    try:
        tree = parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return []  # syntax of `regex` that `re` lacks: the pattern says `prefilter` itself
    return _of_tree(tree, bool(tree.state.flags & re.IGNORECASE))


def _of_tree(tree: Any, fold: bool) -> list[Literals]:
    found: list[Literals] = []
    run = ""

    def flush() -> None:
        nonlocal run
        if run:
            found.append(frozenset({(run, fold)}))
        run = ""

    for op, arg in tree:
        if op is c.LITERAL:
            run += chr(arg)
            continue
        if op is c.IN and len(arg) == 1 and arg[0][0] is c.LITERAL:
            run += chr(arg[0][1])
            continue
        if op is c.SUBPATTERN and len(arg[3]) and all(o is c.LITERAL for o, _ in arg[3]) and not arg[1]:
            run += "".join(chr(a) for _, a in arg[3])
            continue
        if op is c.AT:
            continue  # an anchor does not part a literal
        flush()
        if op is c.SUBPATTERN:
            found += _of_tree(arg[3], (fold or bool(arg[1] & re.IGNORECASE)) and not arg[2] & re.IGNORECASE)
        elif op is c.BRANCH:
            found += _of_branch([_of_tree(t, fold) for t in arg[1]])
        elif op in (c.MAX_REPEAT, c.MIN_REPEAT) and arg[0] >= 1:
            found += _of_tree(arg[2], fold)
    flush()
    return found


def _of_branch(branches: list[list[Literals]]) -> list[Literals]:
    """Of each branch its longest necessary run: one of them must be there."""
    chosen: set[tuple[str, bool]] = set()
    for sets in branches:
        if not sets:
            return []
        chosen |= max(sets, key=lambda s: min(len(max(_SAFE.findall(t), key=len, default="")) for t, _ in s))
    return [frozenset(chosen)]
