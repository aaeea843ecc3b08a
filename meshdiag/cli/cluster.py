"""Commands that look at a cluster: which one, as whom, and its snapshot."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from meshdiag.cli.common import complete_file

if TYPE_CHECKING:
    from meshdiag.cluster import Snapshot

LIVE = "live"


def add_cluster(c: argparse.ArgumentParser) -> None:
    """The options that say which live cluster is read, and as whom."""
    g = c.add_argument_group("live cluster")
    g.add_argument(
        "-n", "--namespace", action="append", default=[], metavar="NAME", help="only this namespace (repeatable)"
    )
    add_access(g)


def add_state(c: argparse.ArgumentParser) -> None:
    """The options of a command that diagnoses logs and may check them against the state of the cluster."""
    g = c.add_argument_group("state of the cluster")
    complete_file(
        g.add_argument(
            "--cluster",
            action="append",
            default=[],
            metavar="STATE",
            help="check findings against it: live, or files of kubectl get -o yaml, a folder, a bug-report",
        )
    )
    add_access(g)


def state_of(options: argparse.Namespace) -> Snapshot | None:
    """The snapshot that `add_state` asks for; None when it asks for none."""
    return snapshot_of(options, options.cluster) if options.cluster else None


def add_access(g: argparse._ArgumentGroup) -> None:
    """The options that say which context is used."""
    g.add_argument("--context", default="", metavar="NAME", help="context of the kubeconfig (default: the current one)")
    complete_file(g.add_argument("--kubeconfig", metavar="FILE", help="in place of $KUBECONFIG and ~/.kube/config"))
    g.add_argument("--as", dest="as_user", default="", metavar="USER", help="impersonate this user")
    g.add_argument("--as-group", action="append", default=[], metavar="GROUP", help="impersonate this group")


def snapshot_of(options: argparse.Namespace, sources: Sequence[str]) -> Snapshot:
    """The snapshot of files, or of the live cluster where none is named. Raises MeshdiagError when it cannot be had."""
    from meshdiag.cluster import load

    return load(
        *sources,
        context=options.context,
        kubeconfig=options.kubeconfig,
        namespaces=options.namespace,
        as_user=options.as_user,
        as_groups=options.as_group,
    )
