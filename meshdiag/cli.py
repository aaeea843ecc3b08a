"""The command line: reads arguments, calls the library, prints. Imports what a command needs when it runs."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from meshdiag.model import MeshdiagError, Severity

if TYPE_CHECKING:
    from meshdiag.catalogue import Catalogue
    from meshdiag.diagnosis import Diagnosis
    from meshdiag.explanation import Explanation
    from meshdiag.views.style import Style

EXIT_OK, EXIT_FAILURES, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

OUTPUTS = ("text", "json", "jsonl", "markdown")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except MeshdiagError as e:
        print(f"meshdiag: {e}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # the reader has gone: nothing more to say, and nothing for the interpreter to flush at exit
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _run(argv: Sequence[str] | None) -> int:
    arguments = sys.argv[1:] if argv is None else list(argv)
    options = parser().parse_args(arguments)
    if options.run is None:
        parser().print_help()
        return EXIT_USAGE if arguments else EXIT_OK
    result: int = options.run(options)
    return result


class _Formatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=min(shutil.get_terminal_size().columns, 110) - 2)


def parser() -> argparse.ArgumentParser:
    """The argument parser (shell completion is made from it)."""
    top = argparse.ArgumentParser(
        prog="meshdiag",
        description="Diagnose an Istio service mesh from its logs.",
        epilog="Try it: meshdiag diagnose sample_logs/   ·   meshdiag explain UF",
        formatter_class=_Formatter,
    )
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    top.set_defaults(run=None)
    commands = top.add_subparsers(title="commands", metavar="COMMAND")

    c = commands.add_parser(
        "diagnose",
        help="say what is wrong in captured logs",
        description="Diagnose captured logs: files, folders, globs, archives (.gz .zst .bz2 .xz .zip .tar.*), an istioctl "
        "bug-report, or - for standard input.",
        epilog="Exit code: 0 nothing failing, 1 failures found, 2 wrong usage or unreadable input.",
        formatter_class=_Formatter,
    )
    _path(c.add_argument("inputs", nargs="+", metavar="INPUT", help="file, folder, glob, archive, URL, or -"))
    c.add_argument("-o", "--output", choices=OUTPUTS, default="text", help="text (default), json, jsonl or markdown")
    c.add_argument(
        "--since", metavar="TIME", type=_time, help="only records from here: 2026-11-22T10:00:00Z, 30m, 2h, 1d"
    )
    c.add_argument("--until", metavar="TIME", type=_time, help="only records up to here")
    c.add_argument(
        "-n", "--namespace", action="append", default=[], metavar="NAME", help="only records of this namespace"
    )
    c.add_argument("--pod", action="append", default=[], metavar="NAME", help="only records of this pod")
    c.add_argument("--cause", action="append", default=[], metavar="ID", help="only findings of this cause")
    c.add_argument("--min-severity", choices=[s.value for s in Severity], default="info", help="only findings this bad")
    c.add_argument(
        "--suppress", action="append", default=[], metavar="CAUSE[=SUBJECT]", help="leave findings out (SUBJECT: glob)"
    )
    _patterns(c)
    c.add_argument(
        "--access-log-format", metavar="FORMAT", help="the mesh's accessLogFormat string or JSON mapping (or @FILE)"
    )
    c.add_argument(
        "-j", "--jobs", type=_jobs, metavar="N", help="processes (0: one for each CPU; default: as many as pay)"
    )
    c.add_argument("--no-redact", action="store_true", help="show tokens, cookies and keys")
    c.add_argument("--limit", type=int, default=10, metavar="N", help="failures shown as text (0: all)")
    c.add_argument("-v", "--verbose", action="store_true", help="all samples, remedies, shapes")
    _colour(c)
    c.set_defaults(run=_diagnose)

    c = commands.add_parser(
        "explain",
        help="explain a flag, a code, a cause, or a whole line",
        description="Explain a cause id, response flag, response-code detail, JWT status, TLS error, errno, IST code, pattern "
        "id, or a whole pasted line (- reads it from standard input).",
        formatter_class=_Formatter,
    )
    c.add_argument("what", nargs="+", metavar="WORD|LINE")
    c.add_argument("--why-not", action="store_true", help="for a line: the conditions that the nearest patterns miss")
    c.add_argument("-o", "--output", choices=("text", "json"), default="text")
    c.add_argument("--no-redact", action="store_true", help="show tokens, cookies and keys")
    _patterns(c)
    _colour(c)
    c.set_defaults(run=_explain)

    c = commands.add_parser("patterns", help="list, show and test patterns", formatter_class=_Formatter)
    c.set_defaults(run=_help_of(c))
    actions = c.add_subparsers(title="actions", metavar="ACTION")
    a = actions.add_parser("list", help="list patterns", formatter_class=_Formatter)
    a.add_argument("--cause", metavar="ID", help="only patterns that can name this cause")
    a.add_argument("--format", metavar="NAME", help="only patterns of this format")
    _patterns(a)
    a.set_defaults(run=_patterns_list)
    a = actions.add_parser("show", help="show one pattern", formatter_class=_Formatter)
    a.add_argument("id", metavar="ID")
    _patterns(a)
    a.set_defaults(run=_patterns_show)
    a = actions.add_parser(
        "test", help="run the examples and near misses of patterns in every encoding", formatter_class=_Formatter
    )
    _path(a.add_argument("files", nargs="*", metavar="FILE|ID", help="only these pattern files or ids (default: all)"))
    _patterns(a)
    a.set_defaults(run=_patterns_test)

    c = commands.add_parser("completion", help="print a shell completion script", formatter_class=_Formatter)
    c.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    c.set_defaults(run=_completion)
    return top


def _help_of(c: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    def run(_: argparse.Namespace) -> int:
        c.print_help()
        return EXIT_USAGE

    return run


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from meshdiag import __version__

        print(f"meshdiag {__version__}")
        parser.exit()


def _patterns(c: argparse.ArgumentParser) -> None:
    action = c.add_argument(
        "--patterns", action="append", default=[], metavar="DIR", help="folder of further pattern files"
    )
    action.complete = "directory"  # type: ignore[attr-defined]  # read by shtab


def _path(action: argparse.Action) -> None:
    action.complete = "file"  # type: ignore[attr-defined]  # read by shtab


def _colour(c: argparse.ArgumentParser) -> None:
    c.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="colour (NO_COLOR is obeyed)")


def _time(text: str) -> datetime:
    now = datetime.now(UTC)
    parts = _DURATION.findall(text)
    if parts and "".join(n + u for n, u in parts) == text:
        return now - timedelta(seconds=sum(float(n) * _UNITS[u] for n, u in parts))
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: give 2026-11-22T10:00:00Z, or 30m, 2h, 1d ago"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _jobs(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes: give 0, 1, 2, …")
    return int(text)


def _style(options: argparse.Namespace) -> Style:
    from meshdiag.views.style import Style, wants_colour

    return Style(wants_colour(sys.stdout, options.color))


# -- diagnose


def _diagnose(options: argparse.Namespace) -> int:
    from meshdiag.api import diagnose

    spec = options.access_log_format
    if spec and spec.startswith("@"):
        try:
            with open(spec[1:], encoding="utf-8") as f:  # noqa: PTH123
                spec = f.read()
        except (OSError, UnicodeDecodeError) as e:
            raise MeshdiagError(f"--access-log-format: cannot read {spec[1:]}: {e}") from None
    diagnosis = diagnose(
        *options.inputs,
        patterns=options.patterns,
        since=options.since,
        until=options.until,
        namespaces=options.namespace,
        pods=options.pod,
        access_log_format=spec,
        jobs=options.jobs,
        progress=True,
    )
    _known_causes(diagnosis.catalogue, [*options.cause, *(s.partition("=")[0] for s in options.suppress)])
    diagnosis = diagnosis.only(options.cause, Severity(options.min_severity), options.suppress)
    _print_diagnosis(diagnosis, options)
    if diagnosis.failures:
        return EXIT_FAILURES
    if diagnosis.seen.lines == 0 and diagnosis.problems:
        problem = diagnosis.problems[0]
        raise MeshdiagError(f"nothing could be read: {problem}")
    return EXIT_OK


def _known_causes(catalogue: Catalogue, ids: Sequence[str]) -> None:
    import difflib

    for i in ids:
        if i not in catalogue.causes:
            near = difflib.get_close_matches(i, catalogue.causes, 3)
            raise MeshdiagError(f"no cause is named {i!r}" + (f": did you mean {' or '.join(near)}?" if near else ""))


def _print_diagnosis(diagnosis: Diagnosis, options: argparse.Namespace) -> None:
    redacted = not options.no_redact
    match options.output:
        case "json":
            print(diagnosis.to_json(redacted=redacted))
        case "jsonl":
            from meshdiag.views.jsonl import render as jsonl

            sys.stdout.write(jsonl(diagnosis, redacted=redacted))
        case "markdown":
            from meshdiag.views.markdown import render as markdown

            print(markdown(diagnosis, redacted=redacted))
        case _:
            from meshdiag.views.text import render as text

            width = shutil.get_terminal_size((100, 24)).columns
            sys.stdout.write(
                text(
                    diagnosis,
                    width=min(width, 140),
                    style=_style(options),
                    redacted=redacted,
                    verbose=options.verbose,
                    limit=options.limit or 1_000_000,
                )
            )


# -- explain


def _explain(options: argparse.Namespace) -> int:
    from meshdiag.catalogue import Catalogue
    from meshdiag.explanation import explain

    what = " ".join(options.what)
    if what == "-":
        what = sys.stdin.buffer.read(1 << 20).decode("utf-8", "replace")
    result = explain(what, Catalogue.load(*options.patterns))
    if options.output == "json":
        import json

        print(json.dumps(result.to_dict(), indent=2))
    else:
        from meshdiag.views.explanation import render

        width = min(shutil.get_terminal_size((100, 24)).columns, 120)
        sys.stdout.write(
            render(result, width=width, style=_style(options), why_not=options.why_not, redacted=not options.no_redact)
        )
    return EXIT_OK if _explained(result) else EXIT_FAILURES


def _explained(result: Explanation) -> bool:
    return (
        result.kind != "line"
        or bool(result.pattern)
        or not result.why_not
        or result.title.startswith("nothing is wrong")
    )


# -- patterns


def _patterns_list(options: argparse.Namespace) -> int:
    from meshdiag.catalogue import Catalogue

    book = Catalogue.load(*options.patterns)
    if options.cause:
        _known_causes(book, [options.cause])
    rows = [
        p
        for p in sorted(book.patterns, key=lambda p: (p.file, p.line))
        if (not options.cause or options.cause in p.causes) and (not options.format or options.format in p.formats)
    ]
    width = max((len(p.id) for p in rows), default=0)
    for p in rows:
        print(f"{p.id:<{width}}  {', '.join(sorted(p.causes))}")
    return EXIT_OK


def _patterns_show(options: argparse.Namespace) -> int:
    import yaml

    from meshdiag.catalogue import Catalogue
    from meshdiag.explanation import explain

    book = Catalogue.load(*options.patterns, full=True)
    p = book.by_id.get(options.id)
    if p is None:
        explain(options.id, book)  # says which words are near
        raise MeshdiagError(f"no pattern is named {options.id!r}")
    shown = {
        "id": p.id, "cause": p.cause, "cause_by": [{"regex": r, "cause": c} for r, c in p.cause_by], "component": p.component,
        "formats": list(p.formats), "when": dict(p.when), "captures": dict(p.captures), "priority": p.priority,
        "confidence": p.confidence.value, "alternatives": list(p.alternatives), "subject": p.subject,
        "milestone": p.milestone, "since": p.since, "until": p.until, "note": p.note, "prefilter": list(p.prefilter),
        "examples": [dict(e) for e in p.examples], "near_misses": [dict(e) for e in p.near_misses],
    }  # fmt: skip
    print(f"# {p.file}:{p.line}")
    print(
        yaml.safe_dump({k: v for k, v in shown.items() if v not in ("", None, [], {}, 0)}, sort_keys=False, width=120),
        end="",
    )
    return EXIT_OK


def _patterns_test(options: argparse.Namespace) -> int:
    from meshdiag.catalogue import Catalogue
    from meshdiag.catalogue.check import check

    book = Catalogue.load(*options.patterns, full=True)
    some = list(book.patterns)
    if options.files:
        wanted = {os.path.realpath(f) for f in options.files}
        some = [p for p in some if p.id in options.files or os.path.realpath(p.file) in wanted]
        if not some:
            raise MeshdiagError(
                f"no pattern is in {', '.join(options.files)}: give a pattern file of a loaded pack, or an id"
            )
    failed = list(check(book, some))
    for f in failed:
        print(f)
    print(
        f"{len(some)} patterns, {sum(len(p.examples) + len(p.near_misses) for p in some)} examples, {len(failed)} failed"
    )
    return EXIT_FAILURES if failed else EXIT_OK


def _completion(options: argparse.Namespace) -> int:
    import shtab

    print(shtab.complete(parser(), shell=options.shell))
    return EXIT_OK
