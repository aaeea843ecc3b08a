"""A snapshot of a live cluster: what is installed is asked first, then every kind is listed, a few at a time, page by page.

What may not be read, or is not there, is a reason in `Snapshot.unread`, never an error. Of ConfigMaps and Secrets only those are asked
for, by their names or type, that matter for a mesh; of Events only warnings.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from meshdiag.cluster.documents import DEEPEST, is_deep
from meshdiag.cluster.objects import RESOURCES, Object, Resource, at, mappings, object_of
from meshdiag.cluster.secrets import strip
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.wanted import CONFIG, CONFIG_BY_REVISION, ISTIO_SECRETS, MOST_EVENTS, credentials, recent, wanted
from meshdiag.model import MeshdiagError, Problem
from meshdiag.sources.kubernetes import refusals
from meshdiag.sources.kubernetes.access import Access, Login
from meshdiag.sources.kubernetes.api import Api, ApiError, Unreachable

PAGE: Final = 500
AT_ONCE: Final = 6
"""Requests at a time: the server is asked as a person with several terminals would."""

TRIES: Final = 3
FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 10.0

MOST: Final = 100_000
"""Objects of a kind."""

MOST_CREDENTIALS: Final = 100
"""Names of Secrets that are asked for one by one."""

SYSTEM: Final = "istio-system"
NOT_INSTALLED: Final = "not installed"
WHY_MOST: Final = 300
"""Characters of a reason."""

T = TypeVar("T")
Query = dict[str, str | int | bool]
Installed = dict[tuple[str, str], frozenset[str] | None]
"""(group, version) -> its resources; None where they may not be asked for."""


@dataclass(slots=True)
class _Listed:
    """What a kind gave: objects, and why not all of them are here."""

    objects: list[Object] = field(default_factory=list)
    why: str = ""


async def read(access: Access, namespaces: Sequence[str] = (), secrets: bool = True) -> Snapshot:
    """The state of a cluster. `namespaces`: only these and `istio-system`; without `secrets` none is asked for.

    Raises MeshdiagError when the cluster cannot be reached, does not accept the credentials, or has no such namespace.
    """
    async with Api(Login(access)) as api:
        try:
            version = await _patient(lambda: api.get("/version"))
        except ApiError as e:
            if e.status == 401:
                raise await refusals.explained(api, "", e, 1) from None
            version = {}
        except Unreachable as e:
            raise await refusals.explained(api, "", e, 1) from None
        reading = _Reading(api, tuple(dict.fromkeys(namespaces)))
        taken = datetime.now(UTC) + timedelta(seconds=api.ahead)
        await reading.all(taken, secrets)
        git = version.get("gitVersion")
        return Snapshot(
            source=access.name,
            objects=tuple(o for one in reading.listed.values() for o in one.objects),
            unread={kind: one.why for kind, one in reading.listed.items() if one.why},
            namespaces=frozenset(reading.spaces) or None,
            taken=taken,
            problems=tuple(reading.problems),
            kubernetes=git if isinstance(git, str) else "",
        )


class _Reading:
    """One run over a cluster."""

    def __init__(self, api: Api, namespaces: tuple[str, ...]) -> None:
        self.api = api
        self.listed: dict[str, _Listed] = {}
        self.problems: list[Problem] = []
        self._given = namespaces
        self.spaces = namespaces
        """Those that are read; none: all."""
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._installed: Installed = {}

    async def all(self, taken: datetime, secrets: bool) -> None:
        """Reads every kind."""
        self._installed = await self._discover()
        if not self._given and not await self._may_list(""):
            own = self.api.login.access.namespace
            self._given = (own,) if await self._may_list(own) else ()
        if self._given:
            control = (SYSTEM,) if SYSTEM not in self._given and await self._may_list(SYSTEM) else ()
            self.spaces = (*self._given, *control)
        special = {"ConfigMap", "Secret"}
        kinds = [r for k, r in RESOURCES.items() if k not in special]
        found = await asyncio.gather(*(self._kind(r) for r in kinds))
        self.listed = dict(zip((r.kind for r in kinds), found, strict=True))
        if self._given:
            await self._named_namespaces()
        events = self.listed["Event"]
        events.objects = recent(filter(wanted, events.objects), taken)
        names = [*CONFIG, *(f"{n}-{r}" for r in sorted(self._revisions()) for n in CONFIG_BY_REVISION)]
        self.listed["ConfigMap"] = await self._by_name(RESOURCES["ConfigMap"], names)
        self.listed["Secret"] = await self._secrets() if secrets else _Listed(why="not asked for")

    async def _may_list(self, namespace: str) -> bool:
        """Whether pods may be listed: someone who may not in the whole cluster is asked for what is in his namespace."""
        try:
            await self._get(f"/api/v1{f'/namespaces/{namespace}' if namespace else ''}/pods", {"limit": 1})
        except ApiError as e:
            return e.status != 403
        except Unreachable:
            pass  # it will be told of the kind
        return True

    # -- what is installed

    async def _discover(self) -> Installed:
        """The groups and versions of which kinds are wanted, each with what it has; nothing when that may not be asked."""
        wanted_ = {(r.group, v) for r in RESOURCES.values() for v in r.versions if r.group}
        try:
            answer = await self._get("/apis", {})
        except (ApiError, Unreachable):
            return dict.fromkeys((*wanted_, ("", "v1")), None)
        there = {
            (at(g, "name"), at(v, "version"))
            for g in mappings(answer.get("groups"))
            for v in mappings(g.get("versions"))
        }
        asked = [*sorted(wanted_ & there), ("", "v1")]
        return dict(zip(asked, await asyncio.gather(*(self._resources(*a) for a in asked)), strict=True))

    async def _resources(self, group: str, version: str) -> frozenset[str] | None:
        try:
            answer = await self._get(_root(group, version), {})
        except (ApiError, Unreachable):
            return None
        return frozenset(n for r in mappings(answer.get("resources")) if isinstance(n := r.get("name"), str))

    def _versions(self, resource: Resource) -> Iterator[str]:
        """Those that may serve it, the best first."""
        for version in resource.versions:
            names = self._installed.get((resource.group, version), frozenset())
            if names is None or resource.plural in names:
                yield version

    # -- a kind

    async def _kind(self, resource: Resource) -> _Listed:
        query: Query = {"fieldSelector": "type!=Normal"} if resource.kind == "Event" else {}
        most = MOST_EVENTS if resource.kind == "Event" else MOST
        return await self._first(resource, lambda version: self._everywhere(resource, version, query, most))

    async def _first(self, resource: Resource, listing: Callable[[str], Awaitable[_Listed]]) -> _Listed:
        """What the first version gives that is served."""
        for version in self._versions(resource):
            try:
                return await listing(version)
            except ApiError as e:
                if e.status != 404:
                    return _Listed(why=_why(e))
            except Unreachable as e:
                return _Listed(why=_short(str(e)))
        return _Listed(why=NOT_INSTALLED)

    async def _everywhere(self, resource: Resource, version: str, query: Query, most: int = MOST) -> _Listed:
        """In the whole cluster, or in the namespaces that are read and that of Istio."""
        if not (self.spaces and resource.scoped):
            return await self._list(resource, version, "", query, most)
        found = _Listed()
        for namespace in self.spaces:
            try:
                found = _joined([found, await self._list(resource, version, namespace, query, most)])
            except ApiError as e:
                if e.status != 403:
                    raise
                found.why = found.why or _why(e)
        return found

    async def _list(self, resource: Resource, version: str, namespace: str, query: Query, most: int) -> _Listed:
        """All pages of a list. When the pages are too old to go on (410) it is begun again, the second time without pages."""
        path = f"{_root(resource.group, version)}{f'/namespaces/{namespace}' if namespace else ''}/{resource.plural}"
        api = f"{resource.group}/{version}" if resource.group else version
        kind = "Gateway" if resource.kind == "KubernetesGateway" else resource.kind
        for limit in (PAGE, PAGE, 0):
            found = _Listed()
            more = ""
            try:
                while True:
                    pages: Query = {
                        **query,
                        **({"limit": limit} if limit else {}),
                        **({"continue": more} if more else {}),
                    }
                    page = await self._get(path, pages)
                    found.objects += self._objects(mappings(page.get("items")), api, kind)
                    more = str(at(page, "metadata", "continue") or "")
                    if not more:
                        return found
                    if len(found.objects) >= most:
                        what = f"more than {most:,} {resource.plural}: the others are not looked at"
                        self.problems.append(Problem(self.api.where, what, "name namespaces with -n"))
                        found.why = "" if resource.kind == "Event" else f"only a part: more than {most:,}"
                        return found
            except ApiError as e:
                if e.status != 410 or not limit:
                    raise
        raise AssertionError("unreachable")

    def _objects(self, items: Iterable[Mapping[str, Any]], api: str, kind: str) -> list[Object]:
        """The items of a list, which need not say what they are, without what a snapshot never holds."""
        found = []
        for item in items:
            raw = {**item, "apiVersion": api, "kind": kind}
            if (o := object_of(raw)) is None:
                continue
            if is_deep(raw):  # it would break whoever walks it
                self.problems.append(Problem(str(o.ref), f"nested too deep: at most {DEEPEST}; left out"))
                continue
            strip(o.ref.kind, raw)
            found.append(o)
        return found

    async def _get(self, path: str, query: Query) -> dict[str, Any]:
        async with self._turn:
            return await _patient(lambda: self.api.get(path, **query))

    # -- kinds of which only some are wanted

    async def _named_namespaces(self) -> None:
        """Those that were given, one by one when they may not be listed; and they have to be there."""
        spaces = self.listed["Namespace"]
        if spaces.why:
            found: list[Object] = []
            for name in self.spaces:
                try:
                    item = await self._get(f"/api/v1/namespaces/{name}", {})
                except ApiError as e:
                    if e.status == 404 and name not in self._given:
                        continue
                    if e.status == 404:
                        raise MeshdiagError(f"there is no namespace {name!r} in {self.api.where}") from None
                    return
                except Unreachable:
                    return
                found += self._objects([item], "v1", "Namespace")
            spaces.objects, spaces.why = found, ""
            return
        names = [o.name for o in spaces.objects]
        for name in self._given:
            if name not in names:
                near = difflib.get_close_matches(name, names, 3) or names[:10]
                raise MeshdiagError(f"there is no namespace {name!r} in {self.api.where}: there are {', '.join(near)}")

    def _revisions(self) -> set[str]:
        """Revisions of istiod other than the default one."""
        return {
            rev
            for kind in ("Pod", "Deployment")
            for o in self.listed[kind].objects
            if o.labels.get("app") == "istiod" and (rev := o.labels.get("istio.io/rev", "default")) != "default"
        }

    async def _by_name(self, resource: Resource, names: Iterable[str]) -> _Listed:
        """The objects of these names, in any namespace; someone who may read only these may do that."""
        queries: list[Query] = [{"fieldSelector": f"metadata.name={n}"} for n in names]
        return _joined(await asyncio.gather(*(self._selected(resource, q) for q in queries)))

    async def _selected(self, resource: Resource, query: Query) -> _Listed:
        return await self._first(resource, lambda version: self._everywhere(resource, version, query))

    async def _secrets(self) -> _Listed:
        """TLS secrets and those of other clusters when they may be listed; Istio's own and what is named as a credential in any case."""
        resource = RESOURCES["Secret"]
        named = sorted(credentials(o for one in self.listed.values() for o in one.objects))
        if len(named) > MOST_CREDENTIALS:
            what = f"{len(named)} names of credentials: the last {len(named) - MOST_CREDENTIALS} are looked for only among TLS secrets"
            self.problems.append(Problem(self.api.where, what))
        own = await self._by_name(resource, dict.fromkeys((*ISTIO_SECRETS, *named[:MOST_CREDENTIALS])))
        lists: list[Query] = [{"fieldSelector": "type=kubernetes.io/tls"}, {"labelSelector": "istio/multiCluster"}]
        more = _joined([await self._selected(resource, q) for q in lists]) if not own.why else _Listed()
        return _Listed(_joined([own, more]).objects, own.why)


def _joined(parts: Sequence[_Listed]) -> _Listed:
    objects = {o.ref: o for p in parts for o in p.objects}
    return _Listed(list(objects.values()), next((p.why for p in parts if p.why), ""))


def _root(group: str, version: str) -> str:
    return f"/apis/{group}/{version}" if group else f"/api/{version}"


async def _patient(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks again what may work a moment later. Raises ApiError and Unreachable."""
    for failures in range(1, TRIES):
        wait = FIRST_WAIT * 2 ** (failures - 1)
        try:
            return await ask()
        except ApiError as e:
            if not e.passing:
                raise
            wait = max(wait, min(e.retry_after or 0.0, LONGEST_WAIT))
        except Unreachable:
            if failures > 1:
                raise
        await asyncio.sleep(wait)
    return await ask()


def _why(error: ApiError) -> str:
    if error.status == 403:
        return _short(f"forbidden: {error.message.partition(' is forbidden: ')[2] or error.message}")
    return _short(f"the server answers {error}")


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= WHY_MOST else flat[: WHY_MOST - 1] + "…"
