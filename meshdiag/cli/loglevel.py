"""`meshdiag log-level`: deeper logs of named pods for a while."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshdiag.cli.changing import agreed, refusing
from meshdiag.cli.cluster import add_access
from meshdiag.cli.common import (
    EXIT_FAILURES,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_TERMINATED,
    EXIT_USAGE,
    Formatter,
    add_colour,
    complete_file,
    parse_duration,
)
from meshdiag.model import MeshdiagError, Risk
from meshdiag.views.safe import one_line, safe

if TYPE_CHECKING:
    from meshdiag.fixing.loggers import Target
    from meshdiag.sources.kubernetes.access import Access
    from meshdiag.sources.kubernetes.api import Api
    from meshdiag.sources.kubernetes.select import Pod
    from meshdiag.tailing import Tail

MAX_PODS = 20
"""Debug logs of many proxies are many gigabytes."""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    c = commands.add_parser(
        "log-level",
        help="raise log levels of proxies or istiod for a while, capture their logs, and set the previous levels back",
        description="Raise log levels of the proxies (Envoy loggers) or of istiod (its scopes) of named pods, follow their logs, and set "
        "back what was there before: after --for, on Ctrl-C, and when it is terminated. After kill -9, `meshdiag undo` does.",
        epilog="Try it: meshdiag log-level deploy/reviews http=debug,router=debug --for 2m --save deep/   ·   exit code: 0 set back after "
        "its time; 1 declined; 2 refused, or something could not be set back; 130 after Ctrl-C, 143 after SIGTERM (and set back).",
        formatter_class=Formatter,
    )
    c.add_argument("selectors", nargs="+", metavar="SELECTOR", help="deploy/reviews, a pod, a workload (globs)")
    c.add_argument("levels", metavar="SCOPE=LEVEL[,…]", help="http=debug,router=trace; all=info; of istiod ads=debug")
    c.add_argument("--for", dest="duration", type=parse_duration, default=300.0, metavar="TIME", help="how long (5m)")
    complete_file(
        c.add_argument(
            "--save", metavar="DIR", help="write the lines to this new folder, for diagnose, and not to the screen"
        )
    )
    c.add_argument(
        "-n", "--namespace", action="append", default=[], metavar="NAME", help="of this namespace (repeatable)"
    )
    c.add_argument(
        "--max-pods", type=int, default=MAX_PODS, metavar="N", help=f"refuse when there are more (default {MAX_PODS})"
    )
    c.add_argument("--yes", action="store_true", help="do not ask")
    c.add_argument("--no-redact", action="store_true", help="show tokens, cookies and keys")
    add_access(c.add_argument_group("live cluster"))
    add_colour(c)
    c.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    return refusing(options, _run)


def _run(options: argparse.Namespace) -> int:
    from meshdiag.fixing.loggers import parse_levels
    from meshdiag.sources.kubernetes.access import accesses

    wanted = parse_levels([options.levels])
    contexts = (options.context,) if options.context else ()
    (access,) = accesses(options.kubeconfig, contexts, options.as_user, options.as_group)
    found = asyncio.run(_targets(access, options, wanted))
    if not found:
        print("Nothing to do: the levels are so already.")
        return EXIT_OK
    for target in found:
        levels = ", ".join(f"{s}: {target.before[s]} -> {v}" for s, v in sorted(target.wanted.items())[:8])
        more = f" and {len(target.wanted) - 8} more" if len(target.wanted) > 8 else ""
        print(one_line(f"{target.pod} {target.container}: {levels}{more}"))
    if not agreed(options, _asked()):
        print("Nothing was changed.")
        return EXIT_FAILURES
    return asyncio.run(_raised(access, options, found))


def _asked() -> Any:
    from meshdiag.fixing import Prepared

    return Prepared("Raise log levels", Risk.SAFE, ())


async def _targets(access: Access, options: argparse.Namespace, wanted: dict[str, str]) -> tuple[Target, ...]:
    from meshdiag.fixing import loggers
    from meshdiag.sources.kubernetes.access import Login
    from meshdiag.sources.kubernetes.api import Api

    async with Api(Login(access)) as api:
        pods = await _pods(api, access, options)
        return await loggers.targets(api, pods, wanted)


async def _pods(api: Api, access: Access, options: argparse.Namespace) -> list[Pod]:
    from meshdiag.sources.kubernetes.api import ApiError, Unreachable
    from meshdiag.sources.kubernetes.refusals import explained, nothing_matches
    from meshdiag.sources.kubernetes.select import Selection, check, pod_of

    selection = Selection(tuple(options.namespace), names=tuple(options.selectors))
    check(selection)
    spaces = selection.namespaces or (access.namespace,)
    pods: list[Pod] = []
    for space in spaces:
        try:
            answer = await api.get(f"/api/v1/namespaces/{space}/pods")
        except (ApiError, Unreachable) as e:
            raise await explained(api, space, e, len(spaces)) from None
        items = answer.get("items")
        pods += [p for i in (items if isinstance(items, list) else ()) if isinstance(i, dict) and (p := pod_of(i))]
    chosen = [p for p in pods if selection.takes(p) and selection.wanted(p) and not p.leaving]
    if not chosen:
        raise await nothing_matches(api, selection, spaces, pods)
    if len(chosen) > options.max_pods:
        raise MeshdiagError(
            f"{len(chosen)} pods match, and debug logs are large: name fewer, or give --max-pods {len(chosen)}"
        )
    return chosen


async def _raised(access: Access, options: argparse.Namespace, found: Sequence[Target]) -> int:
    """Raises the levels, follows the logs until the time or a signal comes, and sets them back whatever happens."""
    from meshdiag.fixing import Journal, loggers
    from meshdiag.sources.kubernetes.access import Login
    from meshdiag.sources.kubernetes.api import Api

    journal = Journal()
    signals: list[int] = []
    over = asyncio.Event()
    logs = _logs(options, found)

    def stop(number: int) -> None:
        signals.append(number)
        over.set()
        logs.close()
        print("\nSetting the levels back …", file=sys.stderr, flush=True)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, stop, number)
    async with Api(Login(access)) as api:
        names = ", ".join(dict.fromkeys(str(t.pod) for t in found))
        entry = loggers.begin(api, journal, found, f"Log levels {options.levels} of {names}")
        try:
            await loggers.raise_levels(api, found)
            if not over.is_set():
                await _follow(logs, options)
        finally:
            entry, failed = await loggers.restore(api, journal, entry)
            for why in failed:
                print(f"meshdiag: {safe(why)}", file=sys.stderr)
            if failed:
                print(f"meshdiag: not everything was set back: `meshdiag undo {entry.id}` does it", file=sys.stderr)
    if failed:
        return EXIT_USAGE
    print("The previous levels are set again.", file=sys.stderr)
    if signals:
        return EXIT_INTERRUPTED if signals[0] == signal.SIGINT else EXIT_TERMINATED
    return EXIT_OK


def _logs(options: argparse.Namespace, found: Sequence[Target]) -> Tail:
    from meshdiag.tailing import tail

    return tail(
        *dict.fromkeys(f"pod/{t.pod.name}" for t in found),
        namespaces=tuple(dict.fromkeys(t.pod.namespace for t in found)),
        containers=tuple(dict.fromkeys(t.container for t in found)),
        contexts=(options.context,) if options.context else (),
        kubeconfig=options.kubeconfig,
        as_user=options.as_user,
        as_groups=options.as_group,
        since=datetime.now(UTC),
        duration=options.duration,
        save=options.save,
        window=None,
    )


async def _follow(logs: Tail, options: argparse.Namespace) -> None:
    """Prints the lines, or how many were saved."""
    from meshdiag.redact import redact
    from meshdiag.sources.live import Lines

    end = time.monotonic() + options.duration
    print(
        f"Following for {options.duration:.0f} s; Ctrl-C ends it and sets the levels back.", file=sys.stderr, flush=True
    )
    async for step in logs.steps(matches=False):
        for event in step.events:
            if isinstance(event, Lines) and not options.save:
                for raw in event.data.splitlines():
                    text = raw.partition(b" ")[2].decode("utf-8", "replace")
                    print(
                        f"{event.origin.namespace}/{event.origin.pod} {safe(text if options.no_redact else redact(text))}"
                    )
        sys.stdout.flush()
        if time.monotonic() >= end:
            break
    if options.save:
        print(f"{logs.flow.lines} lines in {options.save}", file=sys.stderr)
