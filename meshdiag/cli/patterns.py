"""`meshdiag patterns list|show|test`."""

from __future__ import annotations

import argparse
import os
from typing import Any

from meshdiag.cli.common import (
    EXIT_FAILURES,
    EXIT_OK,
    Formatter,
    add_patterns,
    complete_file,
    help_of,
    known_causes,
)
from meshdiag.model import MeshdiagError


def add(commands: Any) -> None:
    """Add the command to the parser."""
    c = commands.add_parser("patterns", help="list, show and test patterns", formatter_class=Formatter)
    c.set_defaults(run=help_of(c))
    actions = c.add_subparsers(title="actions", metavar="ACTION")
    a = actions.add_parser("list", help="list patterns", formatter_class=Formatter)
    a.add_argument("--cause", metavar="ID", help="only patterns that can name this cause")
    a.add_argument("--format", metavar="NAME", help="only patterns of this format")
    add_patterns(a)
    a.set_defaults(run=_patterns_list)
    a = actions.add_parser("show", help="show one pattern", formatter_class=Formatter)
    a.add_argument("id", metavar="ID")
    add_patterns(a)
    a.set_defaults(run=_patterns_show)
    a = actions.add_parser(
        "test", help="run the examples and near misses of patterns in every encoding", formatter_class=Formatter
    )
    complete_file(
        a.add_argument("files", nargs="*", metavar="FILE|ID", help="only these pattern files or ids (default: all)")
    )
    add_patterns(a)
    a.set_defaults(run=_patterns_test)


def _patterns_list(options: argparse.Namespace) -> int:
    from meshdiag.catalogue import Catalogue

    book = Catalogue.load(*options.patterns)
    if options.cause:
        known_causes(book, [options.cause])
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
