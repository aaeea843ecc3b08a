"""Commands that diagnose captures: which records they read, which findings they show."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from meshdiag.cli.common import add_colour, add_patterns, known_causes, parse_jobs, parse_time
from meshdiag.model import MeshdiagError, Severity

if TYPE_CHECKING:
    import pandas as pd

    from meshdiag.diagnosis import Diagnosis


def add_reading(c: argparse.ArgumentParser, *, times: bool = True) -> None:
    """The options that say which records are read, and how."""
    if times:
        c.add_argument(
            "--since", metavar="TIME", type=parse_time, help="only records from here: 2026-11-22T10:00:00Z, 30m, 2h, 1d"
        )
        c.add_argument("--until", metavar="TIME", type=parse_time, help="only records up to here")
    c.add_argument(
        "-n", "--namespace", action="append", default=[], metavar="NAME", help="only records of this namespace"
    )
    add_patterns(c)
    c.add_argument(
        "--access-log-format", metavar="FORMAT", help="the mesh's accessLogFormat string or JSON mapping (or @FILE)"
    )
    c.add_argument(
        "-j", "--jobs", type=parse_jobs, metavar="N", help="processes (0: one for each CPU; default: as many as pay)"
    )
    c.add_argument("--no-redact", action="store_true", help="show tokens, cookies and keys")
    add_colour(c)


def add_choosing(c: argparse._ActionsContainer) -> None:
    """The options that say which findings are shown."""
    c.add_argument("--cause", action="append", default=[], metavar="ID", help="only findings of this cause")
    c.add_argument("--min-severity", choices=[s.value for s in Severity], default="info", help="only findings this bad")
    c.add_argument(
        "--suppress", action="append", default=[], metavar="CAUSE[=SUBJECT]", help="leave findings out (SUBJECT: glob)"
    )


def read(
    options: argparse.Namespace,
    inputs: Sequence[str],
    since: datetime | None = None,
    until: datetime | None = None,
    pods: Sequence[str] = (),
) -> Diagnosis:
    """The diagnosis of the inputs, as the options of `add_reading` say."""
    from meshdiag.api import diagnose

    return diagnose(
        *inputs,
        patterns=options.patterns,
        since=since,
        until=until,
        namespaces=options.namespace,
        pods=pods,
        access_log_format=format_of(options.access_log_format),
        jobs=options.jobs,
        progress=True,
    )


def chosen(options: argparse.Namespace, diagnosis: Diagnosis) -> Diagnosis:
    """The diagnosis with the findings that the options of `add_choosing` say. Raises MeshdiagError for an unknown cause."""
    known_causes(diagnosis.catalogue, [*options.cause, *(s.partition("=")[0] for s in options.suppress)])
    return diagnosis.only(options.cause, Severity(options.min_severity), options.suppress)


def must_have_read(diagnosis: Diagnosis, which: str = "") -> None:
    """Raises MeshdiagError when nothing at all could be read."""
    if diagnosis.seen.lines == 0 and diagnosis.problems:
        raise MeshdiagError(f"nothing could be read{which}: {diagnosis.problems[0]}")


def format_of(spec: str | None) -> str | None:
    """The access log format that an option names: itself, or the content of @FILE."""
    if not spec or not spec.startswith("@"):
        return spec
    try:
        with open(spec[1:], encoding="utf-8") as f:  # noqa: PTH123
            return f.read()
    except (OSError, UnicodeDecodeError) as e:
        raise MeshdiagError(f"--access-log-format: cannot read {spec[1:]}: {e}") from None


def frames_again(
    options: argparse.Namespace, inputs: Sequence[str], columns: Sequence[str], pods: Sequence[str] = ()
) -> Iterator[pd.DataFrame] | None:
    """The records once more as frames, in chunks, for what a diagnosis does not keep; None when they cannot be read twice.

    That is without pandas, and where an input is a pipe or is fetched.
    """
    if not all(map(_can_be_read_again, inputs)):
        return None
    try:
        from meshdiag.framing import frames
    except ImportError:
        return None
    return frames(
        *inputs,
        rows=100_000,
        columns=columns,
        since=options.since,
        until=options.until,
        namespaces=options.namespace,
        pods=pods,
        access_log_format=format_of(options.access_log_format),
    )


def _can_be_read_again(name: str) -> bool:
    """Whether it is a file, a folder or a glob: no pipe, and nothing that is fetched."""
    if name == "-" or "://" in name:
        return False
    path = Path(name)
    return path.is_file() or path.is_dir() or not os.path.lexists(path)
