"""`meshdiag diff`: what changed between two captures."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import Any

from meshdiag.cli.common import EXIT_FAILURES, EXIT_OK, Formatter, complete_file, parse_time, style_of
from meshdiag.cli.reading import add_choosing, add_reading, chosen, must_have_read, read
from meshdiag.model import MeshdiagError

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
    add_choosing(c)
    add_reading(c, times=False)
    c.add_argument("--limit", type=int, default=10, metavar="N", help="findings of each kind shown as text (0: all)")
    c.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from meshdiag.diagnosis.compare import compare

    both = captures(options)
    found = []
    for name, inputs in zip(("first", "second"), both, strict=True):
        first = name == "first"
        diagnosis = read(options, inputs, None if first else options.changed_at, options.changed_at if first else None)
        must_have_read(diagnosis, f" of the {name} capture")
        found.append(chosen(options, diagnosis))
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
            sys.stdout.write(render(comparison, width=width, style=style_of(options), redacted=redacted, limit=limit))
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
