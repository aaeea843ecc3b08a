"""Do the clocks of the nodes agree with the cluster's?

The API server dates the creation of a pod, the kubelet by its own clock its start (`status.startTime`), which cannot be earlier. A kubelet
also writes `lastHeartbeatTime` of its node at least every five minutes (nodeStatusReportFrequency); so one that lies after the snapshot
was taken, or long before it although the node is Ready, tells of a wrong clock, unless all nodes say the same: then it may as well be
that of whoever read them. What is outside of the cluster is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from meshdiag.cluster.mesh import condition, pods_of, several
from meshdiag.cluster.objects import Object, moment
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result

AHEAD = timedelta(minutes=1)
BEHIND = timedelta(minutes=15)
EARLY = timedelta(seconds=10)
ADVICE = "Start its time synchronisation (timedatectl status; chronyc tracking)"


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the nodes of the pods that are asked about, or of all."""
    wanted = (
        {about.node}
        if about.node
        else {p.text("spec", "nodeName") for p in pods_of(snapshot, about)}
        if about
        else set()
    )
    nodes = [n for n in snapshot.all("Node") if not wanted or n.name in wanted]
    early = _early(snapshot)
    found = [_behind(node, *early[node.name]) for node in nodes if node.name in early]
    beats = _beats(snapshot)
    off = {name: away for name, (_, away) in beats.items() if away > AHEAD or -away > BEHIND}
    alike = len(off) == len(beats) and len({away > AHEAD for away in off.values()}) == 1
    if not alike:
        found += [_off(node, *beats[node.name]) for node in nodes if node.name in off and node.name not in early]
    yield from found
    if found:
        return
    said = sum(node.name in beats for node in nodes)
    if snapshot.taken is None:
        yield CHECK.unknown("it is not known when the state was read")
    elif not said:
        yield CHECK.unknown("no node tells its time")
    elif off and alike:
        away = next(iter(off.values()))
        text = f"all nodes that tell their time are {_length(away)} {_side(away)} the time at which the state was read"
        yield CHECK.unknown(f"{text}: whose clock is wrong is not known")
    else:
        yield CHECK.good(
            f"the clocks of {several(said, 'node')} are within minutes of the cluster's; less is not seen here"
        )


def _beats(snapshot: Snapshot) -> Mapping[str, tuple[datetime, timedelta]]:
    """By node that is Ready its last heartbeat, and how far that is after the snapshot was taken."""
    found = {}
    for node in snapshot.all("Node"):
        ready = condition(node, "Ready")
        beat = moment(str(ready.get("lastHeartbeatTime", "")))
        if snapshot.taken is not None and beat is not None and ready.get("status") == "True":
            found[node.name] = beat, beat - snapshot.taken
    return found


def _off(node: Object, beat: datetime, away: timedelta) -> Result:
    return CHECK.bad(
        f"the clock of node {node.name} is {_length(away)} {_side(away).split()[0]}",
        "clock-skew",
        about=node,
        proofs=(Proof(node.ref, "status.conditions[Ready].lastHeartbeatTime", f"{beat:%Y-%m-%dT%H:%M:%SZ}"),),
        advice=ADVICE,
    )


def _side(away: timedelta) -> str:
    return "ahead of" if away > timedelta() else "behind"


def _behind(node: Object, away: timedelta, pod: Object) -> Result:
    return CHECK.bad(
        f"the clock of node {node.name} is at least {_length(away)} behind: pod {pod.name} started before it was created",
        "clock-skew",
        about=node,
        proofs=(
            Proof(pod.ref, "metadata.creationTimestamp", pod.text("metadata", "creationTimestamp")),
            Proof(pod.ref, "status.startTime", pod.text("status", "startTime")),
        ),
        advice=ADVICE,
    )


def _early(snapshot: Snapshot) -> dict[str, tuple[timedelta, Object]]:
    """By node the pod that started longest before it was created; pods of a node's own manifests are created afterwards."""
    found: dict[str, tuple[timedelta, Object]] = {}
    for pod in snapshot.all("Pod"):
        started, created = moment(pod.text("status", "startTime")), pod.created
        if started is None or created is None or "kubernetes.io/config.mirror" in pod.annotations:
            continue
        off = created - started
        node = pod.text("spec", "nodeName")
        if off > EARLY and (node not in found or off > found[node][0]):
            found[node] = off, pod
    return found


def _length(off: timedelta) -> str:
    seconds = round(abs(off).total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"


CHECK = Check("clock", "Do the clocks of the nodes agree?", ("Node",), run)
