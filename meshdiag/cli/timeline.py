"""`meshdiag timeline`: how far each proxy got in its start, and what stopped it."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from meshdiag.cli.common import EXIT_FAILURES, EXIT_OK, Formatter, complete_file, style_of
from meshdiag.cli.reading import add_reading, must_have_read, read
from meshdiag.model import MeshdiagError

if TYPE_CHECKING:
    from meshdiag.diagnosis.readiness import Start

_POD = re.compile(r"(?:[a-z0-9][a-z0-9-]{0,62}/)?[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
"""A pod's name, or NAMESPACE/NAME."""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    c = commands.add_parser(
        "timeline",
        usage="%(prog)s [options] [POD] INPUT [INPUT ...]",
        help="say how far each proxy got in its start",
        description="Show the start of every proxy, istiod, ztunnel and istio-cni whose log is given: the milestones with times "
        "and gaps, the last one reached, what was expected next, and what blocked it.",
        epilog="Exit code: 0 all ready (or too early to say), 1 a pod never got ready, 2 wrong usage or unreadable input.",
        formatter_class=Formatter,
    )
    complete_file(
        c.add_argument(
            "inputs",
            nargs="+",
            metavar="INPUT",
            help="file, folder, glob, archive, URL, or -; a word that is none of them is a pod: its name, NAMESPACE/NAME, or "
            "the beginning of its name",
        )
    )
    c.add_argument("-o", "--output", choices=("text", "json"), default="text", help="text (default) or json")
    add_reading(c)
    c.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from meshdiag.diagnosis.readiness import Ready, start_of, starts, to_dict

    pod, inputs = pod_and_inputs(options.inputs)
    diagnosis = read(options, inputs, options.since, options.until)
    must_have_read(diagnosis)
    some: tuple[Start, ...]
    if pod:
        try:
            some = (start_of(diagnosis, diagnosis.timeline(pod)),)
        except MeshdiagError as e:
            raise MeshdiagError(f"{pod!r} is no file or folder here, and {e}") from None
    else:
        some = starts(diagnosis)
    if options.output == "json":
        import json

        print(json.dumps(to_dict(some), indent=2))
    else:
        from meshdiag.views.timeline import render_all, render_one

        look: dict[str, Any] = {
            "width": min(shutil.get_terminal_size((100, 24)).columns, 140),
            "style": style_of(options),
            "redacted": not options.no_redact,
        }
        sys.stdout.write(render_one(diagnosis, some[0], **look) if pod else render_all(diagnosis, some, **look))
    return EXIT_FAILURES if any(s.state is Ready.NOT_READY for s in some) else EXIT_OK


def pod_and_inputs(words: Sequence[str]) -> tuple[str, list[str]]:
    """The pod that is asked for ("" for all) and the inputs: what is no input and could be a pod's name is one.

    Raises MeshdiagError for two such words, and for one that nothing else stands beside.
    """
    inputs = [w for w in words if is_input(w) or not _POD.fullmatch(w)]
    pods = [w for w in words if w not in inputs]
    if len(pods) > 1:
        raise MeshdiagError(
            f"{' and '.join(map(repr, pods[:3]))} are no files or folders here: name one pod at most, and inputs that are there"
        )
    if not inputs:
        raise MeshdiagError(
            f"{pods[0]!r} is no file or folder here; if it is a pod, name its logs, too: meshdiag timeline {pods[0]} INPUT…"
        )
    return "".join(pods), inputs


def is_input(word: str) -> bool:
    """Whether a word names something to read: what is there, a glob, a URL, or standard input."""
    return word == "-" or "://" in word or any(c in word for c in "*?[") or os.path.lexists(word)
