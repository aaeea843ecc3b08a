"""Lines to records: continuation lines, partial lines, pods that take turns, JSON over several lines."""

import json

import pytest

from meshdiag.formats import Assembler, begins_record, continues, records
from meshdiag.formats._assembly import MAX_LINES
from meshdiag.formats._common import LIMIT
from meshdiag.model import Origin, Record

TIME = "2026-11-22T22:28:57.669127Z"
NACK = (
    f"{TIME}\twarn\tads\tADS:LDS: ACK ERROR sleep-6f7d8c9b5-qx2lz.shop-10 "
    "Internal:Error adding/updating listener(s) 0.0.0.0_9080: goo.gle/debugproto"
)
ACCESS = (
    '[2026-11-22T22:14:58.890Z] "GET / HTTP/1.1" 503 UH no_healthy_upstream - "-" 0 19 5 - '
    '"-" "c" "i" "a" "-" x - 1:2 3:4 - d'
)
PROTO = ['stat_prefix: "outbound_0.0.0.0_9080"', "route_config {", '  name: "x"', "}"]
NEXT = f"{TIME}\tinfo\tads\tCDS: PUSH request"
POD = "sleep-6f7d8c9b5-qx2lz"


def read(*lines: str) -> list[Record]:
    return list(records(lines))


def test_the_details_of_a_nack_belong_to_it() -> None:
    first, second = read(NACK, *PROTO, NEXT)
    assert first.message.endswith("debugproto\n" + "\n".join(PROTO))
    assert first.text == "\n".join([NACK, *PROTO])
    assert second.message == "CDS: PUSH request"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: f"{TIME} stdout F {s}",
        lambda s: json.dumps({"log": s + "\n", "stream": "stdout", "time": TIME}),
        lambda s: f"[pod/{POD}/discovery] {s}",
        lambda s: f"istio-system {POD} discovery {s}",
        lambda s: f"{TIME} {s}",
    ],
)
def test_also_under_a_wrapper(wrap) -> None:  # type: ignore[no-untyped-def]
    plain = read(NACK, *PROTO, NEXT)
    wrapped = read(*[wrap(s) for s in (NACK, *PROTO, NEXT)])
    assert [(r.format, r.text, r.fields) for r in wrapped] == [(r.format, r.text, r.fields) for r in plain]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "   ",
        "--",
        "$ kubectl get pods",
        "# kubectl get pods",
        "panic: runtime error",
        "Error: failed to create discovery service",
        "Error from server (InternalError): x",
        "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
        "no healthy upstream",
        "HTTP/1.1 503 Service Unavailable",
        "< HTTP/1.1 503 Service Unavailable",
        "curl: (56) Recv failure",
        "E0712 18:20:34.334620       1 reflector.go:138] x",
        "  Warning  Failed  5m  kubelet  Error: x",
        "Error [IST0101] (VirtualService a/b) x",
        ACCESS,
    ],
)
def test_what_ends_a_record(line: str) -> None:
    assert not continues(line)
    assert read(NACK, PROTO[0], line)[0].text == f"{NACK}\n{PROTO[0]}"


@pytest.mark.parametrize(
    "line",
    [
        "  name: x",
        "rootNamespace: null",
        "-----END CERTIFICATE-----",
        "goroutine 655 [running]:",
        "\tnet/http/server.go:1825 +0xbf",
        "-A ISTIO_OUTPUT -j ISTIO_REDIRECT",
        "}",
        "dial tcp 10.0.0.1:443: i/o timeout",
    ],
)
def test_what_goes_on(line: str) -> None:
    assert continues(line)


def test_thread_ends_an_envoy_record() -> None:
    head = (
        f"{TIME}\tcritical\tenvoy main source/server/server.cc:449\terror `x` initializing config 'goo.gle/debugproto"
    )
    # Envoy prints the start error once more, without a prefix.
    first, second = read(head, "a {", "", "}", "  c.json'\tthread=19145", "Invalid path: nofile")
    assert first.message.endswith("c.json'")
    assert first.fields["thread"] == "19145"
    assert (second.format, second.text) == ("text", "Invalid path: nofile")


def test_an_access_log_and_json_have_no_continuation() -> None:
    assert [r.format for r in read(ACCESS, "more")] == ["access-log", "text"]
    line = f'{{"level":"warn","time":"{TIME}","msg":"m"}}'
    assert [r.format for r in read(line, "more")] == ["istio-log", "text"]


def test_pods_that_take_turns() -> None:
    a, b = f"[pod/{POD}/discovery] ", "[pod/other-0/discovery] "
    found = read(a + NACK, b + NEXT, a + PROTO[0], b + "b: 1")
    assert [(r.origin.pod, r.text) for r in found] == [
        (POD, NACK),
        ("other-0", NEXT),
        (POD, PROTO[0]),
        ("other-0", "b: 1"),
    ]


def test_continuation_is_bounded() -> None:
    found = read(NACK, *["x: 1"] * (MAX_LINES * 2))
    assert found[0].text.count("\n") == MAX_LINES - 1
    found = read(NACK, *["x" * 20_000] * 10)
    assert len(found[0].text) <= LIMIT


def test_partial_lines_are_joined() -> None:
    parts = [
        f"{TIME} stdout P 2026-11-22T22:28:57.669127Z\twarn\tads\tACK ",
        f"{TIME} stderr F 2026-11-22T22:28:58.000000Z\tinfo\tsds\tother",
        f"{TIME} stdout P ERROR ",
        f"{TIME} stdout F x",
    ]
    found = read(*parts)
    assert sorted(r.message for r in found) == ["ACK ERROR x", "other"]


def test_a_docker_line_without_its_end_is_a_line_when_a_head_follows() -> None:
    docker = [json.dumps({"log": s, "stream": "stdout", "time": TIME}) for s in (NACK, NEXT)]
    assert [r.text for r in read(*docker)] == [NACK, NEXT]


def test_a_partial_line_at_the_end_is_not_lost() -> None:
    assert [r.text for r in read(f"{TIME} stdout P abc")] == ["abc"]


def test_a_partial_line_without_end_is_bounded() -> None:
    found = read(*[f"{TIME} stdout P {'x' * 16_000}"] * 50)
    assert len(found) == 1
    assert len(found[0].text) <= LIMIT


def test_wrapper_time_and_place_reach_the_record() -> None:
    line = f"{TIME} stdout F no healthy upstream"
    (record,) = records([line], origin=Origin("a.log", pod="p", container="c"))
    assert record.time is not None and record.time.isoformat() == "2026-11-22T22:28:57.669127+00:00"
    assert record.origin == Origin("a.log", pod="p", container="c")
    (record,) = records([f"[pod/{POD}/app] x"], origin=Origin("a.log", namespace="n", pod="p"))
    assert record.origin == Origin("a.log", namespace="n", pod=POD, container="app")


def test_offsets_of_bytes_and_text() -> None:
    lines = [NEXT + "\n", "äöü\n", NEXT + "\n"]
    assert [r.offset for r in records(lines)] == [0, sum(map(len, lines[:2]))]
    raw = [s.encode() for s in lines]
    assert [r.offset for r in records(raw)] == [0, sum(map(len, raw[:2]))]
    assert next(records([b"\xff\xfe"])).text == "\ufffd\ufffd"


def test_json_over_several_lines() -> None:
    message = {"code": "IST0101", "level": "Error", "message": "x", "origin": "VirtualService a/b"}
    found = read(*json.dumps([message, message], indent="\t").split("\n"))
    assert [r.format for r in found if r.format != "text"] == ["analysis", "analysis"]


def test_an_access_log_over_several_lines() -> None:
    values = {"response_code": 503, "response_flags": "UH", "upstream_cluster": "outbound|80||web.shop"}
    (record,) = read(*json.dumps(values, indent=2).split("\n"))
    assert (record.format, record.encoding, record.fields["response_flags"]) == ("access-log", "json", "UH")


def test_a_collectors_document_over_several_lines() -> None:
    values = {"response_code": 503, "response_flags": "UH", "upstream_cluster": "outbound|80||web.shop"}
    labels = {"pod_name": POD, "container_name": "istio-proxy", "namespace_name": "shop"}
    document = {"jsonPayload": values, "insertId": "x", "resource": {"labels": labels, "type": "k8s_container"}}
    (record,) = read(*json.dumps(document, indent=2).split("\n"))
    assert (record.format, record.fields["response_flags"]) == ("access-log", "UH")
    assert (record.origin.namespace, record.origin.pod) == ("shop", POD)


def test_a_list_of_events() -> None:
    event = {
        "involvedObject": {"kind": "Pod", "name": "p"},
        "metadata": {"managedFields": [{"manager": "kubelet"}]},
        "reason": "Failed",
        "message": "x",
        "type": "Warning",
    }
    text = json.dumps({"apiVersion": "v1", "items": [event] * 3, "kind": "List"}, indent=4)
    assert [r.reason for r in _events(read(*text.split("\n")))] == ["Failed"] * 3


class _Event:
    def __init__(self, record: Record) -> None:
        self.reason = record.fields["reason"]


def _events(found: list[Record]) -> list[_Event]:
    return [_Event(r) for r in found if r.format == "event"]


def test_json_of_an_application_over_several_lines_stays_text() -> None:
    lines = ["{", '  "a": 1', "}", "x"]
    assert [(r.format, r.text) for r in read(*lines)] == [("text", s) for s in lines]


def test_an_access_log_format_of_the_user_is_asked_first() -> None:
    def parse(text: str) -> Record | None:
        return Record("access-log", text) if text.startswith("ACCESS ") else None

    found = list(records([NACK, "ACCESS 503", PROTO[0]], parse))
    assert [r.format for r in found] == ["istio-log", "access-log", "text"]


def test_feed_gives_what_is_complete_and_flush_the_rest() -> None:
    assembler = Assembler()
    assert assembler.feed(NACK) == []
    assert [r.text for r in assembler.feed(NEXT)] == [NACK]
    assert [r.text for r in assembler.flush()] == [NEXT]
    assert assembler.flush() == []


def test_begins_record() -> None:
    assert begins_record(f"{TIME} stdout F {NACK}\n".encode())
    assert not begins_record(f"{TIME} stdout F {PROTO[0]}\n")
