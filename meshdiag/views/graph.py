"""The service graph as text, DOT (Graphviz) and Mermaid."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from meshdiag.diagnosis.graph import Edge, Graph, Node
from meshdiag.views.amounts import number, percent, plural
from meshdiag.views.safe import columns, one_line, safe
from meshdiag.views.style import Style

FACTS = 46
"""Columns that are kept for what is said of an edge."""

CAUSES = 3
"""Causes of an edge that are named."""

SHOWN = 30
"""Edges in a short report; those that fail come first."""


def render(graph: Graph, *, width: int = 100, style: Style | None = None, limit: int = SHOWN) -> str:
    """A line an edge, the worst first, `width` columns wide; `limit` 0 shows all."""
    return "\n".join(_lines(graph, max(60, width), style or Style(False), limit or len(graph.edges))) + "\n"


def _lines(graph: Graph, width: int, style: Style, limit: int) -> Iterator[str]:
    shown = graph.edges[:limit]
    if not shown:
        yield "The logs name no calls between workloads."
    names = [f"{e.source} → {e.destination}" for e in shown]
    room = min(max(map(columns, names), default=0), width - FACTS)
    for e, name in zip(shown, names, strict=True):
        mark, colour = ("✓", "green") if not e.failed else ("✗", "red") if e.root else ("!", "yellow")
        cut = one_line(name, room)
        pad = " " * (room - columns(cut))
        first, *rest = _wrapped(_parts(e), width - room - 4)
        yield f"{style(mark, colour)} {style(cut, 'bold') if e.failed else cut}{pad}  {style(first, colour) if e.failed else first}"
        for line in rest:
            yield f"{' ' * (room + 4)}{style(line, colour) if e.failed else line}"
    if len(graph.edges) > limit:
        yield style(f"… and {len(graph.edges) - limit} more edges (--limit 0)", "dim")
    alone = [n for n in graph.nodes if n.causes]
    if alone:
        yield ""
    for n in alone:
        mark, colour = ("✗", "red") if n.root else ("!", "yellow")
        name = one_line(n.name, width // 2)
        yield f"{style(mark, colour)} {style(name, 'bold')}  {one_line(', '.join(n.causes), width - columns(name) - 4)}"
    if alone or any(e.failed for e in shown):
        yield ""
        yield style("✗ root cause, ! symptom, ✓ nothing failing", "dim")


def facts(e: Edge) -> str:
    """`12 of 16 failed (75 %) upstream-timeout, 4.2/s, p50 3 ms, p99 210 ms, mutual TLS`."""
    return ", ".join(_parts(e))


def _parts(e: Edge) -> list[str]:
    parts = []
    if e.failed:
        of = (
            f" of {e.requests:,} failed ({percent(min(e.failed, e.requests), e.requests)})" if e.requests else " failed"
        )
        first, *others = e.causes or ("",)
        parts.append(f"{e.failed:,}{of} {first}".rstrip())
        parts += others[: CAUSES - 1]
        if len(others) >= CAUSES:
            parts.append(f"and {plural(len(others) - CAUSES + 1, 'more cause')}")
    elif e.requests is not None:
        parts.append(plural(e.requests, "request"))
    if e.rate is not None:
        parts.append(f"{number(e.rate)}/s" if e.rate >= 1 else f"{number(60 * e.rate)}/min")
    if e.latency:
        parts.append(f"p50 {number(e.latency[0])} ms, p99 {number(e.latency[2])} ms")
    if e.mtls:
        parts.append("mutual TLS" if e.mtls == "mutual" else e.mtls)
    return parts


def _wrapped(parts: Sequence[str], width: int) -> list[str]:
    """The parts with commas between, on lines of `width` columns."""
    lines = [""]
    for part in (one_line(p, width - 1) for p in parts):
        if lines[-1] and columns(lines[-1]) + columns(part) + 3 > width:
            lines[-1] += ","
            lines.append("")
        lines[-1] += f", {part}" if lines[-1] else part
    return lines


def dot(graph: Graph) -> str:
    """DOT for Graphviz: failing edges are red, roots thick, external hosts dashed."""
    out = [
        "digraph mesh {",
        "  rankdir=LR;",
        '  node [shape=box, style=rounded, fontname="sans-serif"];',
        '  edge [fontname="sans-serif"];',
    ]
    for n in graph.nodes:
        extra = [f"label={_dot(n.name, *n.causes)}"] if n.causes else []
        extra += ["color=red"] * bool(n.causes) + ["penwidth=3"] * n.root + ['style="rounded,dashed"'] * n.is_external
        out.append(f"  {_dot(n.name)}" + (f" [{', '.join(extra)}]" if extra else "") + ";")
    for e in graph.edges:
        extra = (
            [f"label={_dot(facts(e))}"] + ["color=red"] * bool(e.failed) + ["penwidth=3"] * (e.root and bool(e.failed))
        )
        out.append(f"  {_dot(e.source)} -> {_dot(e.destination)} [{', '.join(extra)}];")
    return "\n".join([*out, "}"]) + "\n"


def _dot(*lines: str) -> str:
    """A quoted string of DOT; what a log wrote is text in it, no escape of DOT's own."""
    escaped = (one_line(line, 1000).replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'


def mermaid(graph: Graph) -> str:
    """A Mermaid flowchart, as GitHub and GitLab draw it in Markdown."""
    number = {n.name: f"n{i}" for i, n in enumerate(graph.nodes)}
    out = ["flowchart LR"]
    for n in graph.nodes:
        out.append(f"  {number[n.name]}{_shape(n)(_mermaid('<br>'.join(map(_escape, (n.name, *n.causes)))))}")
    for e in graph.edges:
        arrow = "==>" if e.failed else "-->"
        out.append(f"  {number[e.source]} {arrow}|{_mermaid(_escape(facts(e)))}| {number[e.destination]}")
    red = [i for i, e in enumerate(graph.edges) if e.failed]
    if red:
        out.append(f"  linkStyle {','.join(map(str, red))} stroke:#d55e00")
    bad = [number[n.name] for n in graph.nodes if n.causes]
    if bad:
        out += ["  classDef failing stroke:#d55e00,stroke-width:3px", f"  class {','.join(bad)} failing"]
    return "\n".join(out) + "\n"


def _shape(n: Node) -> Callable[[str], str]:
    return (lambda t: f"([{t}])") if n.is_external else (lambda t: f"[{t}]")


def _escape(text: str) -> str:
    """Text without what Mermaid or the HTML that it makes acts on, as its entity codes."""
    return re.sub(r"[^\w .:/%(),-]", lambda m: f"#{ord(m[0])};", safe(text))


def _mermaid(text: str) -> str:
    return f'"{text}"'
