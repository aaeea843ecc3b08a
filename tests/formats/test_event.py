"""Events as kubectl prints them and as objects."""

import json
from datetime import UTC, datetime

import pytest

from meshdiag.formats import detect
from meshdiag.formats.event import parse
from meshdiag.model import Record

PROBE = "Readiness probe failed: HTTP probe failed with statuscode: 503"


def read(line: str) -> Record:
    record = parse(line)
    assert record is not None
    assert detect(line) == record
    assert (record.format, record.component) == ("event", "kubernetes")
    return record


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            f"31m         Warning   Unhealthy    pod/istio-cni-node-4b756       {PROBE}",
            {"type": "Warning", "reason": "Unhealthy", "object_kind": "pod", "object": "istio-cni-node-4b756"},
        ),
        (
            f"istio-system   31m         Warning   Unhealthy    pod/istio-cni-node-4b756       {PROBE}",
            {
                "type": "Warning",
                "reason": "Unhealthy",
                "object_kind": "pod",
                "object": "istio-cni-node-4b756",
                "namespace": "istio-system",
            },
        ),
        (
            f"5m (x3 over 10m)   Warning   Unhealthy    Pod/web-1       {PROBE}",
            {"type": "Warning", "reason": "Unhealthy", "object_kind": "pod", "object": "web-1", "count": "3"},
        ),
        (
            "10s  Warning  Unhealthy  pod/web-1  spec.containers{istio-proxy}  kubelet, node1  "
            f"{PROBE}  2m  5  web-1.16abcdef01234567",
            {
                "type": "Warning",
                "reason": "Unhealthy",
                "object_kind": "pod",
                "object": "web-1",
                "source": "kubelet, node1",
                "count": "5",
                "container": "istio-proxy",
            },
        ),
        (
            "13m   10m   4   web-8c567f849.159c87245ec30f53   Pod   spec.containers{app}   "
            f"Warning   Unhealthy   kubelet, n1   {PROBE}",
            {
                "type": "Warning",
                "reason": "Unhealthy",
                "object_kind": "pod",
                "object": "web-8c567f849",
                "source": "kubelet, n1",
                "count": "4",
                "container": "app",
            },
        ),
        (
            f"  Warning  Unhealthy  2m11s (x94307 over 2d4h)  kubelet, gke-mini-dftr  {PROBE}",
            {"type": "Warning", "reason": "Unhealthy", "source": "kubelet, gke-mini-dftr", "count": "94307"},
        ),
        (
            f"Warning  Unhealthy  <unknown>   kubelet  {PROBE}",
            {"type": "Warning", "reason": "Unhealthy", "source": "kubelet"},
        ),
    ],
)
def test_rows(line: str, expected: dict[str, str]) -> None:
    record = read(line)
    assert record.fields == expected
    assert (record.message, record.level, record.encoding) == (PROBE, "warning", "text")


def test_an_object() -> None:
    obj = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "web-1.16a", "namespace": "prod"},
        "involvedObject": {
            "kind": "Pod",
            "name": "web-1",
            "namespace": "prod",
            "fieldPath": "spec.containers{istio-proxy}",
        },
        "reason": "Unhealthy",
        "message": PROBE,
        "type": "Warning",
        "count": 7,
        "source": {"component": "kubelet", "host": "n1"},
        "lastTimestamp": "2026-11-22T10:11:12Z",
    }
    record = read(json.dumps(obj))
    assert record.time == datetime(2026, 11, 22, 10, 11, 12, tzinfo=UTC)
    assert record.message == PROBE
    assert record.fields == {
        "type": "Warning",
        "reason": "Unhealthy",
        "object_kind": "pod",
        "object": "web-1",
        "namespace": "prod",
        "source": "kubelet",
        "count": "7",
        "container": "istio-proxy",
    }


def test_an_object_of_events_k8s_io() -> None:
    record = read(
        '{"reason":"Failed","note":"x","regarding":{"kind":"ReplicaSet","name":"r"},"series":{"count":2},"type":"Normal"}'
    )
    assert (record.message, record.level) == ("x", "info")
    assert (record.fields["object_kind"], record.fields["count"]) == ("replicaset", "2")


@pytest.mark.parametrize(
    "line",
    [
        "LAST SEEN   TYPE      REASON      OBJECT      MESSAGE",
        "  Type     Reason     Age       From      Message",
        "Warning: something is deprecated",
        '{"reason":"x","involvedObject":7}',
        "Normal people say things",
        "",
    ],
)
def test_others(line: str) -> None:
    assert parse(line) is None
