"""How many requests there were on each edge and workload, failed or not, so that failures can be set against them.

Healthy lines never become objects, so they are counted by their cluster alone: all of them at the beginning of a file, and
further on from the lines that are looked at anyway.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

EXACT = 4 << 20
"""Bytes at the beginning of a file whose requests are counted one by one."""

_CLUSTER = re.compile(rb"(?:out|in)bound\|[0-9]{1,5}\|[^| ]*\|[^ ;]*;?")
_JSON = re.compile(rb'"upstream_cluster":\s?"([^"\\]*)"')
_AFTER_CLUSTER = 5
"""Values behind the cluster in Istio's text formats since 1.3: four addresses and names, and the route."""


def clusters(block: bytearray, stop: int) -> Iterator[tuple[bytes, bytes, int]]:
    """(a line's beginning when it may name a pod, upstream cluster, count) of the access lines of block[:stop]."""
    lines = bytes(block[:stop]).split(b"\n")
    text: Counter[tuple[bytes, bytes]] = Counter()
    # bare, or behind the kubelet's time
    access = [line for line in lines if line[:2] == b"[2" or line[29:33] == b"Z [2"]
    plain: Counter[bytes] = Counter(
        [tail[1] for line in access if len(tail := line.rsplit(b" ", _AFTER_CLUSTER + 1)) > 6]
    )
    for line in lines if len(access) < len(lines) else ():
        if line[:2] == b"[2" or line[29:33] == b"Z [2" or len(line) < 50:
            continue
        if match := _JSON.search(line):
            text[_head(line), match[1]] += 1
        elif len(tail := line.rsplit(b" ", _AFTER_CLUSTER + 1)) > 6:
            text[_head(line), tail[1]] += 1
    text.update({(b"", cluster): n for cluster, n in plain.items()})
    for (head, cluster), n in text.items():
        if _CLUSTER.fullmatch(cluster):
            yield head, cluster, n


def _head(line: bytes) -> bytes:
    """What a prefix that names a pod begins with: `[pod/NAME/CONTAINER]` of kubectl, `POD CONTAINER` of stern; else nothing."""
    if line[:1] in b"{0123456789":  # JSON, CRI, docker and kubectl's timestamps name none
        return b""
    words = line.split(b" ", 2)
    return words[0] if line.startswith(b"[pod/") else b" ".join(words[:2])
