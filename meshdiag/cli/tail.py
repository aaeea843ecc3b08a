"""`meshdiag tail`: what is wrong in a mesh as it runs."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from meshdiag.cli.common import (
    EXIT_FAILURES,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_TERMINATED,
    Formatter,
    add_colour,
    add_patterns,
    complete_file,
    known_causes,
    parse_duration,
    parse_time,
    style_of,
)
from meshdiag.cli.reading import add_choosing, format_of
from meshdiag.model import MeshdiagError, Severity

if TYPE_CHECKING:
    from meshdiag.diagnosis import Diagnosis
    from meshdiag.model import Match, Origin
    from meshdiag.tailing import Step, Tail

DEFAULT_SINCE = timedelta(minutes=10)
ORDER_SECONDS = 0.6
"""How long lines are held so that those of several containers come in order."""

DRAW_SECONDS = 0.5


def add(commands: Any) -> None:
    """Add the command to the parser."""
    c = commands.add_parser(
        "tail",
        help="follow a live mesh, files that grow, or standard input, and say what is wrong as it happens",
        description="Follow the logs of sidecars, gateways, waypoints, istiod, ztunnel and istio-cni in a cluster; or local files, or - "
        "for standard input. Shows causes as they appear, last and end.",
        epilog="Ends on Ctrl-C, after --for, or with its input. Exit code: with --for or an input that ends that of diagnose (0 nothing "
        "failing, 1 failures found, 2 wrong usage or cluster not readable); 130 after Ctrl-C, 143 after SIGTERM.",
        formatter_class=Formatter,
    )
    complete_file(
        c.add_argument(
            "inputs",
            nargs="*",
            metavar="INPUT",
            help="deploy/reviews, a pod, a workload (globs), a file or folder to follow, or -; default: the whole namespace",
        )
    )
    g = c.add_argument_group("which containers")
    g.add_argument(
        "-n", "--namespace", action="append", default=[], metavar="NAME", help="of this namespace (or a,b; repeatable)"
    )
    g.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    g.add_argument(
        "-l", "--selector", default="", metavar="LABELS", help="of pods with these labels: app=reviews,tier!=db"
    )
    g.add_argument(
        "--field-selector", default="", metavar="FIELDS", help="of pods with these fields: spec.nodeName=node-1"
    )
    g.add_argument("--revision", default="", metavar="REV", help="of this revision of Istio")
    g.add_argument(
        "-c", "--container", action="append", default=[], metavar="GLOB", help="these containers, not those of the mesh"
    )
    g.add_argument("--app", action="store_true", help="also the application's containers beside a proxy")
    g.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="GLOB",
        help="not this pod, workload, container, or namespace/pod",
    )
    g.add_argument("--max-streams", type=_positive, metavar="N", help="containers followed at once (default 2000)")
    g.add_argument("--wait", action="store_true", help="wait for pods when nothing matches yet")
    g = c.add_argument_group("which cluster")
    g.add_argument(
        "--context", action="append", default=[], metavar="NAME", help="context of the kubeconfig (repeatable)"
    )
    complete_file(g.add_argument("--kubeconfig", metavar="FILE", help="in place of $KUBECONFIG and ~/.kube/config"))
    g.add_argument("--as", dest="as_user", default="", metavar="USER", help="impersonate this user")
    g.add_argument("--as-group", action="append", default=[], metavar="GROUP", help="impersonate this group")
    g = c.add_argument_group("from when to when")
    g.add_argument("--since", type=parse_time, metavar="TIME", help="from here: 30m, 2h, a time (clusters: 10m)")
    g.add_argument(
        "--tail", type=_natural, metavar="N", help="the last N lines of each log, then what comes; 0: only that"
    )
    g.add_argument(
        "--for",
        dest="duration",
        type=parse_duration,
        metavar="TIME",
        help="end after this long (30s, 5m) with a diagnosis",
    )
    g = c.add_argument_group("what is shown")
    g.add_argument(
        "-o", "--output", choices=("text", "jsonl"), default="text", help="text (default), or a JSON object a line"
    )
    g.add_argument("--raw", action="store_true", help="the lines that were recognised, behind their pod and cause")
    g.add_argument("--all-lines", action="store_true", help="every line")
    g.add_argument("--grep", default="", metavar="REGEX", help="only records in which this is found")
    add_choosing(g)
    complete_file(g.add_argument("--save", metavar="DIR", help="write all lines to this new folder, for diagnose"))
    add_patterns(c)
    c.add_argument(
        "--access-log-format", metavar="FORMAT", help="the mesh's accessLogFormat string or JSON mapping (or @FILE)"
    )
    c.add_argument("--no-redact", action="store_true", help="show tokens, cookies and keys")
    add_colour(c)
    c.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from meshdiag.tailing import is_local, tail

    if options.raw and options.all_lines:
        raise MeshdiagError("--raw shows recognised lines, --all-lines every line: give one of them")
    since = options.since
    if since is None and options.tail is None and not (options.inputs and all(map(is_local, options.inputs))):
        since = datetime.now(UTC) - DEFAULT_SINCE
    live = tail(
        *options.inputs,
        namespaces=_namespaces(options),
        all_namespaces=options.all_namespaces,
        contexts=options.context,
        kubeconfig=options.kubeconfig,
        selector=options.selector,
        field_selector=options.field_selector,
        revision=options.revision,
        containers=options.container,
        exclude=options.exclude,
        app=options.app,
        since=since,
        tail_lines=options.tail,
        duration=options.duration,
        wait=options.wait,
        max_streams=options.max_streams,
        as_user=options.as_user,
        as_groups=options.as_group,
        save=options.save,
        grep=options.grep,
        # a diagnosis at the end is of all that was seen
        window=None if options.duration is not None else timedelta(hours=1),
        patterns=options.patterns,
        access_log_format=format_of(options.access_log_format),
    )
    known_causes(live.catalogue, [*options.cause, *(s.partition("=")[0] for s in options.suppress)])
    return asyncio.run(_Show(options, live).follow())


def _namespaces(options: argparse.Namespace) -> list[str]:
    return [n for some in options.namespace for n in some.split(",") if n]


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of containers: give 1, 2, …")
    return int(text)


def _natural(text: str) -> int:
    if text == "-1":
        return 1 << 62  # as kubectl: all
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines: give 0, 1, 2, …")
    return int(text)


class _Show:
    """Prints what a Tail gives, in the way that the options ask for."""

    def __init__(self, options: argparse.Namespace, live: Tail) -> None:
        from meshdiag.diagnosis.windows import LogClock, Watch
        from meshdiag.views.tail import Look

        self.options, self.live, self.namespaces = options, live, _namespaces(options)
        self.jsonl = options.output == "jsonl"
        self.lines = options.raw or options.all_lines
        self.width = min(shutil.get_terminal_size((120, 24)).columns, 200)
        self.look = Look(self.width, style_of(options), not options.no_redact)
        self.watch, self.clock = Watch(), LogClock()
        self.screen = Screen() if not self.jsonl and not self.lines and Screen.possible() else None
        self.printer = _Printer(self)
        self.ended_by = 0
        self._speed: deque[tuple[float, int]] = deque()
        self._drawn = 0.0
        self._told = 0

    async def follow(self) -> int:
        """Until it ends; the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows has only KeyboardInterrupt
                loop.add_signal_handler(number, self._end, number)
        try:
            async with contextlib.aclosing(self.live.steps(matches=self.lines)) as steps:
                async for step in steps:
                    self._show(step)
        finally:
            if self.screen is not None:
                self.screen.clear()
        return self._finish()

    def _end(self, number: int) -> None:
        self.ended_by = number
        self.live.close()

    def _show(self, step: Step) -> None:
        from meshdiag.model import Problem
        from meshdiag.sources.live import Gap

        now = time.monotonic()
        out: list[str] = []
        if self.lines:
            out += self.printer.lines(step, now)
        for event in step.events:
            if isinstance(event, Gap):
                out.append(self._json_gap(event) if self.jsonl else self.look.gap(event, self.clock.time(now)))
            elif isinstance(event, Problem):
                out.append(
                    self._json_problem(event) if self.jsonl else self.look.problem(str(event), self.clock.time(now))
                )
        if step.findings is not None:
            self.clock.saw(step.findings.last, now)
            if not self.lines:
                out += self._changes(self.clock.time(now))
        self._speed.append((now, self.live.flow.lines))
        while len(self._speed) > 2 and self._speed[0][0] < now - 5:
            self._speed.popleft()
        if self.screen is not None:
            if out or now - self._drawn >= DRAW_SECONDS:
                self._drawn = now
                self.screen.draw(out, self._table(now))
        elif out:
            sys.stdout.write("\n".join(out) + "\n")
            sys.stdout.flush()

    def _changes(self, now: datetime) -> list[str]:
        from meshdiag.diagnosis.windows import Phase

        out: list[str] = []
        for standing in self.watch.changes(self._diagnosis(), now):
            if self.jsonl:
                out.append(_json_finding(standing, now, not self.options.no_redact))
            elif standing.phase is not Phase.ONGOING:
                out += self.look.turned(standing, now)
        return out

    def _diagnosis(self) -> Diagnosis:
        o = self.options
        return self.live.diagnosis.only(o.cause, Severity(o.min_severity), o.suppress)

    def _table(self, now: float) -> list[str]:
        from meshdiag.views.tail import Look, Pace

        size = shutil.get_terminal_size((120, 24))
        self.look = Look(min(size.columns, 200) - 1, self.look.style, not self.options.no_redact)
        (then, before), (_, lines) = self._speed[0], self._speed[-1]
        flow = self.live.flow
        pace = Pace(
            ", ".join(self.namespaces) or ("all namespaces" if self.options.all_namespaces else ""),
            len(flow.following),
            (lines - before) / (now - then) if now > then else 0.0,
            None,
            len(flow.gaps),
            len(flow.problems),
        )
        return self.look.table(self.watch.standings, pace, self.clock.time(now), max(4, size.lines // 2))

    def _finish(self) -> int:
        diagnosis = self._diagnosis()
        whole = self.options.duration is not None or not self.ended_by
        if self.lines:
            _print(self.printer.rest())
        if self.jsonl:
            end = {"event": "end", "time": _now(), "diagnosis": diagnosis.to_dict(redacted=not self.options.no_redact)}
            _print([json.dumps(end)])
        elif whole:
            from meshdiag.views.text import render

            style, redacted = self.look.style, not self.options.no_redact
            sys.stdout.write(render(diagnosis, width=min(self.width, 140), style=style, redacted=redacted))
        elif self.screen is not None:
            _print(self._table(time.monotonic()))
        if self.options.save and not self.jsonl:
            print(f"saved to {self.options.save}: meshdiag diagnose {self.options.save}", file=sys.stderr)
        if self.ended_by:
            return EXIT_INTERRUPTED if self.ended_by == signal.SIGINT else EXIT_TERMINATED
        return EXIT_FAILURES if diagnosis.failures else EXIT_OK

    # -- JSON lines

    def _json_gap(self, gap: Any) -> str:
        times = {"since": _iso(gap.since), "until": _iso(gap.until)}
        seconds = None if gap.seconds is None else round(gap.seconds, 3)
        return json.dumps(
            {"event": "gap", "time": _now(), "origin": gap.origin.path, "seconds": seconds, **times, "why": gap.why}
        )

    def _json_problem(self, problem: Any) -> str:
        return json.dumps(
            {"event": "problem", "time": _now(), "where": problem.where, "what": problem.what, "hint": problem.hint}
        )


class _Printer:
    """Lines of logs in the order of their times: those that were recognised, or all."""

    def __init__(self, show: _Show) -> None:
        from meshdiag.ordering import Reorder

        self._show = show
        self._order: Reorder[tuple[Origin, str, int, Match | None]] = Reorder(ORDER_SECONDS)
        self._matches: dict[tuple[Origin, int], Match] = {}
        self._grep = _search(show.options.grep)

    def lines(self, step: Step, now: float) -> list[str]:
        """What is to be printed at a time of the clock."""
        causes = self._show.live.catalogue.causes
        o = self._show.options
        worst = Severity(o.min_severity).rank
        shown = [
            m for m in step.matches if causes[m.cause].severity.rank <= worst and (not o.cause or m.cause in o.cause)
        ]
        if o.all_lines:
            for match in shown:
                self._matches[match.record.origin, match.record.offset] = match
            for event in step.events:
                self._split(event, now)
        else:
            for match in shown:
                self._order.feed((match.record.origin, match.record.text, -1, match), match.record.time, now)
        return [*self._drawn(self._order.release(now))]

    def rest(self) -> list[str]:
        """What is left at the end."""
        return [*self._drawn(self._order.flush())]

    def _split(self, event: Any, now: float) -> None:
        from meshdiag.sources.kubernetes.cursor import moment, stamp
        from meshdiag.sources.live import Lines

        if not isinstance(event, Lines):
            return
        offset = event.offset
        for line in event.data.split(b"\n")[:-1]:
            nanos = stamp(line) if event.origin.pod else None
            text = (line.partition(b" ")[2] if nanos is not None else line).decode("utf-8", "replace")
            if self._grep(text):
                self._order.feed((event.origin, text, offset, None), moment(nanos) if nanos is not None else None, now)
            offset += len(line) + 1

    def _drawn(self, items: Iterator[tuple[Origin, str, int, Match | None]]) -> Iterator[str]:
        causes, show = self._show.live.catalogue.causes, self._show
        many = show.options.all_namespaces or len(show.namespaces) > 1
        for origin, text, offset, match in items:
            match = match or self._matches.pop((origin, offset), None)
            severity = causes[match.cause].severity if match else None
            if show.jsonl:
                yield _json_line(origin, text, match, severity, not show.options.no_redact)
            else:
                yield show.look.raw(origin, text, match, severity, many)


def _search(pattern: str) -> Any:
    from meshdiag.engine.scan import Filters

    return Filters(grep=pattern).finds


class Screen:
    """A few lines at the end of a terminal that are drawn anew; what is said scrolls away above them."""

    def __init__(self) -> None:
        self._height = 0

    @staticmethod
    def possible() -> bool:
        """Whether standard output is a terminal on which that works."""
        import os

        return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def draw(self, said: list[str], table: list[str]) -> None:
        """Prints lines that stay, and the table below them in place of the one before."""
        up = f"\x1b[{self._height}A" if self._height else ""
        text = "".join(f"{line}\n" for line in said) + "".join(f"{line}\n" for line in table)
        sys.stdout.write(f"\r{up}\x1b[J{text}")
        sys.stdout.flush()
        self._height = len(table)

    def clear(self) -> None:
        """Takes the table away."""
        if self._height:
            sys.stdout.write(f"\r\x1b[{self._height}A\x1b[J")
            sys.stdout.flush()
            self._height = 0


def _json_finding(standing: Any, now: datetime, redacted: bool) -> str:
    from meshdiag.redact import redact

    f = standing.finding
    clean = redact if redacted else str
    return json.dumps(
        {
            "event": "finding",
            "time": _iso(now),
            "phase": standing.phase.value,
            "rank": f.rank,
            "cause": f.cause,
            "severity": f.severity.value,
            "confidence": f.confidence.value,
            "title": f.title,
            "subject": f.subject.to_dict(),
            "count": f.count,
            "per_minute": round(standing.per_minute, 1),
            "first": _iso(f.first),
            "last": _iso(f.last),
            "explained_by": list(f.explained_by),
            "sample": {"origin": f"{f.samples[0].path}@{f.samples[0].offset}", "line": clean(f.samples[0].line)}
            if f.samples
            else None,
        }
    )


def _json_line(origin: Origin, text: str, match: Match | None, severity: Severity | None, redacted: bool) -> str:
    from meshdiag.redact import redact

    names = {"cluster": origin.cluster, "namespace": origin.namespace, "pod": origin.pod, "container": origin.container}
    told: dict[str, Any] = {
        "event": "match" if match else "line",
        "origin": {k: v for k, v in names.items() if v} or {"path": origin.path},
        "line": redact(text) if redacted else text,
    }
    if match:
        told |= {
            "time": _iso(match.record.time),
            "cause": match.cause,
            "severity": severity.value if severity else "",
            "pattern": match.pattern,
        }
    return json.dumps(told)


def _print(lines: list[str]) -> None:
    if lines:
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()


def _iso(time_: datetime | None) -> str | None:
    return time_.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if time_ else None


def _now() -> str:
    return _iso(datetime.now(UTC)) or ""
