"""`load`: the front door to a snapshot, of a live cluster or of files."""

from __future__ import annotations

import os
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from typing import Any, Final, TypeVar

from meshdiag.cluster.mesh import system_namespace
from meshdiag.cluster.snapshot import Snapshot, merged

T = TypeVar("T")

LIVE: Final = "live"


def load(
    *sources: Any,
    context: str = "",
    kubeconfig: str | os.PathLike[str] | None = None,
    namespaces: Iterable[str] = (),
    as_user: str = "",
    as_groups: Iterable[str] = (),
    secrets: bool = True,
) -> Snapshot:
    """The state of a cluster as one value; what could not be read is part of it.

    sources     files of `kubectl get … -o yaml` or `-o json`, folders, globs, archives, an istioctl bug-report, what `save` wrote,
                open files, `-`; or `live`; none: the live cluster
    context     of the kubeconfig; "": the current one, or the pod's own cluster
    kubeconfig  a path, in place of $KUBECONFIG and ~/.kube/config
    namespaces  only these, and the control plane's; none: all that may be read
    as_user, as_groups  impersonation, as kubectl's --as
    secrets     whether Secrets of a live cluster are asked for; their private parts are never kept

    Returns a Snapshot, of several sources merged. Blocks, also where an event loop runs (Jupyter). Raises MeshdiagError for a source that
    is not there, a cluster that cannot be reached, and a namespace that it does not have.
    """
    from meshdiag.cluster import files

    spaces = tuple(dict.fromkeys([namespaces] if isinstance(namespaces, str) else namespaces))
    found = [_only(files.read(s), spaces) for s in sources if not _is_live(s)]
    if len(found) < len(sources) or not sources:
        from meshdiag.cluster import live
        from meshdiag.sources.kubernetes.access import accesses

        (access,) = accesses(kubeconfig, (context,) if context else (), as_user, tuple(as_groups))
        found.append(_run(live.read(access, spaces, secrets)))
    return found[0] if len(found) == 1 else merged(found)


def _is_live(source: Any) -> bool:
    return isinstance(source, str) and source == LIVE


def _only(snapshot: Snapshot, namespaces: tuple[str, ...]) -> Snapshot:
    """What a snapshot has of these namespaces and the control plane's, besides what is of the whole cluster."""
    if not namespaces:
        return snapshot
    kept = frozenset((*namespaces, system_namespace(snapshot)))
    objects = tuple(o for o in snapshot.objects if not o.namespace or o.namespace in kept)
    return replace(snapshot, objects=objects, namespaces=kept & (snapshot.namespaces or kept))


def _run(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives. Where a loop runs already, it is done in a thread of its own."""
    import asyncio
    import threading

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(asyncio.run(work))
        except BaseException as e:  # raised again by whoever waits
            failed.append(e)

    thread = threading.Thread(target=run, name="meshdiag-load", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]
