"""`meshdiag diagnose`: what is wrong in captured logs."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import TYPE_CHECKING, Any

from meshdiag.cli.cluster import add_state, state_of
from meshdiag.cli.common import EXIT_FAILURES, EXIT_OK, Formatter, complete_file, style_of
from meshdiag.cli.reading import add_choosing, add_reading, chosen, must_have_read, read
from meshdiag.model import MeshdiagError

if TYPE_CHECKING:
    from meshdiag.diagnosis import Diagnosis

GROUPS = ("cause", "workload", "edge", "pod")
OUTPUTS = ("text", "json", "jsonl", "markdown", "html")


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
    c.add_argument(
        "-o", "--output", choices=OUTPUTS, default="text", help="text (default), json, jsonl, markdown or html"
    )
    c.add_argument("--pod", action="append", default=[], metavar="NAME", help="only records of this pod")
    add_choosing(c)
    c.add_argument(
        "--group-by", choices=GROUPS, help="a line a finding, in groups, the worst first (text and markdown)"
    )
    add_reading(c)
    add_state(c)
    c.add_argument("--limit", type=int, default=10, metavar="N", help="failures shown as text (0: all)")
    c.add_argument("-v", "--verbose", action="store_true", help="all samples, remedies, shapes")
    c.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.group_by and options.output not in ("text", "markdown"):
        raise MeshdiagError(
            f"--group-by is for text and markdown: -o {options.output} has every finding with its subject"
        )
    snapshot = state_of(options)  # what is asked in vain is told before logs are read
    diagnosis = read(options, options.inputs, options.since, options.until, options.pod).checked(snapshot)
    diagnosis = chosen(options, diagnosis)
    _print_diagnosis(diagnosis, options)
    if diagnosis.failures:
        return EXIT_FAILURES
    must_have_read(diagnosis)
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
        case "html":
            from meshdiag.views.html import render as html

            sys.stdout.write(html(diagnosis, redacted=redacted))
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
        render(diagnosis, options.group_by, width=width, style=style_of(options), redacted=redacted, limit=limit)
    )
