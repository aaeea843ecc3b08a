"""`meshdiag diagnose`: what is wrong in captured logs."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import TYPE_CHECKING, Any

from meshdiag.cli.common import (
    EXIT_FAILURES,
    EXIT_OK,
    Formatter,
    add_colour,
    add_patterns,
    complete_file,
    known_causes,
    parse_jobs,
    parse_time,
    style_of,
)
from meshdiag.model import MeshdiagError, Severity

if TYPE_CHECKING:
    from meshdiag.diagnosis import Diagnosis

GROUPS = ("cause", "workload", "edge", "pod")
OUTPUTS = ("text", "json", "jsonl", "markdown")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    c = commands.add_parser(
        "diagnose",
        help="say what is wrong in captured logs",
        description="Diagnose captured logs: files, folders, globs, archives (.gz .zst .bz2 .xz .zip .tar.*), an istioctl "
        "bug-report, or - for standard input.",
        epilog="Exit code: 0 nothing failing, 1 failures found, 2 wrong usage or unreadable input.",
        formatter_class=Formatter,
    )
    complete_file(c.add_argument("inputs", nargs="+", metavar="INPUT", help="file, folder, glob, archive, URL, or -"))
    c.add_argument("-o", "--output", choices=OUTPUTS, default="text", help="text (default), json, jsonl or markdown")
    c.add_argument(
        "--since", metavar="TIME", type=parse_time, help="only records from here: 2026-11-22T10:00:00Z, 30m, 2h, 1d"
    )
    c.add_argument("--until", metavar="TIME", type=parse_time, help="only records up to here")
    c.add_argument(
        "-n", "--namespace", action="append", default=[], metavar="NAME", help="only records of this namespace"
    )
    c.add_argument("--pod", action="append", default=[], metavar="NAME", help="only records of this pod")
    c.add_argument("--cause", action="append", default=[], metavar="ID", help="only findings of this cause")
    c.add_argument("--min-severity", choices=[s.value for s in Severity], default="info", help="only findings this bad")
    c.add_argument(
        "--suppress", action="append", default=[], metavar="CAUSE[=SUBJECT]", help="leave findings out (SUBJECT: glob)"
    )
    c.add_argument(
        "--group-by", choices=GROUPS, help="a line a finding, in groups, the worst first (text and markdown)"
    )
    add_patterns(c)
    c.add_argument(
        "--access-log-format", metavar="FORMAT", help="the mesh's accessLogFormat string or JSON mapping (or @FILE)"
    )
    c.add_argument(
        "-j", "--jobs", type=parse_jobs, metavar="N", help="processes (0: one for each CPU; default: as many as pay)"
    )
    c.add_argument("--no-redact", action="store_true", help="show tokens, cookies and keys")
    c.add_argument("--limit", type=int, default=10, metavar="N", help="failures shown as text (0: all)")
    c.add_argument("-v", "--verbose", action="store_true", help="all samples, remedies, shapes")
    add_colour(c)
    c.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from meshdiag.api import diagnose

    if options.group_by and options.output in ("json", "jsonl"):
        raise MeshdiagError(f"--group-by is for text and markdown: -o {options.output} has every finding with its subject")
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
    known_causes(diagnosis.catalogue, [*options.cause, *(s.partition("=")[0] for s in options.suppress)])
    diagnosis = diagnosis.only(options.cause, Severity(options.min_severity), options.suppress)
    _print_diagnosis(diagnosis, options)
    if diagnosis.failures:
        return EXIT_FAILURES
    if diagnosis.seen.lines == 0 and diagnosis.problems:
        problem = diagnosis.problems[0]
        raise MeshdiagError(f"nothing could be read: {problem}")
    return EXIT_OK


def _print_diagnosis(diagnosis: Diagnosis, options: argparse.Namespace) -> None:
    redacted = not options.no_redact
    if options.group_by:
        _print_groups(diagnosis, options)
        return
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
                    style=style_of(options),
                    redacted=redacted,
                    verbose=options.verbose,
                    limit=options.limit or 1_000_000,
                )
            )


def _print_groups(diagnosis: Diagnosis, options: argparse.Namespace) -> None:
    from meshdiag.views.groups import markdown, render

    redacted = not options.no_redact
    if options.output == "markdown":
        print(markdown(diagnosis, options.group_by, redacted=redacted))
        return
    width = min(shutil.get_terminal_size((100, 24)).columns, 140)
    limit = 0 if options.verbose else options.limit
    sys.stdout.write(
        render(
            diagnosis, options.group_by, width=width, style=style_of(options), redacted=redacted, limit=limit
        )
    )
