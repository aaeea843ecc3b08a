"""Log levels of proxies and istiod, raised for a while: the previous ones are in the journal before anything is changed.

Envoy's loggers are asked for and set as `istioctl proxy-config log` does: `pilot-agent request POST logging?…` in the container (Envoy's
admin interface listens on localhost; `paths` since Envoy 1.19, Istio 1.11). istiod's scopes are those of ControlZ, which listens on
localhost:9876 and is no part of what `pilot-discovery request` reaches (that is 15014), so they go through a port-forward, as
`istioctl admin log` does. ztunnel and istio-cni are not covered.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from meshdiag.cluster.objects import Ref, at
from meshdiag.fixing.applying import get
from meshdiag.fixing.inside import CommandFailed, request, run
from meshdiag.fixing.journal import Entry, Journal, State
from meshdiag.fixing.refusals import Refused
from meshdiag.model import MeshdiagError
from meshdiag.sources.kubernetes.api import Api, ApiError, Unreachable
from meshdiag.sources.kubernetes.select import Pod, Role

KIND: Final = "log-level"
CONTROLZ: Final = 9876
ALL: Final = "all"
RETRY_SECONDS = (0.5, 2.0)
"""Setting a level back is tried again after these waits."""

ENVOY_LEVELS: Final = ("trace", "debug", "info", "warning", "error", "critical", "off")
ISTIOD_LEVELS: Final = ("debug", "info", "warn", "error", "none")

PROXIES: Final = frozenset({Role.GATEWAY, Role.WAYPOINT, Role.SIDECAR})

Levels = Mapping[str, str]

_logger = re.compile(r"\s*([A-Za-z0-9_.]+): ([a-z]+)")
_scope = re.compile(r"[A-Za-z0-9_.-]{1,80}")


@dataclass(frozen=True, slots=True)
class Target:
    """A container whose levels are set, of a pod with this uid; `istiod` tells a control plane from a proxy.

    before   the levels that will be changed, as they are
    wanted   what they will be
    """

    pod: Ref
    uid: str
    container: str
    istiod: bool
    before: Levels
    wanted: Levels


def parse_levels(texts: Iterable[str]) -> dict[str, str]:
    """Levels by scope of `http=debug,router=trace`. Raises MeshdiagError."""
    out = {}
    for part in ",".join(texts).split(","):
        scope, sign, level = part.strip().partition("=")
        if not sign or not _scope.fullmatch(scope):
            raise MeshdiagError(f"{part!a} is no log level: give SCOPE=LEVEL, such as http=debug or all=info")
        level = {"warn": "warning"}.get(level, level)
        if level not in ENVOY_LEVELS and level != "none":
            raise MeshdiagError(
                f"{level!a} is no level: there are {', '.join(ENVOY_LEVELS)}; of istiod {', '.join(ISTIOD_LEVELS)}"
            )
        out[scope] = level
    return out


def chosen(have: Levels, wanted: Levels, istiod: bool) -> dict[str, str]:
    """The new level of each logger that changes. Raises MeshdiagError for one that is not there. Pure."""
    if istiod:
        wanted = {
            s: {"warning": "warn", "off": "none", "trace": "debug", "critical": "error"}.get(v, v)
            for s, v in wanted.items()
        }
    else:
        wanted = {s: {"none": "off"}.get(v, v) for s, v in wanted.items()}
    for scope in wanted:
        if scope != ALL and scope not in have:
            import difflib

            near = difflib.get_close_matches(scope, have, 3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(have))}"
            raise MeshdiagError(f"no {'scope' if istiod else 'logger'} is named {scope!r}: {hint}")
    new = dict.fromkeys(have, wanted[ALL]) if ALL in wanted else {}
    new |= {s: v for s, v in wanted.items() if s != ALL}
    return {s: v for s, v in new.items() if have[s] != v}


async def targets(api: Api, pods: Sequence[Pod], wanted: Levels) -> tuple[Target, ...]:
    """The containers of these pods whose levels will change, with what they are now. Raises Refused."""
    found = []
    for pod in pods:
        for container in pod.containers:
            istiod = container.role is Role.ISTIOD
            if istiod or container.role in PROXIES:
                ref = Ref("Pod", pod.namespace, pod.name)
                have = await _levels(api, ref, container.name, istiod)
                new = chosen(have, wanted, istiod)
                if new:
                    found.append(Target(ref, pod.uid, container.name, istiod, {s: have[s] for s in new}, new))
    return tuple(found)


def begin(api: Api, journal: Journal, some: Sequence[Target], title: str) -> Entry:
    """The journal's entry, before anything is changed."""
    more = {"targets": [_written(t) for t in some]}
    return journal.begin(
        Entry(title, api.login.access.name, api.login.configuration.host, kind=KIND, state=State.SENT, more=more)
    )


async def raise_levels(api: Api, some: Sequence[Target]) -> None:
    """Sets what is wanted. Raises Refused."""
    for target in some:
        await _set(api, target, target.wanted)


def told(entry: Entry) -> tuple[Target, ...]:
    """The targets of an entry. Raises MeshdiagError."""
    try:
        return tuple(
            Target(
                Ref("Pod", t["namespace"], t["pod"]), t["uid"], t["container"], t["istiod"], t["before"], t["wanted"]
            )
            for t in (entry.more or {})["targets"]
        )
    except (KeyError, TypeError) as e:
        raise MeshdiagError(f"entry {entry.id} of the journal has no log levels: {e!r}") from None


async def restore(api: Api, journal: Journal, entry: Entry) -> tuple[Entry, list[str]]:
    """Sets back what is still as it was set here, and writes that down; and what could not be, in words.

    A pod that is gone has no level any more, and a logger that somebody has set to something else since is his.
    """
    failed = []
    for target in told(entry):
        for wait in (*RETRY_SECONDS, None):
            try:
                await _restore(api, target)
                break
            except Refused as e:
                if wait is None:
                    failed.append(str(e))
                else:
                    await asyncio.sleep(wait)
    if not failed:
        entry = journal.save(replace(entry, state=State.DONE))
    return entry, failed


async def _restore(api: Api, target: Target) -> None:
    live = await get(api, target.pod)
    if live is None or at(live, "metadata", "uid") != target.uid:
        return
    now = await _levels(api, target.pod, target.container, target.istiod)
    if back := {s: v for s, v in target.before.items() if now.get(s) == target.wanted.get(s)}:
        await _set(api, target, back)


def levels_of(text: str) -> dict[str, str]:
    """The levels in Envoy's answer to `logging`: a logger a line, below `active loggers:`."""
    return {m[1]: m[2] for line in text.splitlines() if (m := _logger.fullmatch(line)) and m[2] in ENVOY_LEVELS}


async def _levels(api: Api, pod: Ref, container: str, istiod: bool) -> dict[str, str]:
    async def ask() -> dict[str, str]:
        if not istiod:
            return levels_of(await run(api, pod, container, ("pilot-agent", "request", "POST", "logging")))
        scopes = json.loads(await request(api, pod, CONTROLZ, "GET", "/scopej/"))
        return {s["name"]: s["output_level"] for s in scopes if _scope.fullmatch(s["name"])}

    try:
        found: dict[str, str] = await _told(pod, container, istiod, api, ask())
    except (ValueError, KeyError, TypeError) as e:
        raise Refused(f"{pod}: ControlZ answered something else than scopes: {e!r}") from None
    if not found:
        raise Refused(f"{pod}: {container} names no loggers")
    return found


async def _set(api: Api, target: Target, levels: Levels) -> None:
    async def ask() -> None:
        if not target.istiod:
            paths = ",".join(f"{s}:{v}" for s, v in sorted(levels.items()))
            await run(api, target.pod, target.container, ("pilot-agent", "request", "POST", f"logging?paths={paths}"))
            return
        for scope, level in sorted(levels.items()):
            info = json.loads(await request(api, target.pod, CONTROLZ, "GET", f"/scopej/{scope}"))
            body = json.dumps({**info, "output_level": level})
            await request(api, target.pod, CONTROLZ, "PUT", f"/scopej/{scope}", body)

    await _told(target.pod, target.container, target.istiod, api, ask())


async def _told(pod: Ref, container: str, istiod: bool, api: Api, asking: Any) -> Any:
    what = "pods/portforward" if istiod else "pods/exec"
    try:
        return await asking
    except CommandFailed as e:
        raise Refused(f"cannot reach the log levels of {container}: {e}") from None
    except Unreachable as e:
        raise Refused(f"cannot reach the log levels of {pod}: {e}") from None
    except ApiError as e:
        if e.status == 403:
            raise Refused(
                f"not allowed: {e.message}; missing: verbs get and create on resource {what} in namespace {pod.namespace}; "
                "deploy/rbac-fix.yaml has the role"
            ) from None
        raise Refused(f"{pod}: {e}") from None


def _written(t: Target) -> dict[str, Any]:
    return {
        "namespace": t.pod.namespace, "pod": t.pod.name, "uid": t.uid, "container": t.container, "istiod": t.istiod,
        "before": dict(t.before), "wanted": dict(t.wanted),
    }  # fmt: skip
