"""The diagnosis for a person at a terminal: what is wrong, what proves it, what to do, what was not recognised."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime

from meshdiag.diagnosis import Diagnosis, Finding
from meshdiag.diagnosis.chains import symptoms
from meshdiag.model import Kind, State
from meshdiag.redact import redact
from meshdiag.views.incident import incident_lines
from meshdiag.views.prose import sentences, wrapped
from meshdiag.views.remedy import remedy_lines
from meshdiag.views.safe import columns, one_line, safe
from meshdiag.views.style import Style

INDENT = "   "
TREE_DEPTH = 6
TREE_LINES = 8
"""Symptoms shown under one finding; more of one cause stand in one line."""

REACH = 4
PROOFS = 3
SHOWN_FACTS = ("error", "reason", "policy", "resource")
TELLING_FIELDS = (
    "start_time", "method", "path", "response_code", "response_flags", "response_code_details",
    "connection_termination_details", "upstream_transport_failure_reason", "authority", "upstream_host", "upstream_cluster",
)  # fmt: skip


def render(
    diagnosis: Diagnosis,
    *,
    width: int = 100,
    style: Style | None = None,
    redacted: bool = True,
    verbose: bool = False,
    limit: int = 10,
) -> str:
    """The whole report, `width` columns wide. `verbose` shows every remedy, sample and benign finding; `limit` bounds the failures."""
    page = _Page(max(40, width), style or Style(False), redacted, verbose)
    lines = list(page.report(diagnosis, limit))
    return "\n".join(lines) + "\n"


def render_finding(
    diagnosis: Diagnosis, finding: Finding, *, width: int = 100, style: Style | None = None, redacted: bool = True
) -> str:
    """Everything about one finding: what proves it, what else it may be, what it explains, what to do."""
    page = _Page(max(40, width), style or Style(False), redacted, True)
    return "\n".join(page.finding(finding, None, symptoms(diagnosis.failures))) + "\n"


def render_unknown(diagnosis: Diagnosis, *, width: int = 100, style: Style | None = None, redacted: bool = True) -> str:
    """All shapes of lines that no pattern knows."""
    page = _Page(max(40, width), style or Style(False), redacted, True)
    return "\n".join(page.unknown(diagnosis)).lstrip("\n") + "\n"


class _Page:
    def __init__(self, width: int, style: Style, redacted: bool, verbose: bool) -> None:
        self.width, self.style, self.verbose = width, style, verbose
        self.text = (lambda t: safe(redact(t))) if redacted else safe

    def report(self, d: Diagnosis, limit: int) -> Iterator[str]:
        style = self.style
        failures = d.failures
        seen = d.seen
        span = when(seen.first, seen.last)
        facts = [f"{seen.lines:,} lines", size(seen.bytes), *([span] if span else [])]
        yield style(" · ".join(facts), "dim")
        if failures:
            n = len({f.cause for f in failures if not f.explained_by})
            more = len({f.cause for f in failures if f.explained_by})
            yield style(
                f"{n} root cause{'s' * (n != 1)}" + (f", {more} symptom{'s' * (more != 1)}" if more else ""),
                "bold",
                "red",
            )
        elif seen.lines == 0:
            yield style("Nothing was read.", "bold", "yellow")
        elif d.problems:
            yield style("No failure found in what could be read.", "bold", "yellow")
        else:
            yield style("No failure found.", "bold", "green")
        below = symptoms(failures)
        yield from incident_lines(d, self.width, style)
        said: dict[str, Finding] = {}
        shown = failures if self.verbose else tuple(f for f in failures if not f.explained_by)
        for f in shown[: None if self.verbose else limit]:
            yield ""
            yield from self.finding(f, None if self.verbose else said.get(f.cause), below)
            if not f.explained_by:
                said.setdefault(f.cause, f)
        if not self.verbose and len(shown) > limit:
            yield ""
            yield style(f"… and {len(shown) - limit} more failures: --limit 0 or -v shows all", "dim")
        yield from self.others(d)
        yield from self.unknown(d)
        yield from self.not_read(d)

    def finding(self, f: Finding, same: Finding | None, below: dict[int, list[Finding]]) -> Iterator[str]:
        style = self.style
        tags = [f.severity.value, f.confidence.value, *([f.state.value] if f.state is not State.ONGOING else [])]
        if f.refuted:
            tags.append("refuted by the state of the cluster")
        label = f"{style(f.cause, f.severity.value)} {style('(' + ', '.join(tags) + ')', 'dim')}"
        title = f"{style(f'{f.rank}.', 'bold')} {style(safe(f.title), 'bold')}"
        if len(f"{f.rank}. {f.title}  {f.cause} ({', '.join(tags)})") <= self.width:
            yield f"{title}  {label}"
        else:
            yield title
            yield INDENT + label
        subject = one_line(self.text(about(f)), self.width - len(INDENT))
        counts = [amount(f), f"in {f.places:,} places" * (f.places > 1), when(f.first, f.last)]
        rest = " · ".join(c for c in counts if c)
        if columns(subject) + len(rest) + 6 <= self.width:
            yield f"{INDENT}{style(subject, 'cyan')} · {rest}"
        else:
            yield INDENT + style(subject, "cyan")
            yield INDENT + rest
        brief = same is not None or (f.explained_by and not self.verbose)
        if not brief:
            yield from self.wrap(f.explanation if self.verbose else sentences(f.explanation, 2), INDENT)
        for e in f.evidence:
            yield from self.wrap(("for: " if e.supports else "but: ") + self.text(e.text), INDENT)
        yield from self.state(f)
        for c in f.changes:
            when_ = "undated: " if c.before is None else f"{ago(c.before)} before it began: "
            yield from self.wrap(when_ + self.text(c.text), INDENT)
        yield from self.proof(f)
        if f.reach:
            some = ", ".join(f"{source} ({n:,})" for source, n in f.reach[:REACH])
            more = f" and {len(f.reach) - REACH} more" if len(f.reach) > REACH else ""
            yield INDENT + one_line(self.text(f"seen by {some}{more}"), self.width - len(INDENT))
        if f.explained_by:
            yield INDENT + style(f"explained by {ranks(f.explained_by)}", "magenta")
        if f.rank in below:
            yield INDENT + style("explains", "magenta")
            yield from self.tree(below, f.rank, INDENT, TREE_DEPTH)
        if f.alternatives and not same:
            yield from self.wrap("could also be: " + ", ".join(f.alternatives), INDENT)
            if f.tell_apart and not brief:
                yield from self.wrap("to tell: " + f.tell_apart, INDENT)
        if same is not None:
            yield INDENT + style(f"→ as #{same.rank}", "green")
        elif not brief:
            for remedy in f.remedies if self.verbose else f.remedies[:1]:
                yield from remedy_lines(remedy, self.width, self.style, verbose=self.verbose, indent=INDENT)

    def state(self, f: Finding) -> Iterator[str]:
        """What in the state of the cluster proves it, and what could not be looked at."""
        room = self.width - len(INDENT) - 2
        for p in f.proofs[: None if self.verbose else PROOFS]:
            yield INDENT + "  " + self.style(one_line(self.text(str(p)), room), "dim")
        for advice in f.advice[: None if self.verbose else 1]:
            yield from (self.style(line, "cyan") for line in wrapped(self.text(f"→ {advice}"), self.width, INDENT))
        if f.unchecked and (self.verbose or not f.proofs):
            yield INDENT + self.style(one_line(self.text("not checkable: " + ", ".join(f.unchecked)), room), "dim")

    def tree(self, below: dict[int, list[Finding]], rank: int, indent: str, depth: int) -> Iterator[str]:
        """The symptoms under a finding, most of them one a line; many of one cause together."""
        style = self.style
        groups: dict[str, list[Finding]] = {}
        for f in below.get(rank, ()):
            groups.setdefault(f.cause, []).append(f)
        rows: list[list[Finding]] = []
        many = sum(map(len, groups.values())) > TREE_LINES
        for fs in groups.values():
            rows += [fs] if many and len(fs) > 1 else [[f] for f in fs]
        for i, fs in enumerate(rows):
            last = i == len(rows) - 1
            f = fs[0]
            head = f"{indent}{'└' if last else '├'} "
            if len(fs) > 1:
                n = sum(f.count for f in fs)
                told = f"{n:,} lines · {len(fs)} subjects: {', '.join(short(about(f)) for f in fs[:3])} …"
                number = f"#{f.rank}…{fs[-1].rank}"
            else:
                told = f"{amount(f)} · {short(about(f))}"
                number = f"#{f.rank}"
            room = self.width - columns(head) - len(number) - len(f.cause) - 3
            yield f"{style(head, 'dim')}{number} {style(f.cause, f.severity.value)}  {one_line(self.text(told), room)}"
            if depth > 1:
                for g in fs:
                    if g.rank in below:
                        yield from self.tree(below, g.rank, indent + ("  " if last else "│ "), depth - 1)

    def proof(self, f: Finding) -> Iterator[str]:
        """The line that proves it, and what was read out of it."""
        style = self.style
        for s in f.samples if self.verbose else f.samples[:1]:
            if self.verbose:
                yield INDENT + style(f"> {safe(s.path)}@{s.offset}", "dim")
                for part in self.text(s.line).split("\n")[:40]:
                    yield INDENT + style("> " + part, "dim")
                continue
            line = one_line(self.text(telling(s.line)), 2 * (self.width - len(INDENT) - 2))
            for part in textwrap.wrap(line, self.width - len(INDENT) - 2, break_on_hyphens=False) or [""]:
                yield INDENT + style("> " + part, "dim")
        if not self.verbose:
            for name in SHOWN_FACTS:
                value = f.facts.get(name)
                if value and value not in telling(f.samples[0].line)[: 2 * self.width - 20]:
                    yield INDENT + style(
                        f"{name}: {one_line(self.text(value), self.width - len(INDENT) - len(name) - 2)}", "dim"
                    )

    def others(self, d: Diagnosis) -> Iterator[str]:
        for kind, title in ((Kind.BENIGN, "Looks bad and is not"), (Kind.HEALTHY, "Good signs")):
            some = [f for f in d.findings if f.kind is kind]
            if not some:
                continue
            yield ""
            yield self.style(title, "bold")
            groups: dict[tuple[str, str], list[Finding]] = {}
            for f in some:
                said = f"only while starting: {f.title}" if f.state is State.TRANSIENT else f.title
                groups.setdefault((f.cause, said), []).append(f)
            for (cause, said), fs in groups.items():
                n = sum(f.count for f in fs)
                yield INDENT + one_line(f"{n:>5,}  {said} ({cause})", self.width - len(INDENT))

    def unknown(self, d: Diagnosis) -> Iterator[str]:
        shapes = d.unrecognised
        if not shapes:
            return
        yield ""
        yield self.style(f"Not recognised: {d.seen.unrecognised:,} failing or unusual lines", "bold", "yellow")
        shown = shapes if self.verbose else shapes[:5]
        for u in shown:
            yield INDENT + f"{u.count:>7,}  " + one_line(self.text(u.shape), self.width - len(INDENT) - 9)
        if len(shapes) > len(shown):
            yield INDENT + self.style(f"… and {len(shapes) - len(shown)} more shapes (-v)", "dim")

    def not_read(self, d: Diagnosis) -> Iterator[str]:
        problems = d.problems
        if not problems:
            return
        yield ""
        yield self.style(f"Not read or left out ({len(problems)})", "bold", "yellow")
        for p in problems if self.verbose else problems[:5]:
            yield INDENT + one_line(str(p), self.width - len(INDENT))
        if len(problems) > 5 and not self.verbose:
            yield INDENT + self.style(f"… and {len(problems) - 5} more (-v)", "dim")

    def wrap(self, text: str, indent: str) -> Iterator[str]:
        yield from wrapped(text, self.width, indent)


def telling(line: str) -> str:
    """A line as a person wants to see it: of a JSON access log the fields that decide, in the order of the text format."""
    if not line.lstrip().startswith("{"):
        return line
    from meshdiag.formats import detect

    record = detect(line)
    if record.format != "access-log":
        return line
    parts = (record.fields.get(n, "-") for n in TELLING_FIELDS)
    return " ".join(p for p in parts)


def amount(f: Finding) -> str:
    """`36 lines, 12 of 40 requests`."""
    lines = f"{f.count:,} line{'s' * (f.count != 1)}"
    if f.requests is None:
        return lines
    if f.total is not None and f.total >= f.requests:
        return f"{lines}, {f.requests:,} of {f.total:,} requests"
    return lines if f.requests == f.count else f"{lines}, {f.requests:,} request{'s' * (f.requests != 1)}"


def ago(seconds: float) -> str:
    """`12 s`, `3 min`."""
    n = round(seconds)
    return f"{n} s" if n < 120 else f"{n // 60} min"


def short(name: str) -> str:
    """A service's name without the domain that all of them have."""
    return name.replace(".svc.cluster.local", "")


def about(f: Finding) -> str:
    """The subject, or where the lines stand when they do not tell it."""
    subject = f.subject
    if subject.name or subject.namespace or subject.source or subject.destination or not f.samples:
        return str(subject)
    return f.samples[0].path


def ranks(numbers: tuple[int, ...]) -> str:
    """`#1, #2` and so on, at most five."""
    return ", ".join(f"#{n}" for n in numbers[:5]) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")


def size(n: int) -> str:
    """Bytes for a person."""
    value = float(n)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return ""


def when(first: datetime | None, last: datetime | None) -> str:
    """`2026-11-22 10:11:12 – 10:15:00 UTC`, or ""."""
    if first is None or last is None:
        return ""
    a, b = first.astimezone(UTC), last.astimezone(UTC)
    if a.replace(microsecond=0) == b.replace(microsecond=0):
        return f"{a:%Y-%m-%d %H:%M:%S} UTC"
    end = f"{b:%H:%M:%S}" if a.date() == b.date() else f"{b:%Y-%m-%d %H:%M:%S}"
    return f"{a:%Y-%m-%d %H:%M:%S} – {end} UTC"
