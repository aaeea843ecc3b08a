"""`meshdiag learn`: a draft pattern file of the lines that no pattern knows."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from meshdiag.cli.common import EXIT_FAILURES, EXIT_OK, Formatter, add_patterns, complete_file, known_causes
from meshdiag.model import MeshdiagError

SHOWN = 20


def add(commands: Any) -> None:
    """Add the command to the parser."""
    c = commands.add_parser(
        "learn",
        help="draft patterns for lines that no pattern knows",
        description="Write a draft pattern file for what `diagnose` does not recognise. It loads and passes `patterns test`; "
        "its causes are yours to name. Needs the package drain3-improved: pip install 'meshdiag[learn]'.",
        epilog="Exit code: 0 a draft or nothing to learn, 1 nothing could be drafted, 2 wrong usage or unreadable input.",
        formatter_class=Formatter,
    )
    complete_file(c.add_argument("inputs", nargs="+", metavar="INPUT", help="file, folder, glob, archive, URL, or -"))
    complete_file(
        c.add_argument("-o", "--output", default="-", metavar="FILE", help="a new file (default: standard output)")
    )
    c.add_argument("--component", default="", metavar="NAME", help="only lines of this component, or of an unknown one")
    c.add_argument(
        "--cause", default="none", metavar="ID", help="cause of the patterns (default: none, to be replaced)"
    )
    c.add_argument("--min-count", type=_number, default=2, metavar="N", help="leave out templates of fewer lines (2)")
    c.add_argument("--limit", type=_number, default=20, metavar="N", help="patterns at most (20)")
    add_patterns(c)
    c.set_defaults(run=run)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= len(text) <= 9 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number: give 1, 2, …")
    return int(text)


def run(options: argparse.Namespace) -> int:
    from meshdiag.api import diagnose
    from meshdiag.catalogue import Catalogue
    from meshdiag.learning import draft_of, mining
    from meshdiag.views.safe import one_line

    mining.require()
    target = None if options.output == "-" else Path(options.output)
    if target is not None and target.exists():
        raise MeshdiagError(f"{target} exists, and may have been completed by hand: name another file, or remove it")
    book = Catalogue.load(*options.patterns)
    if options.cause != "none":
        known_causes(book, [options.cause])
    diagnosis = diagnose(*options.inputs, patterns=options.patterns, jobs=None, progress=True)
    if diagnosis.seen.lines == 0 and diagnosis.problems:
        raise MeshdiagError(f"nothing could be read: {diagnosis.problems[0]}")
    draft = draft_of(
        diagnosis,
        component=options.component,
        cause=options.cause,
        min_count=options.min_count,
        limit=options.limit,
    )
    for problem in diagnosis.problems[:SHOWN]:
        print(f"meshdiag: {one_line(str(problem))}", file=sys.stderr)
    for s in draft.skipped[:SHOWN]:
        print(f"not drafted: {s}", file=sys.stderr)
    if len(draft.skipped) > SHOWN:
        print(f"not drafted: {len(draft.skipped) - SHOWN} more shapes", file=sys.stderr)
    if not draft.patterns:
        said = "no pattern could be drafted" if draft.skipped else "nothing to learn: every failing line is recognised"
        print(said, file=sys.stderr)
        return EXIT_FAILURES if draft.skipped else EXIT_OK
    if target is None:
        sys.stdout.write(draft.text)
        return EXIT_OK
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="ascii", newline="\n") as f:
            f.write(draft.text)
    except OSError as e:
        raise MeshdiagError(f"cannot write {target}: {e.strerror or e}") from None
    print(f"{len(draft.patterns)} patterns written to {target}: name their causes", file=sys.stderr)
    return EXIT_OK
