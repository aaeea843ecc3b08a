"""`meshdiag graph`: who calls whom, and where it fails."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from typing import Any

from meshdiag.cli.cluster import add_state, state_of
from meshdiag.cli.common import EXIT_FAILURES, EXIT_OK, Formatter, complete_file, style_of
from meshdiag.cli.reading import add_reading, frames_again, must_have_read, read
from meshdiag.model import MeshdiagError

NO_LATENCY = "Latency is not known: it takes meshdiag[notebook], and inputs that can be read twice."

OUTPUTS = ("text", "dot", "mermaid", "json", "svg")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    c = commands.add_parser(
        "graph",
        help="show who calls whom, and where it fails",
        description="The service graph of captured logs: each edge with its rate, failing share, latency (with meshdiag[notebook]) and, "
        "with --cluster, whether it is mTLS.",
        epilog="Exit code: 0 nothing failing, 1 failures found, 2 wrong usage or unreadable input.",
        formatter_class=Formatter,
    )
    complete_file(c.add_argument("inputs", nargs="+", metavar="INPUT", help="file, folder, glob, archive, URL, or -"))
    c.add_argument("-o", "--output", choices=OUTPUTS, default="text", help="text (default), dot, mermaid, json or svg")
    c.add_argument("--limit", type=_number, default=30, metavar="N", help="edges shown as text (0: all)")
    add_reading(c)
    add_state(c)
    c.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from meshdiag.diagnosis.graph import graph

    if options.output == "svg":
        _must_draw()
    snapshot = state_of(options)
    diagnosis = read(options, options.inputs, options.since, options.until).checked(snapshot)
    must_have_read(diagnosis)
    durations = _durations(options)
    found = graph(diagnosis, durations)
    match options.output:
        case "json":
            text = json.dumps(found.to_dict(), indent=2) + "\n"
        case "dot":
            from meshdiag.views.graph import dot

            text = dot(found)
        case "mermaid":
            from meshdiag.views.graph import mermaid

            text = mermaid(found)
        case "svg":
            from meshdiag.plots import svg

            text = svg(found)
        case _:
            from meshdiag.views.graph import render

            width = min(shutil.get_terminal_size((100, 24)).columns, 160)
            text = render(found, width=width, style=style_of(options), limit=options.limit)
            if durations is None and found.edges:
                text += f"\n{style_of(options)(NO_LATENCY, 'dim')}\n"
    sys.stdout.write(text)
    return EXIT_FAILURES if diagnosis.failures else EXIT_OK


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of edges: give 0, 1, 2, …")
    return int(text)


def _must_draw() -> None:
    """Raises MeshdiagError, before anything is read, without matplotlib."""
    try:
        import meshdiag.plots  # noqa: F401
    except ImportError as e:
        raise MeshdiagError(f"-o svg: {e}") from None


def _durations(options: argparse.Namespace) -> Mapping[tuple[str, str], Mapping[int, int]] | None:
    """How long requests of each edge took, which a diagnosis does not keep; None when it cannot be known."""
    try:
        from meshdiag.framing.durations import COLUMNS, durations
    except ImportError:
        return None
    frames = frames_again(options, options.inputs, COLUMNS)
    return None if frames is None else durations(frames)
