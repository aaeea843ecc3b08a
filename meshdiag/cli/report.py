"""`meshdiag report`: the diagnosis as one HTML file."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshdiag.cli.cluster import add_state, state_of
from meshdiag.cli.common import EXIT_FAILURES, EXIT_OK, Formatter, complete_file
from meshdiag.cli.reading import add_choosing, add_reading, chosen, frames_again, must_have_read, read
from meshdiag.model import MeshdiagError

if TYPE_CHECKING:
    from meshdiag.plots.percentiles import Durations


def add(commands: Any) -> None:
    """Add the command to the parser."""
    c = commands.add_parser(
        "report",
        help="write an HTML report to attach to an incident",
        description="Write what is wrong in captured logs into one HTML file that needs no network: root causes with proof, "
        "remedies, plots, starts of proxies, and what was not recognised. It can be searched and printed. Secrets are pseudonyms.",
        epilog="Plots need matplotlib: pip install 'meshdiag[notebook]'. Exit code: 0 nothing failing, 1 failures found, "
        "2 wrong usage or unreadable input.",
        formatter_class=Formatter,
    )
    complete_file(c.add_argument("inputs", nargs="+", metavar="INPUT", help="file, folder, glob, archive, URL, or -"))
    complete_file(
        c.add_argument(
            "-o", "--output", required=True, metavar="FILE", help="the file to write, or - for standard output"
        )
    )
    c.add_argument("--title", default="Mesh diagnosis", metavar="TEXT", help="the heading of the report")
    c.add_argument("--no-plots", action="store_true", help="a smaller file, made faster")
    c.add_argument("--pod", action="append", default=[], metavar="NAME", help="only records of this pod")
    add_choosing(c)
    add_reading(c)
    add_state(c)
    c.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from meshdiag.report import render
    from meshdiag.views.amounts import plural

    path = None if options.output == "-" else Path(options.output)
    if path is not None:
        _must_be_writable(path, options.inputs)
    snapshot = state_of(options)
    diagnosis = read(options, options.inputs, options.since, options.until, options.pod).checked(snapshot)
    diagnosis = chosen(options, diagnosis)
    if not diagnosis.failures:
        must_have_read(diagnosis)
    plots = not options.no_plots
    text = render(
        diagnosis,
        redacted=not options.no_redact,
        title=options.title,
        plots=plots,
        durations=_durations(options) if plots else None,
    )
    if path is None:
        sys.stdout.write(text)
    else:
        try:
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as e:
            raise MeshdiagError(f"cannot write to {path}: {e.strerror or e}") from None
        roots = len(diagnosis.root_causes)
        print(f"{path}: {plural(roots, 'root cause') if roots else 'no failure found'}", file=sys.stderr)
    return EXIT_FAILURES if diagnosis.failures else EXIT_OK


def _must_be_writable(path: Path, inputs: list[str]) -> None:
    """Raises MeshdiagError, before anything is read, where no report can be written, or would be written over a log."""
    if path.is_dir():
        raise MeshdiagError(f"{path} is a folder: name a file, such as {path / 'report.html'}")
    if not path.absolute().parent.is_dir():
        raise MeshdiagError(f"cannot write to {path}: there is no folder {path.parent}")
    if path.exists() and any(os.path.exists(i) and path.samefile(i) for i in inputs):  # noqa: PTH110  as the user wrote it
        raise MeshdiagError(f"{path} is an input: name another file for the report")
    if path.suffix.lower() not in (".html", ".htm") and path.exists():
        raise MeshdiagError(f"{path} is there already and no .html file: name another one")


def _durations(options: argparse.Namespace) -> Durations | None:
    """How long requests took, which a diagnosis does not keep."""
    try:
        from meshdiag.plots.percentiles import COLUMNS, durations
    except ImportError:
        return None
    frames = frames_again(options, options.inputs, COLUMNS, options.pod)
    return None if frames is None else durations(frames)
