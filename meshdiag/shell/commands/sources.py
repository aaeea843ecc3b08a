"""Commands that open and follow."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NoReturn

from meshdiag.model import MeshdiagError
from meshdiag.shell import results as r
from meshdiag.shell.commands.table import command, moment, number
from meshdiag.shell.inputs import home
from meshdiag.shell.state import State

DEFAULT_SINCE = timedelta(minutes=10)
ALL_LINES = 1 << 62


@command("open", "PATH…", "read captures: files, folders, archives, a bug-report", "sources", takes="path")
def _open(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    if not words:
        raise MeshdiagError("open what? A file, a folder or an archive: open sample_logs/03-no-healthy-upstream")
    state.work.open(words)
    yield r.Said(f"reading {', '.join(state.work.readings[-1].names)} …")


@command(
    "tail", "[NAME…] [-n NAMESPACE] [-A] [-l LABELS] …", "follow a live mesh, or local files; tail --help lists the options",
    "sources", takes="tail",
)  # fmt: skip
def _tail(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    from meshdiag.tailing import is_local

    parser = tail_parser()
    if words in (("--help",), ("-h",)):
        yield r.Said(parser.format_help().rstrip())
        return
    o = parser.parse_intermixed_args(words)
    namespaces = [n for some in o.namespace for n in some.split(",") if n]
    names = [home(n) for n in o.names]
    what = " ".join(o.names) or ", ".join(namespaces) or ("all namespaces" if o.all_namespaces else "this namespace")
    now = datetime.now(UTC)
    since = moment(o.since, now - timedelta(days=1), now) if o.since else None
    if since is None and o.tail is None and not (names and all(map(is_local, names))):
        since = now - DEFAULT_SINCE
    state.work.follow(
        what,
        inputs=names,
        namespaces=namespaces,
        all_namespaces=o.all_namespaces,
        contexts=o.context,
        kubeconfig=o.kubeconfig and home(o.kubeconfig),
        selector=o.selector,
        revision=o.revision,
        containers=o.container,
        exclude=o.exclude,
        app=o.app,
        since=since,
        tail_lines=None if o.tail is None else ALL_LINES if o.tail == "-1" else number(o.tail, "--tail"),
        wait=o.wait,
    )
    yield r.Said(f"following {what} …")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the words instead of leaving the program."""

    def error(self, message: str) -> NoReturn:
        raise MeshdiagError(f"tail: {message}; tail --help lists the options")


@lru_cache(maxsize=1)
def tail_parser() -> argparse.ArgumentParser:
    """The options of `tail`."""
    p = _Parser(prog="tail", add_help=False, description="Follow a live mesh, or local files.")
    p.add_argument(
        "names", nargs="*", metavar="NAME", help="deploy/reviews, a pod, a workload (globs), or a file; none: all"
    )
    p.add_argument("-n", "--namespace", action="append", default=[], metavar="NAME", help="of this namespace (or a,b)")
    p.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    p.add_argument("-l", "--selector", default="", metavar="LABELS", help="of pods with these labels")
    p.add_argument("-c", "--container", action="append", default=[], metavar="GLOB", help="these containers")
    p.add_argument("--app", action="store_true", help="also the application's containers")
    p.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="not these")
    p.add_argument("--revision", default="", metavar="REV", help="of this revision of Istio")
    p.add_argument("--context", action="append", default=[], metavar="NAME", help="context of the kubeconfig")
    p.add_argument("--kubeconfig", metavar="FILE", help="in place of $KUBECONFIG")
    p.add_argument("--since", metavar="TIME", help="from here: 30m, 2h, 10:05, a time (of clusters: 10m)")
    p.add_argument("--tail", metavar="N", help="the last N lines of each log first")
    p.add_argument("--wait", action="store_true", help="wait for pods when nothing matches yet")
    return p


@command(
    "cluster",
    "[live [CONTEXT] | PATH… | off]",
    "check findings against the state of the cluster: the live one, or files of it",
    "sources",
    takes="path",
)
def _cluster(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    if words == ("off",):
        state.work.check_against(None)
        yield r.Said("findings are not checked against the state of a cluster")
        return
    is_live = words[:1] in ((), ("live",))
    if is_live and len(words) > 2:
        raise MeshdiagError("cluster live takes one context, or nothing")
    options = {"context": words[1]} if is_live and len(words) == 2 else {}
    state.work.look(" ".join(words) or "the cluster", ["live"] if is_live else [home(w) for w in words], **options)
    yield r.Said(f"looking at {' '.join(words) or 'live'} …")


@command("stop", "", "end what is read or followed", "sources", most=0)
def _stop(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    yield r.Said("stopping …" if state.work.stop() else "nothing is read or followed")
