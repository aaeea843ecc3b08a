"""Captures that tests write: pods with their logs as files NAMESPACE_POD_CONTAINER.log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import meshdiag
from meshdiag import Diagnosis
from tests.conftest import SAMPLES, access_line

BEGIN = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
CART, CART_2 = "cart-7d6c5f9b84-z6r4p", "cart-5f9c8d7b64-k2x8w"
SHOP, SHOP_2 = "shopfront-6f7c9d8b5d-x4mzq", "shopfront-6f7c9d8b5d-q7t2c"
_TIME = re.compile(r"^2026-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,6}Z", re.MULTILINE)


def stamp(seconds: float) -> str:
    """An access log's time, so many seconds after BEGIN."""
    return (BEGIN + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(seconds * 1000) % 1000:03d}Z"


def requests(failing: Iterable[float], good: Iterable[float] = (), to: str = "cart", who: str = "x") -> list[str]:
    """Access lines of a client in order of time: `UH` at the failing seconds, 200 at the good ones."""
    cluster = f"outbound|8080||{to}.shop.svc.cluster.local"
    lines = [(t, False) for t in failing] + [(t, True) for t in good]
    return [
        access_line(time=stamp(t), cluster=cluster, request_id=f"{who}-{i}-{t}")
        if well
        else access_line(
            "503",
            "UH",
            "no_healthy_upstream",
            time=stamp(t),
            cluster=cluster,
            host="-",
            local="-",
            request_id=f"{who}-{i}-{t}",
        )
        for i, (t, well) in enumerate(sorted(lines))
    ]


def write(folder: Path, pods: Mapping[str, Iterable[str]], namespace: str = "shop") -> Path:
    """A folder with one file a pod; a name with a dot is a file's own name."""
    folder.mkdir(parents=True, exist_ok=True)
    for pod, lines in pods.items():
        name = pod if "." in pod else f"{namespace}_{pod}_istio-proxy.log"
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def capture(folder: Path, pods: Mapping[str, Iterable[str]], namespace: str = "shop") -> Diagnosis:
    """The diagnosis of such a folder."""
    return meshdiag.diagnose(write(folder, pods, namespace))


def start_log() -> list[str]:
    """A healthy start of a pilot-agent, as in the samples: process start to ready in about a second."""
    (path,) = (SAMPLES / "01-healthy-mesh").glob("default_ratings*")
    text = path.read_text(encoding="utf-8")
    lines = list(_records(text))
    ready = next(i for i, line in enumerate(lines) if "Envoy proxy is ready" in line)
    return lines[: ready + 1]


def _records(text: str) -> Iterator[str]:
    """Records with their continuation lines."""
    record: list[str] = []
    for line in text.splitlines():
        if _TIME.match(line) and record:
            yield "\n".join(record)
            record = []
        record.append(line)
    yield "\n".join(record)


def delayed(records: Iterable[str], contains: str, seconds: float) -> list[str]:
    """The records from the first one with this text on, so much later."""
    out, late = [], False
    for record in records:
        late |= contains in record
        out.append(later(record, seconds) if late else record)
    return out


def later(record: str, seconds: float) -> str:
    """A record so much later."""
    m = _TIME.match(record)
    assert m is not None
    time = datetime.fromisoformat(m[0]) + timedelta(seconds=seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ") + record[m.end() :]
