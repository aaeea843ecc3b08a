"""ztunnel's log and access lines, 1.18 to 1.31."""

import json

import pytest

from meshdiag.formats import UNPARSED, detect
from meshdiag.formats.ztunnel import parse, parse_access
from meshdiag.model import Record

TIME = "2024-10-29T17:39:45.936188Z"
FIELDS = (
    'src.addr=192.168.14.52:36166 src.workload="cloudflared-76f7f5c69d-r2774" src.namespace="ingress" '
    'dst.addr=192.168.152.170:15008 dst.hbone_addr=192.168.152.170:5175 dst.service="web.api.svc.cluster.local" '
    'direction="outbound" bytes_sent=0 bytes_recv=0 duration="3ms" '
    'error="connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: deadline has elapsed"'
)
READ = {
    "src.addr": "192.168.14.52:36166",
    "src.workload": "cloudflared-76f7f5c69d-r2774",
    "src.namespace": "ingress",
    "dst.addr": "192.168.152.170:15008",
    "dst.hbone_addr": "192.168.152.170:5175",
    "dst.service": "web.api.svc.cluster.local",
    "direction": "outbound",
    "bytes_sent": "0",
    "bytes_recv": "0",
    "duration": "3ms",
    "error": "connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: deadline has elapsed",
}


def access(line: str) -> Record:
    record = parse_access(line)
    assert record is not None
    assert detect(line) == record
    return record


def log(line: str) -> Record:
    record = parse(line)
    assert record is not None
    assert detect(line) == record
    return record


@pytest.mark.parametrize(
    "line",
    [
        f"{TIME}\terror\taccess\tconnection complete\t{FIELDS}",
        f"{TIME}    error    access    connection complete    {FIELDS}",
        f"{TIME} error access connection complete {FIELDS}",
        f"error\taccess\tconnection complete\t{FIELDS}",
        f"access    connection complete    {FIELDS}",
        "{}\terror\taccess\tconnection complete\t{}".format(TIME, FIELDS.replace('"', '\\"')),
        json.dumps({"level": "error", "time": TIME, "scope": "access", "message": "connection complete", **READ}),
        json.dumps(
            {
                "level": "error",
                "time": TIME,
                "scope": "access",
                "message": "connection complete",
                **READ,
                "bytes_sent": 0,
            }
        ),
    ],
)
def test_access_in_every_encoding(line: str) -> None:
    record = access(line)
    assert record.fields == READ
    assert (record.format, record.message, record.component) == ("ztunnel-access", "connection complete", "ztunnel")
    assert record.level == ("" if line.startswith("access") else "error")


def test_a_quoted_value_cannot_forge_a_field() -> None:
    evil = r'src.addr=1.2.3.4:5 dst.service="a\" error=\"forged\" direction=\"inbound" direction="outbound"'
    record = access(f"{TIME}\tinfo\taccess\tconnection complete\t{evil}")
    assert record.fields == {
        "src.addr": "1.2.3.4:5",
        "dst.service": 'a" error="forged" direction="inbound',
        "direction": "outbound",
    }


def test_rust_escapes() -> None:
    record = access(
        f'{TIME}\terror\taccess\tconnection failed\tsrc.addr=1:2 error="a\\nb\\u{{1b}}[31m\\\\ \\u{{d800}}"'
    )
    assert record.fields["error"] == "a\nb\x1b[31m\\ \ufffd"


def test_a_line_that_is_cut_in_its_last_value() -> None:
    record = access(f'{TIME}\terror\taccess\tconnection complete\tsrc.addr=1:2 error="connection closed due to pol')
    assert record.fields == {"src.addr": "1:2", "error": "connection closed due to pol"}


def test_an_access_line_that_somebody_edited() -> None:
    assert UNPARSED in access(f"{TIME}\terror\taccess\tconnection complete\tREDACTED src.addr=1:2").fields


@pytest.mark.parametrize(
    "line",
    [
        f"{TIME}\tinfo\txds::client:xds{{id=24}}\tStream established\t",
        f"{TIME}    info    xds::client:xds{{id=24}}    Stream established",
        f"{TIME}     info    xds::client:xds{{id=24}}  Stream established",
        f"{TIME} info xds::client:xds{{id=24}} Stream established",
        f"{TIME}  INFO xds{{id=24}}: ztunnel::xds::client: Stream established",
        f'{{"level":"info","time":"{TIME}","scope":"ztunnel::xds::client","message":"Stream established","xds":{{"id":24}}}}',
    ],
)
def test_log_in_every_encoding(line: str) -> None:
    record = log(line)
    assert (record.message, record.level, record.component) == ("Stream established", "info", "ztunnel")
    assert record.fields == {"scope": "xds::client", "span": "xds{id=24}"}


@pytest.mark.parametrize(
    ("line", "message", "fields"),
    [
        (
            f'{TIME} info hyper_util listener established address=[::]:15021 component="readiness"',
            "listener established",
            {"scope": "hyper_util", "address": "[::]:15021", "component": "readiness"},
        ),
        (
            f"{TIME}  INFO ztunnel::proxy::inbound: listener established "
            'address=[::]:15008 component="inbound" transparent=true',
            "listener established",
            {"scope": "proxy::inbound", "address": "[::]:15008", "component": "inbound", "transparent": "true"},
        ),
        (
            f"{TIME}\twarn\tproxy::inbound:inbound{{id=abc peer=10.0.0.1:5}}\tfailed\terror=io error: refused",
            "failed",
            {
                "scope": "proxy::inbound",
                "span": "inbound{id=abc peer=10.0.0.1:5}",
                "error": "io error: refused",
            },
        ),
        (
            f"{TIME} ERROR outbound{{id=abc}}: ztunnel::proxy::outbound: failed error=io error: refused id=5",
            "failed",
            {"scope": "proxy::outbound", "span": "outbound{id=abc}", "error": "io error: refused", "id": "5"},
        ),
        (
            f"{TIME}\twarn\txds::client:xds{{id=1}}\tXDS client connection error: status: Unknown, "
            'message: "client error (Connect)", retrying in 15s\t',
            'XDS client connection error: status: Unknown, message: "client error (Connect)", retrying in 15s',
            {"scope": "xds::client", "span": "xds{id=1}"},
        ),
        (
            'inpod::workloadmanager    failed to connect to server "/x.sock": Os { code: 2, kind: NotFound }',
            'failed to connect to server "/x.sock": Os { code: 2, kind: NotFound }',
            {"scope": "inpod::workloadmanager"},
        ),
        (f"{TIME}\tinfo\tapp\tin-pod mode enabled\t", "in-pod mode enabled", {"scope": "app"}),
        (
            '{"timestamp":"2023-10-29T17:39:45Z","level":"INFO","fields":{"message":"m","a":1},"target":"ztunnel::app"}',
            "m",
            {"scope": "app", "a": "1"},
        ),
    ],
)
def test_log_shapes(line: str, message: str, fields: dict[str, str]) -> None:
    record = log(line)
    assert record.message == message
    assert record.fields == fields


@pytest.mark.parametrize(
    "line",
    [
        f"{TIME}\tinfo\tads\tADS: new connection",
        f"{TIME}\tinfo\tdns\tstarted",
        f"{TIME}\tinfo\thttp: TLS handshake error",
        f"{TIME} INFO  something else: x",
        "access denied by policy",
        '{"level":"info","message":"x"}',
        "",
    ],
)
def test_others(line: str) -> None:
    assert parse(line) is None
    assert parse_access(line) is None
