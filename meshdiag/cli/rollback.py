"""`meshdiag rollback`: the way back, as a plan."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from typing import Any

from meshdiag.cli.cluster import add_cluster, snapshot_of
from meshdiag.cli.common import EXIT_OK, Formatter, add_colour, complete_file, style_of


def add(commands: Any) -> None:
    """Add the command to the parser."""
    c = commands.add_parser(
        "rollback",
        help="print a plan for taking the mesh back, in stages",
        description="Print a plan for this cluster: save what there is, take away traffic rules, then sidecars, then Istio, each with the "
        "commands for the objects that exist and what it loses. Nothing is done.",
        formatter_class=Formatter,
    )
    complete_file(
        c.add_argument("sources", nargs="*", metavar="SOURCE", help="file, folder, archive, or - (default: live)")
    )
    c.add_argument(
        "-o", "--output", choices=("text", "json", "markdown"), default="text", help="text (default), json, markdown"
    )
    add_cluster(c)
    add_colour(c)
    c.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from meshdiag.cluster.rollback import notes, plan

    snapshot = snapshot_of(options, options.sources)
    stages, missing = plan(snapshot), notes(snapshot)
    match options.output:
        case "json":
            found = {"schema": "meshdiag/rollback/v1", "source": snapshot.source}
            print(json.dumps({**found, "stages": [s.to_dict() for s in stages], "notes": list(missing)}, indent=2))
        case "markdown":
            from meshdiag.views.rollback import markdown

            sys.stdout.write(markdown(stages, missing))
        case _:
            from meshdiag.views.rollback import render

            width = min(shutil.get_terminal_size((100, 24)).columns, 140)
            sys.stdout.write(render(stages, missing, width=width, style=style_of(options)))
    return EXIT_OK
