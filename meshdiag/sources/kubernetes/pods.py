"""The pods of a cluster or namespace as they come, change and go: one list, then a watch that goes on where it broke.

The API's rules: a watch starts at the list's resourceVersion; it ends at any time and goes on from the latest version that was seen (also
in a bookmark); a version that is too old (410, as an answer or as an ERROR event) needs a new list, and what is not in it has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from meshdiag.model import MeshdiagError
from meshdiag.sources.kubernetes.api import Api, ApiError, Unreachable, json_lines
from meshdiag.sources.kubernetes.select import Pod, Selection, pod_of

PAGE = 500
WATCH_SECONDS = 290
"""A watch asks for its end before an idle connection is cut, give or take a tenth."""

LATE_SECONDS = 30.0
POLL_SECONDS = 15.0
"""Without the right to watch, pods are listed so often."""

FIRST_DELAY, LONGEST_DELAY = 0.2, 10.0
LONGEST_WAIT = 60.0
"""A server that names a longer wait is asked after this one."""

LASTING_SECONDS = 5.0
"""A watch that ends sooner, with no event, has failed: such ones are asked for less and less often."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A pod that is there, new or changed."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class Gone:
    """A pod that is no longer there, by its uid."""

    uid: str


@dataclass(frozen=True, slots=True)
class Listed:
    """The first list is complete: so many pods there are."""

    pods: int


Change = Seen | Gone | Listed


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, up to a limit, and spread out by chance."""
    most = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 16))
    return most * random.uniform(0.3, 1.0)  # noqa: S311  # only spreads load


def path_of(namespace: str) -> str:
    """The API's path of the pods of a namespace; of all namespaces for ""."""
    return f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"


async def watch(
    api: Api, namespace: str, selection: Selection, told: Callable[[str], None]
) -> AsyncGenerator[Change, None]:
    """What happens to the pods of a namespace ("": of all), for ever.

    `told` gets what stands in the way, in words. Raises ApiError, Unreachable and MeshdiagError only while the first list is read;
    afterwards it tries again.
    """
    known: set[str] = set()
    version, listed, failures, complained, polling = "", False, 0, False, False
    while True:
        watching = False
        try:
            if not version:
                pods, version = await _list(api, namespace, selection)
                for pod in pods:
                    yield Seen(pod)
                here = {pod.uid for pod in pods}
                for uid in known - here:
                    yield Gone(uid)
                known = here
                if not listed:
                    yield Listed(len(pods))
                    listed = True
            watching, began = True, time.monotonic()
            async with contextlib.aclosing(_watch(api, namespace, selection, version)) as events:
                async for kind, item in events:
                    failures, complained, polling = 0, False, False
                    meta = item.get("metadata")
                    version = str((meta.get("resourceVersion") if isinstance(meta, dict) else None) or version)
                    found = pod_of(item) if kind != "BOOKMARK" else None
                    if found is None:
                        continue
                    if kind == "DELETED":
                        known.discard(found.uid)
                        yield Gone(found.uid)
                    else:
                        known.add(found.uid)
                        yield Seen(found)
            failures = 0 if time.monotonic() - began > LASTING_SECONDS else failures + 1
            wait = backoff(failures - 1) if failures > 1 else 0.0
        except (ApiError, Unreachable, MeshdiagError) as e:
            if not listed:
                raise
            failures += 1
            status = e.status if isinstance(e, ApiError) else 0
            if status == 403 and watching:
                if not polling:
                    told(f"not allowed to watch pods, so they are listed every {POLL_SECONDS:.0f} s: {e}")
                version, failures, polling, wait = "", 0, True, POLL_SECONDS
            elif status == 410:
                version = ""
                wait = backoff(failures - 1) if failures > 1 else 0.0
            else:
                if failures > 2 or (isinstance(e, ApiError) and not e.passing):
                    version = ""  # a list tells more than a watch that cannot be had
                if failures > 2 and not complained:
                    told(f"pods are not watched for the moment: {e}")
                    complained = True
                named = e.retry_after if isinstance(e, ApiError) and e.retry_after else 0.0
                wait = max(min(named, LONGEST_WAIT), backoff(failures))
        await asyncio.sleep(wait)


def _query(selection: Selection) -> dict[str, str | int | bool]:
    query: dict[str, str | int | bool] = {}
    if selection.selector:
        query["labelSelector"] = selection.selector
    if selection.field_selector:
        query["fieldSelector"] = selection.field_selector
    return query


async def _list(api: Api, namespace: str, selection: Selection) -> tuple[list[Pod], str]:
    """All pods and the version of the list."""
    pods: list[Pod] = []
    more, limit = "", PAGE
    while True:
        query = _query(selection) | ({"limit": limit} if limit else {}) | ({"continue": more} if more else {})
        try:
            page = await api.get(path_of(namespace), **query)
        except ApiError as e:
            if e.status == 410 and more:  # page by page it took too long: from the beginning, all at once
                pods, more, limit = [], "", 0
                continue
            raise
        items, meta = page.get("items"), page.get("metadata")
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict) and (pod := pod_of(item)):
                pods.append(pod)
        meta = meta if isinstance(meta, dict) else {}
        more = str(meta.get("continue") or "")
        if not more:
            return pods, str(meta.get("resourceVersion") or "0")


async def _watch(
    api: Api, namespace: str, selection: Selection, version: str
) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """(type, object) of the events after a version, until the server ends the watch. Raises ApiError, also for an ERROR event."""
    seconds = int(WATCH_SECONDS * random.uniform(0.9, 1.1))  # noqa: S311
    query = _query(selection) | {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        "timeoutSeconds": seconds,
    }
    response = await api.open(path_of(namespace), query, total=seconds + LATE_SECONDS)
    async with response:
        async for event in json_lines(response):
            kind, item = event.get("type"), event.get("object")
            if not isinstance(kind, str) or not isinstance(item, dict):
                continue
            if kind == "ERROR":
                code = item.get("code")
                raise ApiError(
                    code if isinstance(code, int) else 500, str(item.get("message", "")), str(item.get("reason", ""))
                )
            yield kind, item


async def ask(api: Api, namespace: str, name: str) -> Pod | None:
    """A pod as it is now; None when there is none of this name. Raises ApiError, Unreachable and MeshdiagError."""
    try:
        return pod_of(await api.get(f"{path_of(namespace)}/{name}"))
    except ApiError as e:
        if e.status == 404:
            return None
        raise
