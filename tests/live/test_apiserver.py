"""The server that stands in for a kube-apiserver answers as a real one was seen to, and as its description says."""

from __future__ import annotations

import inspect
import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, watch

from tests.live import pods
from tests.live.access import ADMIN, User, reader
from tests.live.apiserver import ApiServer
from tests.live.calls import NOW, PROXY, Call, call, log
from tests.live.cluster import Cluster, Pod
from tests.live.connection import buffered
from tests.live.exchanges import EXCHANGES, POD
from tests.live.objects import SECOND

# What a real one answered


def stamped(text: str) -> tuple[list[bytes], list[int]]:
    """Lines and their times of a log with both."""
    lines, times = [], []
    for line in text.encode().splitlines():
        stamp_, _, rest = line.partition(b" ")
        second, fraction = stamp_.rstrip(b"Z").split(b".")
        whole = time.strptime(second.decode(), "%Y-%m-%dT%H:%M:%S")
        lines.append(rest)
        times.append(int(time.mktime(whole) - time.timezone) * SECOND + int(fraction))
    return lines, times


def body_of(name: str) -> str:
    """The body of an exchange without lengths of chunks."""
    body = EXCHANGES[name][1].partition("\r\n\r\n")[2]
    return "".join(re.findall(r"(?:^|\r\n)[0-9a-f]+\r\n(.*?\n?)(?=\r\n)", body, re.DOTALL))


def exchange(
    name: str, cluster: Cluster, token: str = "admin", do: Callable[[ApiServer, Call], None] | None = None
) -> str:
    """What this server answers to the request of an exchange, with ids and the date replaced."""
    method, target = EXCHANGES[name][0].split(" ")
    users = {
        "admin": ADMIN,
        "none": User("shop-reader"),
        "list": User("list-only", (("list", "pods", "*"),)),
        "logs": reader(),
    }
    version = json.loads(EXCHANGES["version"][1].partition("\r\n\r\n")[2])
    expected = EXCHANGES[name][1]
    cluster.version = 329
    with (
        ApiServer(cluster, tokens=users, version=version) as server,
        call(server, target, "wrong" if token == "wrong" else token, method) as made,
    ):
        assert made.code
        if do:
            do(server, made)
        while len(seen := _anonymous(made.raw)) < len(expected):
            made.more()
    return seen


def _anonymous(raw: bytearray) -> str:
    text = re.sub(r"(-Id|-Uid): [0-9a-f-]{36}\r", r"\1: (an id)\r", raw.decode())
    return re.sub(r"\r\nDate: [^\r]+", "\r\nDate: (a date)", text)


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("list-pods-label", "admin"),
        ("list-bad-selector", "admin"),
        ("list-ns-missing", "admin"),
        ("list-forbidden", "none"),
        ("unauthorized", "wrong"),
        ("pod-missing", "admin"),
        ("log-no-container", "admin"),
        ("log-bad-container", "admin"),
        ("log-forbidden", "list"),
        ("log-bad-params", "admin"),
        ("watch-error-event", "admin"),
        ("patch-forbidden", "logs"),
        ("version", "admin"),
        ("kind-missing", "admin"),
    ],
)
def test_answers_are_those_of_a_real_server(name: str, token: str, cluster: Cluster, pod: Pod) -> None:
    assert exchange(name, cluster, token) == EXCHANGES[name][1]


def test_watch_times_out_as_a_real_one(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = ApiServer.later
    # The two seconds that the exchange waited are not needed to see how it ended.
    monkeypatch.setattr(ApiServer, "later", lambda self, seconds, do: wait(self, seconds / 100, do))
    assert exchange("watch-timeout", cluster) == EXCHANGES["watch-timeout"][1]


@pytest.mark.parametrize("name", ["log-tail", "log-follow-restart", "log-follow", "log-kubelet-abort"])
def test_logs_are_those_of_a_real_server(name: str, cluster: Cluster, pod: Pod) -> None:
    lines, times = stamped(body_of(name))
    later = lines.pop() if name == "log-follow" else b""
    cluster.write(pod, PROXY, b"before", *lines, at=[NOW - 60 * SECOND, *times[: len(lines)]])
    if name == "log-kubelet-abort":  # the kubelet had only these two
        cluster.recreate(pod)
        cluster.write("shop/db-0", PROXY, *lines, at=times)
    do: dict[str, Callable[[ApiServer, Call], None]] = {
        "log-follow-restart": lambda *_: cluster.restart("shop/db-0", PROXY),
        "log-follow": lambda *_: cluster.write("shop/db-0", PROXY, later, at=times[-1]) and None,
        "log-kubelet-abort": lambda server, _: server.cut("shop/db-0", PROXY) and None,
    }
    assert exchange(name, cluster, do=do.get(name)) == EXCHANGES[name][1]


def test_limit_bytes_cuts_as_a_real_server(cluster: Cluster, pod: Pod) -> None:
    line = body_of("log-limit-bytes").encode() + b"d to upstream XDS server"
    cluster.write(pod, PROXY, b"before", line, b"Readiness succeeded", b"Envoy proxy is ready")
    assert exchange("log-limit-bytes", cluster) == EXCHANGES["log-limit-bytes"][1]


def test_a_log_that_is_followed_ends_with_the_pod_as_with_a_real_server(cluster: Cluster, pod: Pod) -> None:
    first, *last = body_of("log-follow-delete").encode().splitlines()
    cluster.write(pod, PROXY, b"before", first)

    def delete(*_: object) -> None:
        cluster.begin_delete(pod)
        cluster.write(pod, PROXY, *last)
        cluster.delete_pod(pod)

    assert exchange("log-follow-delete", cluster, do=delete) == EXCHANGES["log-follow-delete"][1]


def test_log_of_a_crash_loop_is_that_of_the_last_run(cluster: Cluster) -> None:
    pod = pods.sidecar_pod(cluster, "orders", "crashing-5d6f7c8b9-ccccc")
    name = "log-waiting-crashing-5d6"
    cluster.write(pod, PROXY, *body_of(name).encode().splitlines())
    cluster.restart(pod, PROXY, "Error", 1, waiting=math.inf)
    assert exchange(name, cluster) == EXCHANGES[name][1]


def test_log_of_what_has_not_started(cluster: Cluster) -> None:
    pod = pods.sidecar_pod(cluster, "orders", "pending-6f7d8c9b5-ppppp", start=False)
    name = "log-waiting-pending-6f7d"
    assert exchange(name, cluster) == EXCHANGES[name][1]
    with ApiServer(cluster) as server:
        cluster.set_waiting(pod, PROXY, "ImagePullBackOff")
        assert "is waiting to start: trying and failing to pull image" in log(server, pod)["message"]


def test_log_of_a_run_before_this_one(cluster: Cluster, pod: Pod) -> None:
    lines, times = stamped(body_of("log-previous"))
    cluster.write(pod, PROXY, b"before", *lines, at=[NOW, *times])
    cluster.restart(pod, PROXY)
    cluster.write(pod, PROXY, b"of the run after it")
    assert exchange("log-previous", cluster) == EXCHANGES["log-previous"][1]


def test_kubelet_that_answers_500(cluster: Cluster, pod: Pod) -> None:
    with ApiServer(cluster) as server:
        server.fail_next("log", 500)
        with call(server, EXCHANGES["log-kubelet-500"][0].split(" ")[1]) as made:
            made.rest()
            assert _anonymous(made.raw) == EXCHANGES["log-kubelet-500"][1]


def test_pages_of_a_list_are_cut_into_chunks_as_go_does() -> None:
    # Lengths of the chunks of a real list with three items: 2048 and the rest of an item, and what was left at last.
    assert [len(c) for c in buffered([b"x" * 85, b"x" * 7277, b",", b"x" * 7277, b"]}\n"])] == [
        2048,
        5314,
        2048,
        5230,
        3,
    ]
    assert buffered([b"short"]) == [b"short"]


def paths(value: Any, at: str = "") -> list[str]:
    """The places of all values in JSON, in order."""
    if isinstance(value, dict):
        return [path for key, part in value.items() for path in (f"{at}.{key}", *paths(part, f"{at}.{key}"))]
    if isinstance(value, list):
        return [path for place, part in enumerate(value) for path in paths(part, f"{at}[{place}]")]
    return []


def test_pods_have_the_fields_of_a_real_one_in_their_order(cluster: Cluster) -> None:
    meta = POD["metadata"]
    labels = {"pod-template-hash": "54013ba69", **meta["labels"]}
    pod = pods.sidecar_pod(cluster, "shop", meta["name"], app="cart", version="v3", labels=labels)
    ours, real = paths(pod.object.data), paths(POD)
    places = [ours.index(path) for path in real]
    assert places == sorted(places)
    for kept in ("name", "namespace", "labels", "annotations"):
        assert pod.object.data["metadata"][kept] == meta[kept]


# What the API is described as


BUILDERS: dict[str, Callable[[Cluster], Pod]] = {
    "sidecar": lambda c: pods.sidecar_pod(c, "shop", "cart-54013ba69-3e634"),
    "native": lambda c: pods.native_sidecar_pod(c, "shop", "web-0"),
    "plain": lambda c: pods.plain_pod(c, "shop", "job-1"),
    "ingress": pods.ingress_gateway,
    "gateway": lambda c: pods.gateway(c, "shop", "public"),
    "waypoint": lambda c: pods.waypoint(c, "shop"),
    "istiod": pods.istiod,
    "ztunnel": pods.ztunnel,
    "cni": pods.cni_node,
    "waiting": lambda c: pods.sidecar_pod(c, "shop", "slow-0", start=False),
    "nowhere": lambda c: c.add_pod("shop", "nowhere", ["app"], node="", owner=("Job", "once")),
}


def unknown(value: Any, kind: str, at: str = "") -> list[str]:
    """Places of fields that a generated model does not have."""
    inner = re.fullmatch(r"(?:List\[(.+)\]|Dict\[str, (.+)\])", kind)
    if inner and inner[1]:
        return [path for n, part in enumerate(value) for path in unknown(part, inner[1], f"{at}[{n}]")]
    if inner:
        return [path for key, part in value.items() for path in unknown(part, inner[2], f"{at}.{key}")]
    model = getattr(client, kind, None)
    if model is None or not isinstance(value, dict):
        return []
    fields = {name: model.openapi_types[attribute] for attribute, name in model.attribute_map.items()}
    out = []
    for key, part in value.items():
        if key not in fields:
            out.append(f"{at}.{key}")
        elif part is not None:
            out += unknown(part, fields[key], f"{at}.{key}")
    return out


def states(cluster: Cluster, pod: Pod) -> Iterator[Any]:
    """A pod as JSON in all states that it can be brought to."""
    yield pod.object
    name = pod.specs[-1].name
    if pod.phase == "Running":
        cluster.restart(pod, name)
        yield pod.object
        cluster.restart(pod, name, waiting=math.inf)
        yield pod.object
        cluster.start(pod)
        cluster.terminate(pod, name)
        yield pod.object
    cluster.begin_delete(pod)
    yield pod.object


@pytest.mark.parametrize("name", BUILDERS)
def test_pods_are_what_the_api_describes(name: str, cluster: Cluster) -> None:
    pod = BUILDERS[name](cluster)
    api = client.ApiClient()
    for state in states(cluster, pod):
        whole = json.loads(state.whole)
        assert unknown(whole, "V1Pod") == []
        model = api.deserialize(state.whole.decode(), "V1Pod", "application/json")
        back = api.sanitize_for_serialization(model)
        assert _timeless(back) == _timeless(whole)


def _timeless(value: Any) -> Any:
    """JSON with all times written in one way, and without fields that are null."""
    if isinstance(value, dict):
        return {key: _timeless(part) for key, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_timeless(part) for part in value]
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}(\.\d+)?(Z|\+00:00)", value):
        return value.replace("+00:00", "Z")
    return value


def test_unknown_fields_are_found() -> None:
    wrong = {"metadata": {"nam": "x"}, "spec": {"containers": [{"name": "a", "restarts": 1}]}}
    assert unknown(wrong, "V1Pod") == [".metadata.nam", ".spec.containers[0].restarts"]


def test_namespaces_are_what_the_api_describes(cluster: Cluster) -> None:
    cluster.add_namespace("shop", {"istio-injection": "enabled"})
    assert unknown(json.loads(cluster.namespaces["shop"].whole), "V1Namespace") == []


def test_parameters_are_those_of_the_api() -> None:
    folder = Path(inspect.getfile(ApiServer)).parent
    files = ("streams", "apiserver", "pages", "access")
    text = "".join((folder / f"{name}.py").read_text() for name in files)
    used = set(re.findall(r'(?:query\.get\(|query\[|flag\((?:request\.)?query, |number\(query, )"(\w+)"', text))
    used |= set(re.findall(r'"(\w+)"', "".join(re.findall(r"for name in \(([^)]*)\)", text))))
    logs = {"container", "follow", "previous", "timestamps", "sinceTime", "sinceSeconds", "tailLines", "limitBytes"}
    lists = {"labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "watch", "allowWatchBookmarks"}
    assert used == logs | lists | {"timeoutSeconds"}

    def described(method: Callable[..., Any]) -> set[str]:
        names = (name.strip("_") for name in inspect.signature(method).parameters)
        return {re.sub(r"_(\w)", lambda match: match[1].upper(), name) for name in names}

    # The description does not have `sinceTime`, though servers know it (see the exchange "log-bad-params").
    assert logs - described(client.CoreV1Api.read_namespaced_pod_log) == {"sinceTime"}
    for method in (client.CoreV1Api.list_namespaced_pod, client.CoreV1Api.list_pod_for_all_namespaces):
        assert lists | {"timeoutSeconds"} <= described(method)


def test_official_client(cluster: Cluster, pod: Pod) -> None:
    for n in range(5):
        pods.sidecar_pod(cluster, "shop", f"web-{n}")
    with ApiServer(cluster, tokens={"tok": reader()}) as server:
        config = client.Configuration(host=server.url)
        config.api_key = {"authorization": "Bearer tok", "BearerToken": "Bearer tok"}
        with client.ApiClient(config) as api:
            core = client.CoreV1Api(api)
            page = core.list_namespaced_pod("shop", limit=4, label_selector="app in (web, db)")
            names = [item.metadata.name for item in page.items]
            page = core.list_namespaced_pod("shop", limit=4, _continue=page.metadata._continue)
            assert [*names, *(item.metadata.name for item in page.items)] == ["db-0", *(f"web-{n}" for n in range(5))]
            assert core.read_namespaced_pod("db-0", "shop").metadata.uid == pod.uid
            cluster.write(pod, PROXY, b"one", b"two")
            text = core.read_namespaced_pod_log("db-0", "shop", container=PROXY, tail_lines=1, timestamps=True)
            assert text == "2026-11-22T23:32:13.000001000Z two\n"
            with pytest.raises(client.ApiException) as failed:
                core.read_namespaced_pod("nope", "shop")
            assert json.loads(str(failed.value.body))["reason"] == "NotFound"

            threading.Timer(0.01, cluster.restart, (pod, PROXY)).start()
            events = []
            watcher = watch.Watch()
            selected = {"field_selector": "metadata.name=db-0", "resource_version": page.metadata.resource_version}
            for event in watcher.stream(core.list_namespaced_pod, "shop", timeout_seconds=5, **selected):
                events.append((event["type"], event["object"].status.container_statuses[0].restart_count))
                watcher.stop()
            assert events == [("MODIFIED", 1)]

            follower = watch.Watch()
            cluster.write(pod, PROXY, "grüße".encode())
            lines = []
            for line in follower.stream(core.read_namespaced_pod_log, "db-0", "shop", container=PROXY):
                lines.append(line)
                cluster.delete_pod(pod) if len(lines) == 1 else follower.stop()
                follower.stop()
            assert lines == ["grüße"]
