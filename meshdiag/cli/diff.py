"""`meshdiag diff`: what changed between two captures."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import Any

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

OUTPUTS = ("text", "json", "markdown")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    c = commands.add_parser(
        "diff",
        usage="%(prog)s [options] BEFORE AFTER\n       %(prog)s [options] --before INPUT [INPUT ...] --after INPUT [INPUT ...]",
        help="say what changed between two captures",
        description="Diagnose two captures and say what is gone, new, worse, better, the same, and what the second one does not "
        "prove. Captures of different length are compared by rate.",
        epilog="Exit code: 0 nothing new or worse, 1 something new or worse, 2 wrong usage or unreadable input.",
        formatter_class=Formatter,
    )
    complete_file(
        c.add_argument(
            "captures",
            nargs="*",
            metavar="CAPTURE",
            help="BEFORE and AFTER, each a file, folder, glob, archive, URL, or -",
        )
    )
    for name in ("before", "after"):
        complete_file(
            c.add_argument(
                f"--{name}",
                nargs="+",
                action="extend",
                default=[],
                metavar="INPUT",
                help=f"inputs {name}, when there are several",
            )
        )
    c.add_argument(
        "--changed-at",
        metavar="TIME",
        type=parse_time,
        help="only records up to TIME count before, only those from it after",
    )
    c.add_argument("-o", "--output", choices=OUTPUTS, default="text", help="text (default), json or markdown")
    c.add_argument(
        "-n",
        "--namespace",
        action="append",
        default=[],
        metavar="NAME",
        help="only records of this namespace",
    )
    c.add_argument("--cause", action="append", default=[], metavar="ID", help="only findings of this cause")
    c.add_argument(
        "--min-severity", choices=[s.value for s in Severity], default="info", help="only findings this bad"
    )
    c.add_argument(
        "--suppress",
        action="append",
        default=[],
        metavar="CAUSE[=SUBJECT]",
        help="leave findings out (SUBJECT: glob)",
    )
    add_patterns(c)
    c.add_argument(
        "-j",
        "--jobs",
        type=parse_jobs,
        metavar="N",
        help="processes (0: one for each CPU; default: as many as pay)",
    )
    c.add_argument("--no-redact", action="store_true", help="show tokens, cookies and keys")
    c.add_argument(
        "--limit", type=int, default=10, metavar="N", help="findings of each kind shown as text (0: all)"
    )
    add_colour(c)
    c.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from meshdiag.api import diagnose
    from meshdiag.diagnosis.compare import compare

    both = captures(options)
    found = []
    for name, inputs in zip(("first", "second"), both, strict=True):
        diagnosis = diagnose(
            *inputs,
            patterns=options.patterns,
            since=options.changed_at if name == "second" else None,
            until=options.changed_at if name == "first" else None,
            namespaces=options.namespace,
            jobs=options.jobs,
            progress=True,
        )
        if diagnosis.seen.lines == 0 and diagnosis.problems:
            raise MeshdiagError(f"nothing could be read of the {name} capture: {diagnosis.problems[0]}")
        known_causes(diagnosis.catalogue, [*options.cause, *(s.partition("=")[0] for s in options.suppress)])
        found.append(diagnosis.only(options.cause, Severity(options.min_severity), options.suppress))
    comparison = compare(found[0], found[1], options.changed_at)
    redacted, limit = not options.no_redact, max(0, options.limit)
    match options.output:
        case "json":
            import json

            print(json.dumps(comparison.to_dict(), indent=2))
        case "markdown":
            from meshdiag.views.compare import markdown

            print(markdown(comparison, redacted=redacted))
        case _:
            from meshdiag.views.compare import render

            width = min(shutil.get_terminal_size((100, 24)).columns, 140)
            sys.stdout.write(
                render(comparison, width=width, style=style_of(options), redacted=redacted, limit=limit)
            )
    return EXIT_FAILURES if comparison.is_worse else EXIT_OK


def captures(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The inputs before and after. Raises MeshdiagError unless both are given, in one of the two ways."""
    before, after, words = options.before, options.after, options.captures
    if not before and not after and len(words) == 2:
        before, after = words[:1], words[1:]
    elif words or not before or not after:
        given = "two inputs, BEFORE and AFTER, or --before INPUT… --after INPUT…"
        raise MeshdiagError(
            f"diff takes {given}; here are {len(words)} without an option" if words else f"diff takes {given}"
        )
    if "-" in before and "-" in after:
        raise MeshdiagError("standard input can be one of the two captures, not both")
    return before, after
