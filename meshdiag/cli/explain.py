"""`meshdiag explain`: what a word or a line means."""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import TYPE_CHECKING, Any

from meshdiag.cli.common import EXIT_FAILURES, EXIT_OK, Formatter, add_colour, add_patterns, style_of

if TYPE_CHECKING:
    from meshdiag.explanation import Explanation


def add(commands: Any) -> None:
    """Add the command to the parser."""
    c = commands.add_parser(
        "explain",
        help="explain a flag, a code, a cause, or a whole line",
        description="Explain a cause id, response flag, response-code detail, JWT status, TLS error, errno, IST code, pattern "
        "id, or a whole pasted line (- reads it from standard input).",
        formatter_class=Formatter,
    )
    c.add_argument("what", nargs="+", metavar="WORD|LINE")
    c.add_argument("--why-not", action="store_true", help="for a line: the conditions that the nearest patterns miss")
    c.add_argument("-o", "--output", choices=("text", "json"), default="text")
    c.add_argument("--no-redact", action="store_true", help="show tokens, cookies and keys")
    add_patterns(c)
    add_colour(c)
    c.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
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
            render(
                result, width=width, style=style_of(options), why_not=options.why_not, redacted=not options.no_redact
            )
        )
    return EXIT_OK if _explained(result) else EXIT_FAILURES


def _explained(result: Explanation) -> bool:
    return (
        result.kind != "line"
        or bool(result.pattern)
        or not result.why_not
        or result.title.startswith("nothing is wrong")
    )
