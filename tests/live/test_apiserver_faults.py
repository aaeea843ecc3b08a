"""What goes wrong on purpose with the server that stands in for a kube-apiserver."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from tests.live.apiserver import ApiServer
from tests.live.calls import PROXY, Call, call, get, list_path, log, log_path, watching
from tests.live.cluster import Cluster, Pod
from tests.live.faults import Faults, Request


def test_cuts(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    def following() -> Any:
        count = server.stats["log.opened"] + 1
        made = call(server, log_path(follow=True, tailLines=0))
        entered = made.__enter__()
        server.wait(lambda: server.stats["log.opened"] == count)
        return made, entered

    made, clean = following()
    assert server.cut(pod, PROXY, after=12) == 1  # inside the second line
    cluster.write(pod, PROXY, b"12345678")
    assert clean.line() == b"12345678"
    cluster.write(pod, PROXY, b"12345678")
    assert clean.rest() == b"123"
    made.__exit__(None, None, None)

    made, reset = following()
    cluster.write(pod, PROXY, b"line")
    assert reset.line() == b"line"
    server.cut(pod, PROXY, "reset")
    with pytest.raises(ConnectionResetError):
        reset.chunk()
    made.__exit__(None, None, None)

    made, silent = following()
    server.cut(pod, kind="stall")
    cluster.write(pod, PROXY, b"nobody gets this")
    cluster.terminate(pod, PROXY)
    assert log(server, tailLines=1) == b"nobody gets this\n"
    assert silent.nothing() and len(server.open_streams) == 1
    assert server.cut(pod) == 0  # it is cut already
    made.__exit__(None, None, None)
    server.wait(lambda: not server.open_streams)
    assert {key: count for key, count in server.stats.items() if key.startswith("cut")} == {
        "cut.end": 1,
        "cut.reset": 1,
        "cut.stall": 1,
    }


def test_random_cuts(cluster: Cluster, pod: Pod) -> None:
    with ApiServer(cluster, faults=Faults(seed=3, cut_every=0.01, cuts={"end": 1}, cut_within=100)) as server:
        whole = b"x" * 40
        ends = []
        while len(ends) < 5:
            with call(server, log_path(follow=True, tailLines=0)) as made:
                server.wait(lambda: server.stats["log.opened"] > len(ends))
                while server.open_streams:
                    cluster.write(pod, PROXY, whole)
                    time.sleep(0.001)  # the cuts come by the clock
                ends.append(len(made.rest()) % 41)
        assert server.stats["cut.end"] >= 5
        assert any(ends)  # inside a line
        server.faults = Faults()
        with call(server, log_path(follow=True)) as made:
            assert made.chunk().endswith(b"x\n")


def test_cuts_after_as_many_bytes_as_were_drawn(cluster: Cluster, pod: Pod) -> None:
    def lengths(seed: int) -> list[int]:
        faults = Faults(seed, cut_after=(10, 100), cuts={"end": 1})
        with ApiServer(cluster, faults=faults) as server:
            return [len(log(server, follow=True)) for _ in range(8)]

    cluster.write(pod, PROXY, b"x" * 200)
    first = lengths(1)
    assert first == lengths(1) != lengths(2)
    assert len(set(first)) > 3
    assert 10 <= min(first) <= max(first) <= 100


def test_faults_are_the_same_for_the_same_seed() -> None:
    def drawn(seed: int) -> list[Any]:
        faults = Faults(seed, cut_every=5, errors={429: 0.2, 503: 0.2}, delay=0.5, watch_gone=0.3, watch_cut=0.3)
        request = Request("GET", "/api/v1/pods", {}, None)
        return [
            (faults.pause(), faults.cut(9), faults.error(request), faults.wait(request), faults.watch())
            for _ in range(50)
        ]

    assert drawn(1) == drawn(1) != drawn(2)
    assert {error for _, _, error, _, _ in drawn(1)} == {429, 503, None}
    assert {kind for *_, kind in drawn(1)} == {"gone", "cut", None}
    calm = Faults()
    request = Request("GET", "/", {}, None)
    assert (calm.pause(), calm.error(request), calm.wait(request), calm.watch()) == (math.inf, None, 0, None)


def test_errors_for_a_share_of_requests(cluster: Cluster, pod: Pod) -> None:
    faults = Faults(seed=1, errors={429: 0.3, 500: 0.3, 503: 0.3}, only=lambda request: request.verb == "list")
    with ApiServer(cluster, faults=faults) as server:
        codes = [get(server, list_path())[0] for _ in range(60)]
        assert set(codes) == {200, 429, 500, 503}
        assert [get(server, log_path())[0] for _ in range(10)] == [200] * 10
        for code in (429, 500, 503):
            assert codes.count(code) == server.stats[f"fault.{code}"] == server.stats[f"status.{code}"]


def test_errors_on_demand(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    server.fail_next("log", 429, times=2)
    assert get(server, list_path())[0] == 200
    with call(server, log_path()) as made:
        assert (made.code, made.headers["Retry-After"]) == (429, "1")
        assert made.rest() == b"Too many requests, please try again later.\n"
        assert made.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert [get(server, log_path())[0] for _ in range(2)] == [429, 200]
    server.fail_next("get", 503)
    code, body = get(server, "/api/v1/namespaces/shop/pods/db-0")
    assert (code, body["reason"]) == (503, "ServiceUnavailable")


def test_late_answers(cluster: Cluster, pod: Pod) -> None:
    with ApiServer(cluster, faults=Faults(delay=1, delays=(0.05, 0.05))) as server:
        began = time.monotonic()
        assert get(server, list_path())[0] == 200
        assert time.monotonic() - began >= 0.05
        assert server.stats["fault.delay"] == 1
        server.faults = Faults()
        server.hold("log")
        with call(server, log_path()) as made:
            server.wait(lambda: len(server.requests) == 2)
            assert made.nothing()
            cluster.write(pod, PROXY, b"line")
            server.release("log")
            assert made.rest() == b"line\n"


def test_faults_of_watches(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    server.faults = Faults(watch_gone=1)
    with watching(server) as made:
        assert (made.code, made.event()[1]["code"], made.chunk()) == (200, 410, b"")
    server.faults = Faults(watch_error=1)
    with watching(server) as made:
        assert (made.event()[1]["reason"], made.chunk()) == ("InternalError", b"")
    server.faults = Faults(watch_cut=1, watch_cut_after=1)
    with watching(server) as made:
        whole = made.line()
        cluster.touch(pod)
        half = made.rest()
        assert half.startswith(b'{"type":"MODIFIED","object":{"kind":"Pod"')
        assert abs(len(half) - len(whole) / 2) < 5
    server.faults = Faults()
    with watching(server) as made:
        assert made.event()[0] == "ADDED"
        assert server.cut_watches("reset", in_event=True) == 1
        cluster.touch(pod)
        with pytest.raises((ConnectionResetError, EOFError)):
            made.chunk()
            made.chunk()
    with watching(server) as made:
        assert made.event()[0] == "ADDED"
        assert server.expire_watches() == 1
        kind, found = made.event()
        assert (kind, found["code"], made.chunk()) == ("ERROR", 410, b"")
    with watching(server) as made:
        assert made.event()[0] == "ADDED"
        assert server.cut_watches() == 1
        assert made.chunk() == b""
    assert server.stats["fault.watch.gone"] == server.stats["fault.watch.error"] == 1


def test_outage(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    cluster.write(pod, PROXY, b"line")
    with call(server, log_path(follow=True)) as made:
        assert made.line() == b"line"
        server.down()
        with pytest.raises(ConnectionResetError):
            made.chunk()
    with pytest.raises(ConnectionRefusedError):
        Call(server, "/version")
    cluster.write(pod, PROXY, b"meanwhile")
    server.up()
    assert log(server) == b"line\nmeanwhile\n"
    server.outage(0.01)
    assert log(server, tailLines=1) == b"meanwhile\n"
    assert server.stats["fault.outage"] == 2


def test_mistakes_of_the_server_are_told(cluster: Cluster, pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ApiServer, "_find", lambda *_: {}["no"])
    lost = pytest.raises((EOFError, ConnectionResetError))
    with pytest.raises(KeyError, match="no"), ApiServer(cluster) as server, call(server, log_path()) as made, lost:
        made.more()
