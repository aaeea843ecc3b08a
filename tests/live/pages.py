"""Lists of objects and their pages, each list of one version."""

from __future__ import annotations

import base64
import binascii
import collections
import json
from collections.abc import Mapping
from typing import NamedTuple

from tests.live.cluster import Cluster
from tests.live.objects import ApiError, Json, Object, bad_request, encode, expired
from tests.live.selection import Match
from tests.live.streams import number

KINDS = {"pods": "PodList", "namespaces": "NamespaceList"}

TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)

_KEPT = 256


class Listing(NamedTuple):
    """What a list is of: its kind (`ServiceList`), apiVersion, and the objects in their order."""

    kind: str
    api: str
    objects: list[Object]


class Pages:
    """Answers lists of a cluster, and keeps what later pages of them need."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._kept: collections.OrderedDict[tuple[str, int], list[Object]] = collections.OrderedDict()

    def expire(self) -> None:
        """All continue tokens are too old from now on."""
        self._kept.clear()

    def page(
        self, resource: str, namespace: str, query: Mapping[str, str], match: Match, listing: Listing | None = None
    ) -> list[bytes]:
        """A list, or the page of it that a query asks for, as it is written; raises ApiError 400, 410 or 504.

        Without a `listing` that of the cluster's own pods or namespaces.
        """
        listing = listing or Listing(KINDS[resource], "v1", self.cluster.objects(resource))
        limit = number(query, "limit") or 0
        asked, token = query.get("resourceVersion", ""), query.get("continue", "")
        objects, current = listing.objects, self.cluster.version
        at, start = current, ""
        if token:
            if asked not in ("", "0"):
                raise bad_request("specifying resource version is not allowed when using continue")
            at, start = _read(token)
            if at < 0:
                at = current  # the rest, of whatever version there is now
            elif at != current:
                kept = self._kept.get((resource, at))
                if kept is None:
                    raise expired(TOO_OLD, {"continue": _token(-1, start)})
                objects = kept
        elif asked == "0":
            limit = 0  # such a list is served from a cache, whole
        elif asked and version(asked) > current:
            text = f"Timeout: Too large resource version: {asked}, current: {current}"
            cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
            raise ApiError(504, "Timeout", text, {"causes": [cause], "retryAfterSeconds": 1})
        # Tokens speak of keys below the namespace that is listed.
        skip = len(namespace) + 1 if namespace else 0
        found = [item for item in objects if match(item.data) and (not start or item.key[skip:] >= start)]
        meta: Json = {"resourceVersion": str(at)}
        if limit and len(found) > limit:
            rest = len(found) - limit
            found = found[:limit]
            meta["continue"] = _token(at, found[-1].key[skip:] + "\0")
            if not query.get("labelSelector") and not query.get("fieldSelector"):
                meta["remainingItemCount"] = rest
            self._kept[resource, at] = objects
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        head = b'{"kind":"%s","apiVersion":"%s","metadata":%b,"items":['
        parts = [head % (listing.kind.encode(), listing.api.encode(), encode(meta))]
        for item in found:
            if len(parts) > 1:
                parts.append(b",")
            parts.append(item.whole if "." in listing.api else item.body)  # those of custom resources say their kind
        return [*parts, b"]}\n"]


def version(text: str) -> int:
    """A resource version that was asked for; raises ApiError 400."""
    if not text.isdecimal():
        why = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        raise bad_request(f'resourceVersion: Invalid value: "{text}": {why}')
    return int(text)


def _token(at: int, start: str) -> str:
    value = json.dumps({"v": "meta.k8s.io/v1", "rv": at, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(value.encode()).rstrip(b"=").decode()


def _read(token: str) -> tuple[int, str]:
    try:
        value = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(value["rv"]), str(value["start"])
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise bad_request(f"continue key is not valid: {error}") from None
