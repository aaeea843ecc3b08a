"""From one opener to its streams: looks at the first bytes, goes into archives, splits what holds several logs."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import replace

from meshdiag.sources import layouts, sniff
from meshdiag.sources.base import STATE, Stream
from meshdiag.sources.labels import safe_name
from meshdiag.sources.layers import CODECS, Layer, Member
from meshdiag.sources.opener import ARCHIVES, ENCODINGS, FileRoot, Opener, Step


def streams(opener: Opener, size: int | None = None, depth: int = 0) -> Iterator[Stream]:
    """The streams of what `opener` opens, in order; problems go to its session.

    Of a root that can be read once they must be read one by one while iterating.
    """
    label = opener.where()
    try:
        layer = opener.layer()
        with layer:
            head = _beginning(layer, label)
            failed = layer.failed
    except Exception as error:
        opener.session.report(label, f"cannot be opened: {_why(error)}", _hint(error))
        return
    kind = sniff.sniff(head, label)
    last = opener.steps[-1].kind if opener.steps else ""
    if kind in CODECS or kind in ARCHIVES:
        if not (kind == "tar" and last in CODECS):  # a compressed tar is one thing
            depth += 1
        if depth > opener.limits.depth:
            opener.session.report(
                label, f"skipped: archives nested more than {opener.limits.depth} deep", "unpack it first"
            )
        elif kind in CODECS:
            yield from streams(opener.then(Step(kind)), None, depth)
        else:
            yield from _members(opener, kind, depth)
        return
    if kind == "binary":
        opener.session.report(label, "skipped: not text")
        return
    place = layouts.place(os.path.abspath(label) if isinstance(opener.root, FileRoot) else label)  # noqa: PTH100
    if kind not in ("dump", "previous") and sniff.is_manifest(head):
        place = replace(place, role=STATE)
    if kind == "dump" or kind == "previous":
        yield from _sections(opener, kind, place)
    elif kind in ENCODINGS:
        if kind == "bom" and isinstance(opener.root, FileRoot) and not opener.steps:
            opener = replace(opener, root=FileRoot(opener.root.path, 3))
            yield _plain(opener, None if size is None else size - 3, place, 3)
        else:
            yield _plain(opener.then(Step(kind)), None, place)
    else:
        yield _plain(opener, None if failed or (head and not size) else size, place)


def _beginning(layer: Layer, label: str) -> bytes:
    """Enough bytes to know what it is; of a pipe no more than that, for the next line may be long in coming."""
    head = b""
    while len(head) < sniff.HEAD and (part := layer.some(sniff.HEAD - len(head))):
        head += part
        sure = b"\n" in head and (head[:1] not in b"{=" or len(head) > sniff.HEAD // 16)
        if not layer.patient and sure and sniff.sniff(head, label) == "text":
            break
    return head


def _plain(opener: Opener, size: int | None, place: layouts.Place, start: int = 0) -> Stream:
    label = opener.where()
    splittable = isinstance(opener.root, FileRoot) and not opener.steps and opener.root.path == label
    return Stream(place.origin(label), opener, size, splittable and size is not None, start, place.role)


def _sections(opener: Opener, kind: str, place: layouts.Place) -> Iterator[Stream]:
    """The logs in one file, told apart by markers. They keep the file's path, and say where in it they start."""
    option = f"{place.namespace}/{place.pod}" if kind == "dump" and place.namespace and place.pod else ""
    label = opener.where()
    for index in itertools.count():
        member = _goto(opener, kind, index, option)
        if member is None:
            break
        origin = replace(
            place.origin(label),
            namespace=member.namespace or place.namespace,
            pod=member.pod or place.pod,
            container=member.container or place.container,
            previous=member.previous or place.previous,
        )
        role = STATE if place.role == STATE else member.role
        yield Stream(origin, opener.then(Step(kind, index, "", option)), start=member.start, role=role)


def _members(opener: Opener, kind: str, depth: int) -> Iterator[Stream]:
    label = opener.where()
    seen: set[str] = set()
    for index in itertools.count():
        if index >= opener.limits.members:
            opener.session.report(label, f"has more than {opener.limits.members:,} members: the rest is not read")
            break
        member = _goto(opener, kind, index)
        if member is None:
            break
        name = safe_name(member.name)
        where = f"{label}!{name}"
        suffix = sniff.suffix(name)
        if member.kind != "file":
            _not_a_file(opener, member, where, suffix)
            continue
        if sniff.QUIET_FOLDERS.intersection(name.split("/")[:-1]) or suffix in sniff.QUIET_SUFFIXES:
            continue
        if suffix in sniff.BINARY_SUFFIXES or sniff.is_core(name):
            opener.session.report(where, "skipped: not text")
            continue
        if name in seen:
            name = f"{name}#{index}"  # the same name twice: both are read, and told apart
        seen.add(name)
        yield from streams(opener.then(Step(kind, index, name)), member.size, depth)
    opener.session.drop((opener.root, opener.steps, kind))


def _not_a_file(opener: Opener, member: Member, where: str, suffix: str) -> None:
    if member.kind == "encrypted":
        opener.session.report(where, "skipped: encrypted", "unpack it with its password and give the folder")
    elif member.kind.startswith("compressed by"):
        opener.session.report(where, f"skipped: {member.kind}", "unpack it and give the folder")
    elif member.kind != "folder" and suffix in sniff.LOG_SUFFIXES:
        opener.session.report(where, f"skipped: a {member.kind}, not a file")


def _goto(opener: Opener, kind: str, index: int, option: str = "") -> Member | None:
    """Looks at a member and leaves the cursor to whoever reads it."""
    try:
        key, cursor = opener.cursor(kind, index, option)
    except Exception as error:
        opener.session.report(opener.where(), f"cannot be read on: {_why(error)}", _hint(error))
        return None
    member = cursor.goto(index)
    if member is None:
        cursor.close()
    else:
        opener.session.park(key, cursor)
    return member


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _hint(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "ask for read permission"
    return ""
