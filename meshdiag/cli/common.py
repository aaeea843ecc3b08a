"""What the commands share: options, times, colours, and looking up what the user named."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from meshdiag.model import MeshdiagError

if TYPE_CHECKING:
    from meshdiag.catalogue import Catalogue
    from meshdiag.views.style import Style

EXIT_OK, EXIT_FAILURES, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 2, 130, 143

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Formatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=min(shutil.get_terminal_size().columns, 110) - 2)


def help_of(c: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    def run(_: argparse.Namespace) -> int:
        c.print_help()
        return EXIT_USAGE

    return run


class Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from meshdiag import __version__

        print(f"meshdiag {__version__}")
        parser.exit()


def add_patterns(c: argparse.ArgumentParser) -> None:
    action = c.add_argument(
        "--patterns", action="append", default=[], metavar="DIR", help="folder of further pattern files"
    )
    action.complete = "directory"  # type: ignore[attr-defined]  # read by shtab


def complete_file(action: argparse.Action) -> None:
    action.complete = "file"  # type: ignore[attr-defined]  # read by shtab


def add_colour(c: argparse.ArgumentParser) -> None:
    c.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="colour (NO_COLOR is obeyed)")


def _seconds(text: str) -> float | None:
    """Seconds of `1h30m`; None when it is no duration."""
    parts = _DURATION.findall(text)
    if not parts or "".join(n + u for n, u in parts) != text:
        return None
    return sum(float(n) * _UNITS[u] for n, u in parts)


def parse_duration(text: str) -> float:
    seconds = _seconds(text)
    if not seconds:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time: give 30s, 5m, 1h30m")
    return seconds


def parse_time(text: str) -> datetime:
    now = datetime.now(UTC)
    seconds = _seconds(text)
    if seconds is not None:
        return now - timedelta(seconds=seconds)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: give 2026-11-22T10:00:00Z, or 30m, 2h, 1d ago"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def parse_jobs(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes: give 0, 1, 2, …")
    return int(text)


def style_of(options: argparse.Namespace) -> Style:
    from meshdiag.views.style import Style, wants_colour

    return Style(wants_colour(sys.stdout, options.color))


def known_causes(catalogue: Catalogue, ids: Sequence[str]) -> None:
    import difflib

    for i in ids:
        if i not in catalogue.causes:
            near = difflib.get_close_matches(i, catalogue.causes, 3)
            raise MeshdiagError(f"no cause is named {i!r}" + (f": did you mean {' or '.join(near)}?" if near else ""))
