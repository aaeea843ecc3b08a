"""Logs of containers as the server that stands in for a kube-apiserver sends them."""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import threading
from typing import Any

import pytest

from tests.live import load, pods
from tests.live.apiserver import WATCH_FAILED, ApiServer
from tests.live.calls import NOW, PROXY, Clock, call, get, log, log_path, watching
from tests.live.cluster import Cluster, Pod
from tests.live.logs import Block
from tests.live.objects import SECOND, stamp


def test_lines_have_times_with_nine_digits_when_asked_for(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    cluster.write(pod, PROXY, b"one", b"two", at=NOW + 5)
    assert log(server, timestamps=True) == (b"2026-11-22T23:32:13.000000005Z one\n2026-11-22T23:32:13.000001005Z two\n")
    assert log(server) == b"one\ntwo\n"


def test_times_are_unique_unless_told(cluster: Cluster, pod: Pod) -> None:
    times = [at for _ in range(3) for at in cluster.write(pod, PROXY, b"a", b"b")]  # the clock stands still
    assert times == sorted(set(times))
    assert cluster.write(pod, PROXY, b"a", b"b", b"c", at=[NOW + 9, NOW + 9, NOW]) == [NOW + 9, NOW + 9, NOW]
    assert cluster.write(pod, PROXY, b"later")[0] > max(times)


def test_since_time_is_truncated_and_filters_every_line(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    second = [NOW - SECOND + 999_999_999, NOW, NOW + 1, NOW - 1, NOW + SECOND]
    cluster.write(pod, PROXY, b"a", b"b", b"c", b"d", b"e", at=[second[0] - 5, *second[1:]])
    assert log(server, sinceTime="2026-11-22T23:32:13.9Z") == b"b\nc\ne\n"
    assert log(server, sinceTime="2026-11-23T00:32:13+01:00") == b"b\nc\ne\n"
    with call(server, log_path(sinceTime="2026-11-22T23:32:13Z", follow=True)) as made:
        assert made.chunk() == b"b\nc\ne\n"
        cluster.write(pod, PROXY, b"old", at=NOW - SECOND)
        cluster.write(pod, PROXY, b"old too", b"new", at=[NOW - SECOND, NOW])
        assert made.line() == b"new"
    code, body = get(server, log_path(sinceTime="yesterday"))
    assert (code, body["reason"]) == (400, "BadRequest")


def test_since_seconds_counts_from_now(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    cluster.write(pod, PROXY, b"a", b"b", at=[NOW - 3 * SECOND, NOW - 2 * SECOND])
    assert log(server, sinceSeconds=2) == b"b\n"
    code, body = get(server, log_path(sinceSeconds=0))
    assert (code, body["message"]) == (
        422,
        'PodLogOptions "db-0" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0',
    )


def test_tail_counts_lines_before_since_filters_them(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    cluster.write(pod, PROXY, b"1", b"2", b"3", at=NOW)
    cluster.write(pod, PROXY, b"4", b"5", at=NOW - SECOND)
    for tail, expected in ((0, b""), (1, b"5\n"), (2, b"4\n5\n"), (3, b"3\n4\n5\n"), (99, b"1\n2\n3\n4\n5\n")):
        assert log(server, tailLines=tail) == expected
    assert log(server, tailLines=3, sinceTime="2026-11-22T23:32:13Z") == b"3\n"
    for wrong, code in (("-1", 422), ("many", 400)):
        assert get(server, log_path(tailLines=wrong))[0] == code


def test_limit_ends_also_what_is_followed(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    with call(server, log_path(follow=True, limitBytes=7)) as made:
        server.wait(lambda: server.open_streams)
        cluster.write(pod, PROXY, b"abcd")
        assert made.chunk() == b"abcd\n"
        cluster.write(pod, PROXY, b"efgh")
        assert (made.chunk(), made.chunk()) == (b"ef", b"")
    assert get(server, log_path(limitBytes=0))[1]["message"].endswith(
        "limitBytes: Invalid value: 0: must be greater than 0"
    )


def test_headers_of_what_is_followed_come_with_the_first_line(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    with call(server, log_path(follow=True)) as made:
        server.wait(lambda: server.open_streams)
        assert made.nothing()
        cluster.write(pod, PROXY, b"first")
        assert (made.code, made.line()) == (200, b"first")
    with ApiServer(cluster, eager_headers=True) as eager, call(eager, log_path(follow=True, tailLines=0)) as made:
        assert made.code == 200
        assert made.nothing()
    with call(server, log_path(follow=True, tailLines=0)) as made:
        server.wait(lambda: len(server.requests) == 2)
        cluster.terminate(pod, PROXY)
        assert (made.code, made.chunk()) == (200, b"")


def test_parameters_are_read_as_the_api_reads_them(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    cluster.write(pod, PROXY, b"line", at=NOW)
    base = f"/api/v1/namespaces/shop/pods/db-0/log?container={PROXY}"
    for text, expected in (("&timestamps=", True), ("&timestamps=0", False), ("&timestamps=False", False)):
        assert get(server, base + text)[1] == (stamp(NOW) if expected else b"") + b"line\n"
    assert get(server, base + "&unknown=1&pretty=true&limitBytes=2&limitBytes=3")[1] == b"li"


def test_one_application_container_is_meant_when_none_is_named(cluster: Cluster, server: ApiServer) -> None:
    pod = pods.native_sidecar_pod(cluster, "shop", "web-0")
    cluster.write(pod, "web", b"of the application")
    assert get(server, "/api/v1/namespaces/shop/pods/web-0/log")[1] == b"of the application\n"
    assert log(server, pod, "istio-init") == b""


def test_rotation(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    cluster.write(pod, PROXY, b"old")
    with call(server, log_path(follow=True)) as made, call(server, log_path(follow=True, tailLines=1)) as other:
        assert made.line() == other.line() == b"old"
        cluster.rotate(pod, PROXY)
        cluster.write(pod, PROXY, b"new")
        assert made.line() == other.line() == b"new"
        assert log(server) == b"new\n"
        cluster.write(pod, PROXY, b"last")
        cluster.rotate(pod, PROXY, end_follows=True)
        assert made.rest() == other.rest() == b"last\n"
    assert log(server) == b""


@pytest.mark.parametrize("lossy", [True, False])
def test_who_is_behind_by_more_than_a_file_misses_lines(lossy: bool) -> None:
    cluster = Cluster(lossy=lossy)
    pod = cluster.add_pod("shop", "db-0", [PROXY])
    block = Block([b"%06d" % n + b"x" * 1000 for n in range(1000)])
    with ApiServer(cluster) as server, call(server, log_path(follow=True)) as made:
        server.wait(lambda: server.open_streams)
        for _ in range(10):  # far more than buffers on the way hold
            cluster.write_block(pod, PROXY, block)
            cluster.rotate(pod, PROXY)
        cluster.write(pod, PROXY, b"end")
        cluster.terminate(pod, PROXY)
        body = made.rest()
        missed = server.stats["log.missed"]
        assert body.endswith(b"x\nend\n")
        assert body.count(b"\n") == 10001 - missed == server.stats["log.lines"]
        assert (missed > 0) is lossy


def test_rotation_by_size(server: ApiServer, cluster: Cluster, pod: Pod) -> None:
    cluster.rotate_bytes = 100
    for n in range(5):
        cluster.write(pod, PROXY, b"%d" % n * 20)
    assert log(server) == b"4" * 20 + b"\n"  # 52 bytes a line with its time


def test_restart(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    def state() -> Any:
        return next(s for s in pod.object.data["status"]["containerStatuses"] if s["name"] == PROXY)

    code, body = get(server, log_path(previous=True))
    assert (code, body["reason"]) == (400, "BadRequest")
    assert body["message"] == 'previous terminated container "istio-proxy" in pod "db-0" not found'
    first = state()
    assert (first["restartCount"], first["ready"], first["started"], first["lastState"]) == (0, True, True, {})
    for n in range(3):
        cluster.write(pod, PROXY, b"run %d" % n)
        assert isinstance(cluster.clock, Clock)
        cluster.clock.now += SECOND + 5
        cluster.restart(pod, PROXY)
    assert (log(server), log(server, previous=True)) == (b"", b"run 2\n")  # the others are gone
    now = state()
    assert now["restartCount"] == 3
    assert now["state"] == {"running": {"startedAt": "2026-11-22T23:32:16Z"}}
    ended = now["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
    assert (ended["startedAt"], ended["finishedAt"]) == ("2026-11-22T23:32:15Z", "2026-11-22T23:32:16Z")
    assert re.fullmatch(r"containerd://[0-9a-f]{64}", ended["containerID"])
    assert len({first["containerID"], ended["containerID"], now["containerID"]}) == 3


def test_back_off(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    cluster.write(pod, PROXY, b"crashed")
    cluster.restart(pod, PROXY, "Error", 1, waiting=math.inf)
    assert log(server) == log(server, previous=True) == log(server, follow=True) == b"crashed\n"
    status = pod.object.data["status"]["containerStatuses"][0]
    assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert (status["restartCount"], status["ready"]) == (0, False)
    assert status["containerID"] == status["lastState"]["terminated"]["containerID"]
    cluster.start(pod, PROXY)
    cluster.write(pod, PROXY, b"runs")
    assert (log(server), log(server, previous=True)) == (b"runs\n", b"crashed\n")
    with watching(server, resourceVersion=cluster.version) as made:
        assert made.code == 200
        cluster.restart(pod, PROXY, waiting=0.01)
        states = [made.event()[1]["status"]["containerStatuses"][0] for _ in range(2)]
        assert [(next(iter(s["state"])), s["restartCount"]) for s in states] == [("waiting", 1), ("running", 2)]


def test_terminated_for_good(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    cluster.write(pod, PROXY, b"last")
    cluster.terminate(pod, PROXY, "Error", 3)
    assert log(server, follow=True) == b"last\n"
    assert pod.object.data["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    assert pod.phase == "Running"
    cluster.terminate(pod, "db")
    assert pod.object.data["status"]["phase"] == "Failed"
    with pytest.raises(ValueError, match="does not run"):
        cluster.restart(pod, PROXY)
    cluster.start(pod, PROXY)  # a restart in two steps
    assert (log(server), log(server, previous=True)) == (b"", b"last\n")


def test_deleted_and_created_again(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    cluster.write(pod, PROXY, b"old")
    with watching(server, resourceVersion=cluster.version) as made:
        assert made.code
        new = cluster.recreate(pod)
        events = [made.event() for _ in range(5)]
    assert [kind for kind, _ in events] == ["MODIFIED", "MODIFIED", "DELETED", "ADDED", "MODIFIED"]
    meta = [found["metadata"] for _, found in events]
    assert [m.get("deletionGracePeriodSeconds") for m in meta] == [30, 0, 0, None, None]
    assert [m["generation"] for m in meta] == [2, 2, 2, 1, 1]
    assert [m["uid"] == pod.uid for m in meta] == [True, True, True, False, False]
    assert [int(m["resourceVersion"]) - int(meta[0]["resourceVersion"]) for m in meta] == [0, 1, 2, 3, 4]
    assert events[3][1]["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert (log(server), cluster.pod("shop/db-0")) == (b"", new)
    cluster.delete_pod(new)
    assert get(server, log_path())[1]["message"] == 'pods "db-0" not found'
    assert get(server, "/api/v1/namespaces/shop/pods/db-0")[0] == 404
    with pytest.raises(ValueError, match="was deleted"):
        cluster.write(pod, PROXY, b"nobody")


def test_words_of_the_kubelet_in_the_place_of_lines(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    cluster.write(pod, PROXY, b"line")
    cluster.restart(pod, PROXY)
    cluster.lose_log(pod, PROXY, previous=True)
    last = cluster.container(pod, PROXY).last
    assert last is not None
    text = f"unable to retrieve container logs for {last.id}".encode()
    assert get(server, log_path(previous=True, timestamps=True)) == (200, text)
    with call(server, log_path(follow=True, timestamps=True)) as made:
        server.wait(lambda: server.open_streams)
        text = WATCH_FAILED.format(pod=pod.name, container=PROXY).encode()
        assert server.cut(pod, PROXY, text=text) == 1
        assert (made.code, made.rest()) == (200, text)


def test_pods_without_a_kubelet_that_answers(cluster: Cluster, server: ApiServer) -> None:
    pod = cluster.add_pod("shop", "nowhere", [PROXY], node="")
    with call(server, log_path(pod)) as made:
        assert (made.code, "Content-Length" in made.headers) == (204, False)
    pod = cluster.add_pod("shop", "lost", [PROXY], node="node-2")
    cluster.nodes_down.add("node-2")
    code, body = get(server, log_path(pod))
    assert (code, "reason" in body) == (500, False)
    assert body["message"].endswith("dial tcp 127.0.0.1:10250: connect: connection refused")


@pytest.mark.parametrize("chunking", [1, 7, "random"])
def test_chunks_may_split_lines_and_characters(cluster: Cluster, pod: Pod, chunking: Any) -> None:
    how = random.Random(1) if chunking == "random" else chunking
    lines = ["grüße €uro 🙂".encode() * n for n in range(1, 40)]
    cluster.write(pod, PROXY, *lines)
    with ApiServer(cluster, chunking=how) as server, call(server, log_path()) as made:
        chunks = list(iter(made.chunk, b""))
    assert b"".join(chunks) == b"".join(line + b"\n" for line in lines)
    assert len(chunks) > 10
    assert any(chunk[0] & 0xC0 == 0x80 for chunk in chunks)  # begins inside a character
    if isinstance(chunking, int):
        assert {len(chunk) for chunk in chunks[:-1]} == {chunking}


def test_blocks_are_as_lines_that_are_written(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    block = Block([b"a", b"b", b"c"])
    first = cluster.write_block(pod, PROXY, block, at=NOW + 123_456_789)
    second = cluster.write_block(pod, PROXY, block)
    assert (first, second) == (NOW + 123_000_000, NOW + 124_000_000)
    step = 333_333
    lines = [stamp(first + n * step) + block.lines[n] + b"\n" for n in range(3)]
    assert log(server, timestamps=True).startswith(b"".join(lines))
    assert log(server, tailLines=2) == b"b\nc\n"
    assert log(server, sinceTime="2026-11-22T23:32:14Z") == b""


# In a loop of its own


def test_in_the_loop_of_who_reads(cluster: Cluster, pod: Pod) -> None:
    async def run() -> list[bytes]:
        async with ApiServer(cluster) as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(f"GET {log_path(follow=True)} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
            await server.until(lambda: server.open_streams)
            cluster.write(pod, PROXY, b"line")
            outage = server.outage(0.01)
            assert outage is not None
            await reader.readuntil(b"\r\n\r\n")
            got = [await reader.readuntil(b"\n\r\n")]
            await outage
            writer.close()
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(b"GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n")
            got.append((await reader.read()).rpartition(b"\r\n")[2])
            writer.close()
            return got

    assert asyncio.run(run()) == [b"5\r\nline\n\r\n", b"ok"]


def test_waits_from_other_loops_and_in_vain(cluster: Cluster, server: ApiServer) -> None:
    threading.Timer(0.01, get, (server, "/version")).start()
    asyncio.run(server.until(lambda: server.requests))
    with pytest.raises(TimeoutError, match="not so within"):
        server.wait(lambda: False, 0.01)


def test_load(capsys: pytest.CaptureFixture[str]) -> None:
    async def follow(url: str, name: str) -> list[bytes]:
        """The times of all lines."""
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        path = log_path(f"load-0/{name}", follow=True, timestamps=True)
        writer.write(f"GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        writer.close()
        return [line[:30] for line in body.splitlines()]

    async def run(containers: int, flooded: int) -> tuple[list[list[bytes]], dict[str, Any]]:
        lines = load.access_lines(100)
        names = [pod.name for pod in load.mesh(Cluster(), containers)]
        serving = asyncio.create_task(load.serve(containers, 10_000, 0.2, flooded, lines, 5))
        while not (out := capsys.readouterr().out):
            await asyncio.sleep(0)
        got = await asyncio.gather(*(follow(json.loads(out)["url"], name) for name in names))
        await serving
        return got, json.loads(capsys.readouterr().out)

    for containers, flooded in ((10, 0), (1, 3_000_000)):
        got, told = asyncio.run(run(containers, flooded))
        assert told["sent_lines"] == told["lines"] == sum(len(times) for times in got)
        assert min(map(len, got)) * 2 >= max(map(len, got)) > 0
        assert all(times == sorted(set(times)) for times in got)
