"""`meshdiag fix`: apply what mends a finding, and see whether it helped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from meshdiag.cli.changing import add_changing, agreed, asked, carried_out, refusing, show
from meshdiag.cli.cluster import LIVE, add_access, snapshot_of
from meshdiag.cli.common import (
    EXIT_FAILURES,
    EXIT_OK,
    Formatter,
    add_colour,
    add_patterns,
    complete_file,
    parse_duration,
    style_of,
)
from meshdiag.cli.reading import must_have_read
from meshdiag.model import MeshdiagError
from meshdiag.views.safe import one_line

if TYPE_CHECKING:
    from meshdiag.cluster import Edit, Result, Snapshot
    from meshdiag.diagnosis import Diagnosis, Finding
    from meshdiag.fixing.verify import Span, Symptom

LIVE_SECONDS = 10.0
SINCE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be applied: an edit, the answer of a check that it comes from, and the symptom that it should end."""

    edit: Edit
    result: Result
    symptom: Symptom


def add(commands: Any) -> None:
    """Add the command to the parser."""
    c = commands.add_parser(
        "fix",
        help="apply what mends a finding, after a look at the exact change, and see whether it helped",
        description="Diagnose INPUT (or the live mesh), check the finding against the live cluster, show the exact difference that a "
        "server-side dry run gives, and ask. What was there before is saved first: `meshdiag undo` restores it. Afterwards the logs are "
        "watched for the symptom.",
        epilog="Exit code: 0 applied (or nothing to do) and not seen to be worse or unchanged; 1 declined, or the symptom is unchanged or "
        "worse; 2 refused, or wrong usage.",
        formatter_class=Formatter,
    )
    c.add_argument(
        "finding", metavar="FINDING", help="rank or cause of a finding, or the name of a check of the cluster"
    )
    complete_file(
        c.add_argument(
            "inputs", nargs="*", metavar="INPUT", help="captured logs; none: the live mesh, for so long as --for says"
        )
    )
    c.add_argument("--edit", type=int, metavar="N", help="which of several changes (they are listed)")
    c.add_argument(
        "-n", "--namespace", action="append", default=[], metavar="NAME", help="of this namespace (repeatable)"
    )
    c.add_argument(
        "--for",
        dest="duration",
        type=parse_duration,
        default=LIVE_SECONDS,
        metavar="TIME",
        help="how long the live mesh is read (10s)",
    )
    c.add_argument(
        "--watch",
        type=_watch,
        default=60.0,
        metavar="TIME",
        help="how long the symptom is watched afterwards (60s; 0: not at all)",
    )
    add_changing(c)
    add_access(c.add_argument_group("live cluster"))
    add_patterns(c)
    add_colour(c)
    c.set_defaults(run=run)


def _watch(text: str) -> float:
    return 0.0 if text == "0" else parse_duration(text)


def run(options: argparse.Namespace) -> int:
    return refusing(options, _run)


def _run(options: argparse.Namespace) -> int:
    from meshdiag.fixing import Journal, prepare

    offer = _choose(options, offers(options))
    prepared = asked(options, lambda api: prepare(api, offer.edit))
    if not prepared.steps:
        print(f"Nothing to do: {one_line(offer.edit.title)}: it is so already.")
        return EXIT_OK
    show(options, prepared)
    if options.dry_run:
        return EXIT_OK
    if prepared.owners and not options.force_conflicts:
        from meshdiag.fixing.refusals import owned

        raise owned(offer.edit.ref, prepared.owners)
    before = _before(options, offer.symptom)
    if not agreed(options, prepared):
        print("Nothing was changed.")
        return EXIT_FAILURES
    entry = carried_out(options, prepared, Journal())
    done = datetime.now(UTC)
    print(f"Done. `meshdiag undo {entry.id}` takes it back.", flush=True)
    return _verdict(options, offer.symptom, before, done)


def _how(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "contexts": (options.context,) if options.context else (), "kubeconfig": options.kubeconfig, "as_user": options.as_user,
        "as_groups": options.as_group, "patterns": options.patterns,
    }  # fmt: skip


def _before(options: argparse.Namespace, symptom: Symptom) -> Sequence[Span]:
    """The symptom in the last minutes; nothing where the logs cannot be read, which is told."""
    import asyncio

    from meshdiag.fixing import verify

    if not options.watch:
        return ()
    print("Reading the last 5 minutes of logs …", file=sys.stderr, flush=True)
    try:
        found = asyncio.run(verify.before(symptom, **_how(options)))
    except MeshdiagError as e:
        print(f"The symptom cannot be watched: {e}", file=sys.stderr)
        options.watch = 0.0
        return ()
    print(f"Now: {verify.rate(found)}.", flush=True)
    return found


def _verdict(options: argparse.Namespace, symptom: Symptom, before: Sequence[Span], begun: datetime) -> int:
    import asyncio

    from meshdiag.fixing import verify

    if not options.watch:
        return EXIT_OK
    print(f"Watching for {options.watch:.0f} s whether it helped …", flush=True)
    try:
        after = asyncio.run(verify.after(symptom, begun, options.watch, **_how(options)))
    except MeshdiagError as e:
        print(f"The symptom cannot be watched: {e}", file=sys.stderr)
        return EXIT_OK
    outcome = verify.judge(before, after)
    colour = {"gone": "green", "falling": "green", "worse": "red", "unchanged": "yellow"}.get(outcome.value, "cyan")
    told = verify.story(before, after)
    print(style_of(options)(told[:1].upper() + told[1:], colour) + ".")
    return EXIT_FAILURES if outcome in (verify.Outcome.UNCHANGED, verify.Outcome.WORSE) else EXIT_OK


# -- what may be applied


def offers(options: argparse.Namespace) -> list[Offer]:
    """The edits for what the user named. Raises MeshdiagError when there is no such finding or check, or it has none."""
    from meshdiag.cluster import checks

    name = options.finding
    snapshot = snapshot_of(options, [LIVE])
    if name in checks():
        return _of_check(name, snapshot)
    diagnosis = _diagnosis(options).checked(snapshot)
    finding = _find(diagnosis, name)
    from meshdiag.cluster import Verdict
    from meshdiag.fixing.verify import Symptom

    symptom = Symptom.of(diagnosis, finding)
    found = [Offer(e, r, symptom) for r in finding.checks if r.verdict is Verdict.CONFIRMED for e in r.edits]
    if not found:
        raise MeshdiagError(
            f"finding {finding.rank} ({finding.cause}) has no change that the state of the cluster proves right"
            f"{_answers(finding.checks)}; `meshdiag remedy {finding.cause}` says what a person can do"
        )
    return found


def _of_check(name: str, snapshot: Snapshot) -> list[Offer]:
    from meshdiag.cluster import Verdict, checks
    from meshdiag.fixing.verify import Symptom

    results = checks()[name].ask(snapshot)
    found = [
        Offer(e, r, Symptom(frozenset(r.causes), namespaces=(e.ref.namespace,) if e.ref.namespace else ()))
        for r in results
        if r.verdict is Verdict.CONFIRMED
        for e in r.edits
    ]
    if not found:
        raise MeshdiagError(f"the check {name} has no change to offer{_answers(results)}")
    return found


def _answers(results: Sequence[Result]) -> str:
    said = [f"{r.check}: {r.verdict}: {one_line(r.text, 200)}" for r in results[:3]]
    return f" ({'; '.join(said)})" if said else ""


def _diagnosis(options: argparse.Namespace) -> Diagnosis:
    from meshdiag.api import diagnose
    from meshdiag.tailing import tail

    if options.inputs:
        diagnosis = diagnose(*options.inputs, patterns=options.patterns, namespaces=options.namespace, progress=True)
        must_have_read(diagnosis)
        return diagnosis
    live = tail(
        namespaces=options.namespace,
        since=datetime.now(UTC) - SINCE,
        duration=options.duration,
        window=None,
        **_how(options),
    )
    print(f"Reading the live mesh for {options.duration:.0f} s …", file=sys.stderr, flush=True)
    for _ in live:
        pass
    return live.diagnosis


def _find(diagnosis: Diagnosis, name: str) -> Finding:
    """The finding that a rank or the id of a cause names."""
    from meshdiag.cli.common import known_causes

    shown = diagnosis.findings
    if name.isdigit():
        found = [f for f in shown if f.rank == int(name)]
        if not found:
            raise MeshdiagError(f"there is no finding {name}: {_there(diagnosis)}")
        return found[0]
    found = [f for f in shown if f.cause == name]
    if not found:
        known_causes(diagnosis.catalogue, [name])
        raise MeshdiagError(f"nothing here has the cause {name}: {_there(diagnosis)}")
    return found[0]


def _there(diagnosis: Diagnosis) -> str:
    some = [f"{f.rank} {f.cause}" for f in diagnosis.failures[:6]]
    return f"there are {', '.join(some)}" if some else "no failure was found"


def _choose(options: argparse.Namespace, found: list[Offer]) -> Offer:
    """One of several offers: as --edit says, or as the user answers."""
    number: int | None = options.edit
    if number is not None:
        if not 1 <= number <= len(found):
            raise MeshdiagError(f"--edit {number}: there are {len(found)} changes")
        return found[number - 1]
    if len(found) == 1:
        return found[0]
    for i, offer in enumerate(found, 1):
        print(
            f"{i}. {one_line(offer.edit.title)} ({one_line(str(offer.edit.ref))}; {offer.edit.risk})\n   {one_line(offer.result.text)}"
        )
    if not sys.stdin.isatty():
        raise MeshdiagError("there are several changes: name one with --edit N")
    print(f"Which one? [1-{len(found)}] ", end="", flush=True)
    answer = sys.stdin.readline().strip()
    if not (answer.isdigit() and 1 <= int(answer) <= len(found)):
        raise MeshdiagError("nothing was changed: no change was chosen")
    return found[int(answer) - 1]
