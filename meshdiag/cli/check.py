"""`meshdiag check`: the state of the cluster, without logs."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshdiag.cli.cluster import add_cluster, snapshot_of
from meshdiag.cli.common import EXIT_FAILURES, EXIT_OK, Formatter, add_colour, complete_file, style_of
from meshdiag.model import MeshdiagError

if TYPE_CHECKING:
    from meshdiag.cluster import Answer
    from meshdiag.cluster.survey import Profile

PROFILES = ("adoption", "development", "production", "after")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    c = commands.add_parser(
        "check",
        help="say what is wrong in the state of the cluster, without logs",
        description="Check the state of a mesh: a live cluster (the current context when no SOURCE is given), files and folders of "
        "manifests (kubectl get … -o yaml), or an istioctl bug-report.",
        epilog="Exit code: 0 nothing wrong, 1 something to look at, 2 wrong usage or unreadable input.",
        formatter_class=Formatter,
    )
    complete_file(
        c.add_argument("sources", nargs="*", metavar="SOURCE", help="file, folder, archive, or - (default: live)")
    )
    what = c.add_mutually_exclusive_group()
    what.add_argument("--profile", choices=PROFILES, help="the questions of one stage of adopting a mesh")
    what.add_argument("--phase", type=int, choices=(1, 2, 3, 4), help="the questions of one phase of the rollout")
    what.add_argument("--only", action="append", default=[], metavar="CHECK", help="only this check")
    what.add_argument("--list", action="store_true", help="list the checks and what each asks")
    c.add_argument(
        "-o", "--output", choices=("text", "json", "markdown"), default="text", help="text (default), json, markdown"
    )
    c.add_argument("--analyze", metavar="FILE", help="the output of istioctl analyze -A -o json (- for standard input)")
    c.add_argument("--no-istioctl", action="store_true", help="do not run istioctl analyze on the live cluster")
    c.add_argument(
        "--logs", action="append", default=[], metavar="INPUT", help="logs of the same time, which answer, too"
    )
    add_cluster(c)
    c.add_argument("-v", "--verbose", action="store_true", help="all results, and manifests")
    c.add_argument("--no-redact", action="store_true", help="show tokens, cookies and keys")
    add_colour(c)
    c.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from meshdiag.cluster.survey import survey

    if options.list:
        return _list()
    profile = _profile(options)
    snapshot = snapshot_of(options, options.sources)
    found = survey(snapshot, profile, _others(options))
    redacted = not options.no_redact
    match options.output:
        case "json":
            text = json.dumps(found.to_dict(), indent=2) + "\n"
        case "markdown":
            from meshdiag.views.survey import markdown

            text = markdown(found, redacted=redacted)
        case _:
            from meshdiag.views.survey import render

            width = min(shutil.get_terminal_size((100, 24)).columns, 140)
            text = render(found, width=width, style=style_of(options), verbose=options.verbose, redacted=redacted)
    sys.stdout.write(text)
    return EXIT_FAILURES if found.failing else EXIT_OK


def _list() -> int:
    from meshdiag.cluster import checks

    width = max(map(len, checks()))
    for name, check in checks().items():
        print(f"{name:<{width}}  {check.asks}")
    return EXIT_OK


def _profile(options: argparse.Namespace) -> Profile:
    from meshdiag.cluster.profiles import profiles
    from meshdiag.cluster.survey import everything, only

    if options.only:
        return only(options.only)
    if options.phase:
        return profiles()[f"phase-{options.phase}"]
    return profiles()[options.profile] if options.profile else everything()


def _others(options: argparse.Namespace) -> list[Answer]:
    """What istioctl analyze and logs say."""
    from meshdiag.cluster import analysis

    found = []
    if options.analyze:
        found.append(analysis.read(_text(options.analyze)))
    elif not options.sources and not options.no_istioctl and not options.only and shutil.which("istioctl"):
        found.append(analysis.run(options.context, options.kubeconfig or "", options.namespace))
    if options.logs:
        from meshdiag.api import diagnose
        from meshdiag.diagnosis.answers import answers

        found += answers(diagnose(*options.logs))
    return found


def _text(path: str) -> str:
    if path == "-":
        return sys.stdin.read()
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as e:
        raise MeshdiagError(f"--analyze: cannot read {path}: {e.strerror or e}") from None
