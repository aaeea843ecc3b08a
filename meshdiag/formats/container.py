"""The block that `kubectl describe pod` prints for a container: its name on a line of its own, what belongs to it deeper.

    Containers:
      istio-proxy:
        Image:          docker.io/istio/proxyv2:1.29.0
        Args:
          proxy
        State:          Waiting
          Reason:       CrashLoopBackOff
        Last State:     Terminated
          Reason:       OOMKilled
          Exit Code:    137
        Ready:          False
        Restart Count:  4

`Reason: OOMKilled` alone does not say whose memory ran out; the block does. Only the lines of the state are kept: a
command, arguments and an environment may hold anything. Keys count at the depth of the block's own keys, so that an
argument or a variable cannot pass for a state. (A termination message of several lines can end the block: kubectl writes
it as it is. What stands below it is then lost.)

A block that was pasted without its indentation has no depth: its name, `Container ID` or `Image` right below it, and then the
lines of the state in the order in which kubectl prints them, from `State` to `Ready` without a gap, tell it.

A record is put together from lines (`_assembly` in order, `engine/scan.py` around a hit): a head looks like any YAML key,
so no line is one before the `State` below it was seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import reduce
from itertools import islice, takewhile
from typing import Final

from meshdiag.formats._common import LIMIT
from meshdiag.formats.base import Format
from meshdiag.lazyre import lazy
from meshdiag.model import Origin, Record

NAME: Final = "container"
FIRST = " abcdefghijklmnopqrstuvwxyz0123456789"

BLOCK_LINES: Final = 200
"""Lines of a block that are read; one with more is no block. An istio-proxy has about 80."""

ABOVE_LINES: Final = 400
"""Lines above a block among which the name of its pod is looked for."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HEAD = lazy(rf"(?P<indent> {{0,16}})(?P<name>{_LABEL}):\s{{0,5}}\Z")
_REASON = lazy(r" {0,40}Reason: {1,20}[A-Za-z]{1,60}\s{0,5}\Z")
_KEY = lazy(
    r"(?P<indent> {1,40})(?P<key>[A-Z][A-Za-z]{1,20}(?: [A-Z][a-z]{1,10})?):(?: {1,40}(?P<value>\S.{0,1000}))?\s{0,5}\Z"
)
_FLAT_FIRST = lazy(r" {0,16}(?:Container ID|Image):(?: |\s{0,5}\Z)")
_FLAT_LAST = lazy(r" {0,16}Restart Count: {1,40}\d{1,9}\s{0,5}\Z")
_FLAT_KEY = lazy(
    r" {0,16}(?P<key>[A-Z][A-Za-z]{1,20}(?: [A-Z][a-z]{1,10})?):(?: {1,40}(?P<value>\S.{0,1000}))?\s{0,5}\Z"
)
_POD = lazy(r"(?P<key>Name|Namespace): {1,40}(?P<value>[a-z0-9][a-z0-9.-]{0,252})\s{0,5}\Z")
_TOP = lazy(r"[A-Z][A-Za-z-]{1,30}(?: [A-Z][A-Za-z-]{1,30}){0,3}:")
_NOBODY: Final[Mapping[str, str]] = {}

# The keys of a block (depth 1), and of a state in it (depth 2), to the names of fields.
_OWN: Final = {
    "Image": "image",
    "State": "state",
    "Last State": "last_state",
    "Ready": "ready",
    "Restart Count": "restart_count",
}
_PARTS: Final = {"Reason": "reason", "Exit Code": "exit_code"}
_SECTION: Final = {"state": "state_", "last_state": "last_"}
_STATES: Final = frozenset({"Running", "Waiting", "Terminated"})
_OF_A_STATE: Final = frozenset({"Reason", "Message", "Exit Code", "Signal", "Started", "Finished"})


def depth_of_head(line: str) -> int | None:
    """How deep the name of a container stands that is alone on this unwrapped line, or None: any YAML key looks so."""
    head = _HEAD.match(line) if len(line) < 100 else None
    return None if head is None else len(head["indent"])


def depth(line: str) -> int:
    """The blanks before the first character; of a blank line all of it."""
    return len(line) - len(line.lstrip(" "))


def is_flat(head: str, below: str) -> bool:
    """Whether a block without its indentation begins: two unwrapped lines, the second right below the first."""
    at = depth_of_head(head)
    return at is not None and depth(below) == at and _FLAT_FIRST.match(below) is not None


def goes_on(head: str, below: str, before: str, line: str) -> bool:
    """Whether an unwrapped line goes on with a block, of which these are the name, the line below that, and the line above this one."""
    if is_flat(head, below):
        return bool(line.strip()) and depth_of_head(line) is None and _FLAT_LAST.match(before) is None
    return depth(line) > depth(head) and not line.startswith("\t")


def is_reason(line: str) -> bool:
    """Whether an unwrapped line is a `Reason` that a block explains, and that says less without it."""
    return _REASON.match(line) is not None


def parse(text: str) -> Record | None:
    """A whole block, or None. Fields, where known: `container image state state_reason state_exit_code last_state last_reason
    last_exit_code restart_count ready`.

    `last_` is what `Last State` says. Each key counts once, where it stands first.
    """
    head, _, rest = text[:LIMIT].partition("\n")
    named = _HEAD.match(head) if rest and len(head) < 100 else None
    if named is None or "State:" not in rest:
        return None
    if is_flat(head, rest.partition("\n")[0]):
        return _parse_flat(head, named["name"], rest.split("\n", BLOCK_LINES)[:BLOCK_LINES])
    own = 0
    section = ""
    fields: dict[str, str] = {"container": named["name"]}
    kept = [head]
    for line in rest.split("\n", BLOCK_LINES)[:BLOCK_LINES]:
        at = depth(line)
        if at <= len(named["indent"]):
            if line.strip():
                return None  # more than a block
            continue
        own = own or at
        key = _KEY.match(line)
        if at == own:
            name = _OWN.get(key["key"], "") if key else ""
            section = _SECTION.get(name, "")
            if section and name in fields:
                section = ""
        elif section and key:
            name = section + _PARTS[key["key"]] if key["key"] in _PARTS else ""
        else:
            name = ""
        if key and name and name not in fields and (value := (key["value"] or "").strip()):
            fields[name] = value
            kept.append(line)
    return _record(kept, fields)


def _record(kept: list[str], fields: dict[str, str]) -> Record | None:
    if fields.get("state") not in _STATES:
        return None
    written = "\n".join(kept)
    return Record(NAME, written, written, component="kubernetes", fields=fields)


def _parse_flat(head: str, name: str, lines: list[str]) -> Record | None:
    """A block without its indentation, by the order of its lines.

    Nothing but the parts of a state stands between `State` and `Ready`, so an argument cannot add one.
    """
    fields, kept, section = {"container": name}, [head], ""
    begun = False
    for at, line in enumerate(lines):
        key = _FLAT_KEY.match(line)
        own = _OWN.get(key["key"], "") if key else ""
        begun = begun or own == "state"
        if not begun:
            field = own if own == "image" and at < 2 else ""
        elif key is None:
            return None
        elif key["key"] in _OF_A_STATE:
            field = section + _PARTS[key["key"]] if key["key"] in _PARTS else ""
        elif own and own not in fields:
            field = own
        else:
            break
        section = _SECTION.get(own, section)
        if key and field and field not in fields and (value := (key["value"] or "").strip()):
            fields[field] = value
            kept.append(line)
    return _record(kept, fields) if "ready" in fields else None


def described(pod: Mapping[str, str], line: str) -> Mapping[str, str]:
    """Whose description an unwrapped line stands in (`pod`, `namespace`), by that of the line before.

    A description begins with `Name:` and ends at a blank line, at its events, and at whatever is none of its keys.
    """
    if line[:1] == " " and line.strip():
        return pod
    named = _POD.match(line) if line[:4] == "Name" else None
    if named is not None and named["key"] == "Name":
        return {"pod": named["value"]}
    if not pod:
        return pod
    if named is not None:
        return {**pod, "namespace": named["value"]}
    return pod if _TOP.match(line) and not line.startswith("Events:") else {}


def pod_above(lines: Iterable[str]) -> Mapping[str, str]:
    """As `described`, by the lines above a block, the nearest first; nobody's when the name is more than ABOVE_LINES away."""
    taken = list(islice(takewhile(lambda line: line.startswith(" ") or _TOP.match(line), lines), ABOVE_LINES))
    begin = next((i for i, line in enumerate(taken) if line.startswith("Name:")), -1)
    return reduce(described, reversed(taken[: begin + 1]), _NOBODY)


def in_pod(record: Record, pod: Mapping[str, str]) -> Record:
    """The block's record with the pod that it is about; what a wrapper says about who printed it is not meant."""
    origin = Origin(
        record.origin.path,
        record.origin.cluster,
        pod.get("namespace") or record.origin.namespace,
        pod.get("pod") or record.origin.pod,
        record.fields["container"],
        record.origin.previous,
    )
    return replace(record, origin=origin, fields={**pod, **record.fields})


FORMAT = Format(NAME, "kubectl 1.8 to 1.35 (k8s.io/kubectl/pkg/describe: describeContainers, describeStatus)", parse)
