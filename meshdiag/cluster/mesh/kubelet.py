"""What the kubelet says of the containers of a pod."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from meshdiag.cluster.objects import Object, at, mapping, moment


@dataclass(frozen=True, slots=True)
class Container:
    """A container's status: `path` is where it stands (`status.containerStatuses[0]`)."""

    path: str
    name: str
    status: Mapping[str, Any]

    @property
    def waiting(self) -> str:
        """Why it waits: `CrashLoopBackOff`; "" when it does not."""
        reason = at(self.status, "state", "waiting", "reason")
        return reason if isinstance(reason, str) else ""

    @property
    def restarts(self) -> int:
        """How often it was started anew."""
        count = self.status.get("restartCount")
        return count if isinstance(count, int) and not isinstance(count, bool) else 0

    @property
    def ended(self) -> tuple[str, Mapping[str, Any]]:
        """How it ended last, with the field in which that stands; ("", {}) when it has not."""
        for field in ("state", "lastState"):
            if end := mapping(at(self.status, field, "terminated")):
                return f"{self.path}.{field}.terminated", end
        return "", {}

    @property
    def started(self) -> datetime | None:
        """Since when it runs; None when it does not."""
        return moment(str(at(self.status, "state", "running", "startedAt") or ""))

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return isinstance(at(self.status, "state", "running"), Mapping)

    @property
    def is_ready(self) -> bool:
        """Whether the kubelet counts it as ready."""
        return self.status.get("ready") is True


def containers_of(pod: Object) -> tuple[Container, ...]:
    """What the kubelet says of each container, init containers first."""
    return tuple(
        Container(f"status.{kind}[{i}]", name, mapping(s))
        for kind in ("initContainerStatuses", "containerStatuses")
        for i, s in enumerate(pod.at("status", kind) if isinstance(pod.at("status", kind), list) else [])
        if isinstance(name := at(s, "name"), str)
    )


def out_of_memory(container: Container) -> str:
    """The field that says that the kernel killed it for want of memory; "" when it did not."""
    path, end = container.ended
    return f"{path}.reason" if end.get("reason") == "OOMKilled" else ""
