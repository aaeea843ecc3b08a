"""What stands around a line: every wrapper around the same lines, and lines that only look wrapped."""

import json
from datetime import UTC, datetime

import pytest

from meshdiag.formats import detect, strip
from meshdiag.formats.wrappers import MAX_NESTED, Unwrapped

ISTIO = "2026-11-22T22:28:57.381980Z\tinfo\tcitadelclient\tCitadel client using custom root cert"
ACCESS = '[2026-11-22T22:14:58.890Z] "GET /status/503 HTTP/1.1" 503 URX via_upstream - "-" 0 11 53 52 "-" "curl"'
ENVOY = "[2026-11-22 22:26:12.094][19105][info][main] [source/server/server.cc:463] initializing epoch 0"
JSON = '{"duration":0,"method":"GET","response_code":503,"response_flags":"UH"}'
STAMP = "2026-11-22T22:28:58.123456789Z"
WHEN = datetime(2026, 11, 22, 22, 28, 58, 123456, tzinfo=UTC)
POD = "sleep-6f7d8c9b5-qx2lz"
KUBERNETES = {"namespace_name": "shop", "pod_name": POD, "container_name": "istio-proxy"}
ALL = ("shop", POD, "istio-proxy")


def place(found: Unwrapped) -> tuple[str, str, str]:
    return found.namespace, found.pod, found.container


def otlp(line: str) -> str:
    attributes = [
        {"key": "k8s.namespace.name", "value": {"stringValue": "shop"}},
        {"key": "k8s.pod.name", "value": {"stringValue": POD}},
        {"key": "k8s.container.name", "value": {"stringValue": "istio-proxy"}},
    ]
    record = {"timeUnixNano": str(int(WHEN.timestamp() * 1e6) * 1000), "body": {"stringValue": line}}
    return json.dumps(
        {"resourceLogs": [{"resource": {"attributes": attributes}, "scopeLogs": [{"logRecords": [record]}]}]}
    )


@pytest.mark.parametrize("line", [ISTIO, ACCESS, ENVOY, "upstream request timeout", "  indented: yaml", '{"a":1}'])
@pytest.mark.parametrize(
    ("wrap", "name", "where", "time"),
    [
        (lambda s: f"{STAMP} stdout F {s}", "cri", ("", "", ""), WHEN),
        (lambda s: json.dumps({"log": s + "\n", "stream": "stdout", "time": STAMP}), "docker", ("", "", ""), WHEN),
        (lambda s: f"{STAMP} {s}", "timestamp", ("", "", ""), WHEN),
        (lambda s: f"[pod/{POD}/istio-proxy] {s}", "kubectl-prefix", ("", POD, "istio-proxy"), None),
        (lambda s: f"{POD} istio-proxy {s}", "stern", ("", POD, "istio-proxy"), None),
        (lambda s: f"shop {POD} istio-proxy {s}", "stern", ALL, None),
        (lambda s: f"\x1b[38;5;2m{POD}\x1b[0m \x1b[1mapp\x1b[0m {s}", "stern", ("", POD, "app"), None),
        (
            lambda s: json.dumps(
                {"message": s, "nodeName": "n", "namespace": "shop", "podName": POD, "containerName": "istio-proxy"}
            ),
            "stern",
            ALL,
            None,
        ),
        (lambda s: f"envoy-1  | {s}", "compose", ("", "", "envoy-1"), None),
        (lambda s: f"envoy  | {s}", "compose", ("", "", "envoy"), None),
        (
            lambda s: json.dumps(
                {"labels": {"namespace": "shop", "pod": POD, "container": "istio-proxy"}, "line": s, "timestamp": STAMP}
            ),
            "loki",
            ALL,
            WHEN,
        ),
        (lambda s: f'{STAMP} {{namespace="shop", pod="{POD}", container="istio-proxy"}} {s}', "loki", ALL, WHEN),
        (
            lambda s: json.dumps({"time": STAMP, "log": s, "stream": "stdout", "kubernetes": KUBERNETES}),
            "fluent",
            ALL,
            WHEN,
        ),
        (
            lambda s: json.dumps(
                {"_index": "x", "_source": {"@timestamp": STAMP, "message": s, "kubernetes": KUBERNETES}}
            ),
            "elasticsearch",
            ALL,
            WHEN,
        ),
        (
            lambda s: json.dumps(
                {
                    "@timestamp": STAMP,
                    "message": s,
                    "kubernetes": {"namespace": "shop", "pod": {"name": POD}, "container": {"name": "istio-proxy"}},
                }
            ),
            "json",
            ALL,
            WHEN,
        ),
        (
            lambda s: json.dumps({"textPayload": s, "timestamp": STAMP, "resource": {"labels": KUBERNETES}}),
            "gcp",
            ALL,
            WHEN,
        ),
        (
            lambda s: json.dumps(
                {
                    "content": {
                        "timestamp": STAMP,
                        "message": s,
                        "tags": ["kube_namespace:shop", f"pod_name:{POD}", "kube_container_name:istio-proxy"],
                    }
                }
            ),
            "datadog",
            ALL,
            WHEN,
        ),
        (otlp, "otel", ALL, WHEN),
        (lambda s: json.dumps({"MESSAGE": s, "_HOSTNAME": "n"}), "journald", ("", "", ""), None),
        (lambda s: f"Jan 02 15:04:05 node1 containerd[123]: {s}", "syslog", ("", "", ""), None),
        (lambda s: f"2026-11-22T22:28:58.123456+0000 node1 kubelet[77]: {s}", "syslog", ("", "", ""), WHEN),
        (lambda s: f"<13>1 {STAMP} node1 envoy 7 - - {s}", "syslog", ("", "", ""), WHEN),
    ],
)
def test_every_wrapper_gives_the_line_back(line: str, wrap, name: str, where: tuple[str, str, str], time) -> None:  # type: ignore[no-untyped-def]
    found = strip(wrap(line) + "\r\n")
    assert found.text == line
    assert found.wrappers == (name,)
    assert place(found) == where
    assert found.time == time
    assert not found.partial


@pytest.mark.parametrize(
    "line",
    [
        ISTIO,
        ISTIO.replace("\t", "    "),
        ISTIO.replace("\t", " "),
        "2024-08-07T08:16:27.672486Z    info    xds::client:xds{id=24}    Stream established",
        "2022-12-16T17:07:45.483530Z  INFO ztunnel::proxy::inbound: listener established",
        "2022-12-16T17:07:45.483530Z ERROR ztunnel::proxy::inbound: failed",
        ACCESS,
        ENVOY,
        '{"level":"info","time":"2026-01-17T08:35:12.026256Z","scope":"access","message":"connection complete"}',
        '{"level":"warn","time":"2026-01-17T08:35:12.026256Z","scope":"klog","msg":"m","stream":"x"}',
        '{"level":"warning","time":"2026-01-17T08:35:12.026256Z","scope":"envoy config","msg":"m","log":"x"}',
        '{"response_code":503,"response_flags":"UH","message":"x","kubernetes":"x"}',
        '{"reason":"Failed","message":"x","involvedObject":{},"source":{},"namespace":"shop"}',
        '{"code":"IST0101","level":"Error","message":"x","origin":"Pod a/b","resource":"x"}',
        "E0712 18:20:34.334620       1 reflector.go:138] x",
        "12s         Warning   Failed      pod/reviews-v1-7f8b9c6d5-x2x4z   Error: x",
        "Error [IST0101] (VirtualService a/b) x",
        "NAME   READY   STATUS",
        "a | b",
        "[not/a/pod] x",
        "[a-6f7d8c9b5-qx2lz istio-proxy] no record",
        '[info] {"user":"x","id":1}',
        '> {"user":"x","id":1}',
        "",
        " ",
        "{",
        "503",
    ],
)
def test_a_line_of_its_own_stays_as_it_is(line: str) -> None:
    assert strip(line) == Unwrapped(line)


def test_a_record_that_a_collector_parsed_is_put_together_again() -> None:
    own = {"level": "warn", "time": "2026-11-22T22:28:57Z", "scope": "sds", "msg": "m"}
    for wrapped, name in (
        ({**own, "kubernetes": KUBERNETES}, "json"),
        ({"jsonPayload": own, "resource": {"labels": KUBERNETES}}, "gcp"),
        (
            {"message": own, "namespace": "shop", "podName": POD, "containerName": "istio-proxy", "nodeName": "n"},
            "stern",
        ),
        ({"log": own, "kubernetes": KUBERNETES}, "json"),
    ):
        found = strip(json.dumps(wrapped))
        record = detect(found.text)
        assert (record.format, record.message, record.fields) == ("istio-log", "m", {"scope": "sds"})
        assert (found.wrappers, place(found)) == ((name,), ALL)


def test_nested_the_outermost_place_and_the_innermost_time() -> None:
    inner = f"2026-11-22T22:00:00Z [pod/forged-0/istio-proxy] {ISTIO}"
    found = strip(json.dumps({"labels": {"pod": POD, "namespace": "shop"}, "line": inner, "timestamp": STAMP}))
    assert found.text == ISTIO
    assert found.wrappers == ("loki", "timestamp", "kubectl-prefix")
    assert place(found) == ("shop", POD, "istio-proxy")
    assert found.time == datetime(2026, 11, 22, 22, 0, tzinfo=UTC)


def test_nesting_is_bounded() -> None:
    line = "x"
    for _ in range(MAX_NESTED + 3):
        line = f"{STAMP} stdout F {line}"
    assert len(strip(line).wrappers) == MAX_NESTED


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (f"{STAMP} stdout P abc", "abc"),
        (f"{STAMP} stderr P ", ""),
        ('{"log":"abc","stream":"stdout","time":"2026-11-22T22:28:58Z"}', "abc"),
    ],
)
def test_partial(line: str, text: str) -> None:
    found = strip(line)
    assert found.partial
    assert found.text == text


def test_an_empty_line_under_a_wrapper() -> None:
    assert strip(f"{STAMP} stdout F ").text == ""
    assert strip(f"{STAMP} ").text == ""


def test_colours_are_removed_also_inside_json() -> None:
    assert strip("\x1b[1;31mError\x1b[0m [IST0101] x").text == "Error [IST0101] x"
    assert strip(r'{"log":"\u001b[31mred\u001b[0m\n","stream":"stdout","time":"2026-11-22T22:28:58Z"}').text == "red"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (f"  {ISTIO}", ISTIO),
        (f"> {ISTIO}", ISTIO),
        (f"- {ACCESS}", ACCESS),
        (f"sidecar says:  {ACCESS}", ACCESS),
        (f"> {JSON}", JSON),
        (f"    {JSON}", JSON),
        (f"sidecar says: {JSON}", JSON),
        (f"[{POD} istio-proxy] {JSON}", JSON),
        (f"[{POD}] {ISTIO}", ISTIO),
        (ISTIO.replace("\t", "\\t") + "\\n", ISTIO),
        (ISTIO.replace("\t", "#011"), ISTIO),
        (
            '  "textPayload": "2026-11-22T22:28:57.381980Z\\tinfo\\tads\\tx\\n",',
            "2026-11-22T22:28:57.381980Z\tinfo\tads\tx",
        ),
        ('"2026-11-22T22:28:57.381Z","said ""no"""', 'said "no"'),
        (f"1795386537381,{ISTIO}", ISTIO),
        (f"1795386537381,{ACCESS}", ACCESS),
        ('1795386537381,"' + ACCESS.replace('"', '""') + '"', ACCESS),
        ('2026-11-22 22:28:57.381,"' + JSON.replace('"', '""') + '"', JSON),
        (f"2026-11-22T22:28:57.381Z,{ISTIO}", ISTIO),
        ("1795386537381,12,13", "1795386537381,12,13"),
        ("May 27 13:27:53 gw-8c8838144-kzdvg istio-proxy error accept tcp [::]:15020", "error\taccept tcp [::]:15020"),
    ],
)
def test_what_people_paste(line: str, text: str) -> None:
    assert strip(line).text == text


def test_kubetail_names_the_pod_and_the_container() -> None:
    assert place(strip(f"[{POD} istio-proxy] {ACCESS}")) == ("", POD, "istio-proxy")
    assert place(strip(f"[{POD}] {ACCESS}")) == ("", POD, "")


def test_names_of_a_document_are_names_or_nothing() -> None:
    line = json.dumps(
        {"log": "x", "kubernetes": {"pod_name": "$(reboot)", "namespace_name": "UPPER", "container_name": "a" * 300}}
    )
    assert place(strip(line)) == ("", "", "")


@pytest.mark.parametrize("around", ["│ {}", "│ {}      │                     │", "┃ {} ┃", "| {}"])
def test_the_frame_of_a_terminal_program_is_taken_off(around: str) -> None:
    found = strip(around.format(ACCESS))
    assert (found.text, found.wrappers) == (ACCESS, ("quote",))


@pytest.mark.parametrize("blank", ["\xa0", "\u3000"])
def test_blanks_of_web_pages_are_blanks(blank: str) -> None:
    assert strip(ACCESS.replace(" ", blank) + "\n").text == ACCESS
    assert (
        strip(json.dumps({"log": "no healthy upstream\n".replace(" ", blank), "stream": "stdout"})).text
        == "no healthy upstream"
    )


def doubled(line: str) -> str:
    return line.replace('"', '""')


@pytest.mark.parametrize("line", [ACCESS, JSON])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: f"Sun, Nov 22 2026 10:15:10 pm | {s}",
        lambda s: f"Nov 22, 2026 @ 22:15:10.345 | {s}",
        lambda s: f"| Nov 22, 2026 @ 22:15:10.345\t{s}",
        lambda s: f"logs/web.log:{s}",
        lambda s: f"web.log:12:{s}",
        lambda s: f"web.log-13-{s}",
        lambda s: json.dumps(s),
        lambda s: f"  {json.dumps(s)},",
        lambda s: f'"2026-11-22T22:15:10.345Z","web-0","istio-proxy","{doubled(s)}"',
        lambda s: json.dumps({"stream": {"container": "istio-proxy"}, "values": [["1732313710000000000", s]]}),
        lambda s: json.dumps({"hits": {"total": 1, "hits": [{"_index": "x", "_source": {"message": s}}]}}),
        lambda s: json.dumps({"events": [{"timestamp": 1732313710000, "message": s, "ingestionTime": 1}]}),
        lambda s: json.dumps({"TimeGenerated": "2026-11-22T22:15:10Z", "LogMessage": s, "LogSource": "stdout"}),
        lambda s: json.dumps({"event": s, "sourcetype": "kube:container:istio-proxy", "time": 1732313710}),
        lambda s: json.dumps({"message": s, "timestamp": 1732313710000, "entity": {"name": "web"}}),
    ],
)
def test_what_consoles_and_exports_put_around_a_record(line: str, wrap) -> None:  # type: ignore[no-untyped-def]
    assert strip(wrap(line)).text == line


def test_a_cell_of_json_at_the_front_of_a_row() -> None:
    assert strip(f'"{doubled(JSON)}",2026-11-22T22:28:58Z,INFO').text == JSON


@pytest.mark.parametrize(
    "line",
    [
        '{"event":"cart opened","user":7}',
        '{"values":[["1","connection refused by shop"]],"page":2}',
        '{"LogMessage":"no healthy upstream today","kind":"note"}',
        json.dumps({"status": 200, "userAgent": ACCESS, "ip": "10.0.0.1"}),  # what a client sent
        '"no healthy upstream",',
        "web.log:12: nothing here",
        "Sun, Nov 22 2026 10:15:10 pm | nothing here",
    ],
)
def test_what_only_looks_like_an_export_stays_as_it_is(line: str) -> None:
    assert strip(line).text == line
