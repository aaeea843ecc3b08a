"""`meshdiag remedy`: what to do about a cause, without a log."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from meshdiag.cli.common import EXIT_OK, Formatter, add_colour, add_patterns, known_causes, style_of
from meshdiag.model import MeshdiagError

if TYPE_CHECKING:
    from meshdiag.catalogue import Cause
    from meshdiag.model import Remedy

OUTPUTS = ("text", "json", "markdown")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    c = commands.add_parser(
        "remedy",
        help="say what to do about a cause",
        description="Print the remedies of a cause without a log: why each helps, what it risks, its commands and manifests, "
        "how to verify and undo it.",
        epilog="Try it: meshdiag remedy no-healthy-upstream --set namespace=prod --set service=cart",
        formatter_class=Formatter,
    )
    c.add_argument("cause", metavar="CAUSE", help="id of a cause, as `diagnose` and `explain` print it")
    c.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="fill in a placeholder: namespace=prod, workload=cart, host=…, port=…",
    )
    c.add_argument(
        "--istio-version", default="", metavar="X.Y", help="write manifests for this Istio (default: current)"
    )
    c.add_argument("-o", "--output", choices=OUTPUTS, default="text", help="text (default), json or markdown")
    add_patterns(c)
    add_colour(c)
    c.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from meshdiag import remedies
    from meshdiag.catalogue import Catalogue

    book = Catalogue.load(*options.patterns)
    known_causes(book, [options.cause])
    if options.istio_version and remedies.parse(options.istio_version) is None:
        raise MeshdiagError(f"--istio-version: {options.istio_version!r} is no version: give 1.20 or 1.24.2")
    cause = book.causes[options.cause]
    found = remedies.of(cause, facts(options.set), options.istio_version)
    match options.output:
        case "json":
            import json

            print(json.dumps(to_dict(cause, found), indent=2))
        case "markdown":
            from meshdiag.views.remedy import markdown

            print(markdown(cause, found))
        case _:
            from meshdiag.views.remedy import render

            width = min(shutil.get_terminal_size((100, 24)).columns, 120)
            sys.stdout.write(render(cause, found, width=width, style=style_of(options)))
    return EXIT_OK


def facts(settings: Sequence[str]) -> dict[str, str]:
    """The facts of `--set`: unlike those of a log, a wrong one is an error. Raises MeshdiagError."""
    import difflib

    from meshdiag.remedies import GRAMMARS, valid

    out: dict[str, str] = {}
    for setting in settings:
        name, sign, value = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not sign:
            raise MeshdiagError(f"--set {setting!r}: give NAME=VALUE, such as namespace=prod")
        if name not in GRAMMARS:
            near = difflib.get_close_matches(name, GRAMMARS, 2, 0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(GRAMMARS)}"
            raise MeshdiagError(f"--set: no placeholder is named {name!r}: {hint}")
        if not valid(name, value):
            raise MeshdiagError(f"--set {name}: {value!a} is not {GRAMMARS[name]}")
        out[name] = value
    if "namespace" in out:  # whose namespace is meant is told apart only when both are set
        out.setdefault("service_namespace", out["namespace"])
    return out


def to_dict(cause: Cause, found: Sequence[Remedy]) -> dict[str, Any]:
    """Plain values for JSON."""
    return {
        "cause": cause.id,
        "title": cause.title,
        "kind": cause.kind.value,
        "severity": cause.severity.value,
        "explanation": cause.explanation,
        "remedies": [r.to_dict() for r in found],
        "references": list(cause.references),
    }
