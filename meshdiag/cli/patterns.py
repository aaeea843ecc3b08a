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
    named = [(p.id, ", ".join(sorted(p.causes))) for p in rows]
    if not options.format:
        named += [(s.id, f"{s.cause} (sequence)") for s in book.sequences if options.cause in (None, s.cause)]
    width = max((len(name) for name, _ in named), default=0)
    for name, causes in named:
        print(f"{name:<{width}}  {causes}")
    return EXIT_OK


def _patterns_show(options: argparse.Namespace) -> int:
    from meshdiag.catalogue import Catalogue
    from meshdiag.explanation import explain

    book = Catalogue.load(*options.patterns, full=True)
    p = book.by_id.get(options.id)
    sequence = next((s for s in book.sequences if s.id == options.id), None)
    if sequence is not None:
        _print_entry(sequence.file, sequence.line, {
            "id": sequence.id, "cause": sequence.cause, "on": sequence.on, "first": sorted(sequence.first),
            "then": sorted(sequence.then), "without": sorted(sequence.without),
            "at_least": sequence.at_least if sequence.at_least > 1 else 0, "within": f"{sequence.within:g}s",
            "confidence": sequence.confidence.value, "says": sequence.says,
            "examples": list(sequence.examples), "near_misses": list(sequence.near_misses),
        })  # fmt: skip
        return EXIT_OK
    if p is None:
        explain(options.id, book)  # says which words are near
        raise MeshdiagError(f"no pattern is named {options.id!r}")
    shown = {
        "id": p.id, "cause": p.cause, "cause_by": [{"regex": r, "cause": c} for r, c in p.cause_by], "component": p.component,
        "formats": list(p.formats), "when": dict(p.when), "captures": dict(p.captures), "priority": p.priority,
        "confidence": p.confidence.value, "alternatives": list(p.alternatives), "subject": p.subject,
        "milestone": p.milestone, "change": p.change, "since": p.since, "until": p.until, "note": p.note, "prefilter": list(p.prefilter),
        "examples": [dict(e) for e in p.examples], "near_misses": [dict(e) for e in p.near_misses],
    }  # fmt: skip
    _print_entry(p.file, p.line, shown)
    return EXIT_OK


def _print_entry(file: str, line: int, shown: dict[str, Any]) -> None:
    import yaml

    print(f"# {file}:{line}")
    known = {k: v for k, v in shown.items() if v not in ("", None, [], {}, 0)}
    print(yaml.safe_dump(known, sort_keys=False, width=120), end="")


def _patterns_test(options: argparse.Namespace) -> int:
    from meshdiag.api import check_sequences
    from meshdiag.catalogue import Catalogue
    from meshdiag.catalogue.check import check

    book = Catalogue.load(*options.patterns, full=True)
    some, sequences = list(book.patterns), list(book.sequences)
    if options.files:
        wanted = {os.path.realpath(f) for f in options.files}
        some = [p for p in some if p.id in options.files or os.path.realpath(p.file) in wanted]
        sequences = [s for s in sequences if s.id in options.files or os.path.realpath(s.file) in wanted]
        if not some and not sequences:
            raise MeshdiagError(
                f"no pattern is in {', '.join(options.files)}: give a pattern file of a loaded pack, or an id"
            )
    failed = [*check(book, some), *check_sequences(book, sequences)]
    for f in failed:
        print(f)
    examples = sum(len(p.examples) + len(p.near_misses) for p in some)
    examples += sum(len(s.examples) + len(s.near_misses) for s in sequences)
    kinds = [f"{n} {kind}" for n, kind in ((len(some), "patterns"), (len(sequences), "sequences")) if n]
    print(f"{', '.join(kinds)}, {examples} examples, {len(failed)} failed")
    return EXIT_FAILURES if failed else EXIT_OK
