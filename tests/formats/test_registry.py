"""All formats together: nobody is forgotten, nobody takes another's lines, nothing hangs or raises."""

import json
import pkgutil
import time
from importlib import import_module

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import meshdiag.formats
from meshdiag.formats import BY_NAME, FORMATS, MULTILINE, UNPARSED, detect, is_head, records, strip
from meshdiag.formats._common import LIMIT, names
from meshdiag.formats.base import Format
from meshdiag.model import Record

T = "2026-11-22T22:28:57.669127Z"
LINES = {
    "istio-log": [
        f"{T}\terror\tcitadelclient\tfailed to sign CSR: rpc error\tid=7",
        f"{T}    warn    xdsproxy    upstream terminated    id=7",
        f'{{"level":"error","time":"{T}","scope":"klog","msg":"x","id":7}}',
        "warn\tads\tx",
    ],
    "envoy-log": [
        f'{T}\twarning\tenvoy config ./source/a.h:1\t[Tags: "ConnectionId":"1","StreamId":"2"] closed: 13, \tthread=9',
        "[2026-11-22 22:26:12.094][19105][info][main] [source/server/server.cc:463] [C1][S2] initializing",
        "[Envoy (Epoch 0)] [2026-11-22 22:26:28.739][19364][error][config] x",
        f'{{"time":"{T}","level":"error","scope":"envoy config","msg":"x","caller":"a.cc:1","thread":"1"}}',
    ],
    "klog": ['E0712 18:20:34.334620       1 reflector.go:138] "x" err="y\\"" n=1'],
    "ztunnel-log": [
        f'{T}\tinfo\txds::client:xds{{id=24}}\tx\ta="b \\" c" d=1',
        f"{T}  INFO xds{{id=1}}: ztunnel::proxy: x address=1",
        f'{{"level":"info","time":"{T}","scope":"ztunnel::xds","message":"x","xds":{{"id":1}}}}',
    ],
    "ztunnel-access": [
        f'{T}\terror\taccess\tconnection complete\tsrc.addr=1:2 direction="inbound" error="a b"',
        f'{{"level":"info","time":"{T}","scope":"access","message":"connection complete","src.addr":"1:2"}}',
    ],
    "access-log": [
        f'[{T}] "GET /x HTTP/1.1" 503 UH no_healthy_upstream - "-" 0 19 5 - "-" "c" "i" "a" "-" x - 1:2 3:4 - d',
        '{"response_code":503,"response_flags":"UH","start_time":"2026-11-22T22:14:58.890Z","method":"GET","path":"/"}',
    ],
    "event": [
        "ns   31m   Warning   Unhealthy    pod/a-4b756   Readiness probe failed",
        "  Warning  Failed  5m (x3 over 10m)  kubelet, n1  Error: x",
        '{"reason":"Failed","message":"x","involvedObject":{"kind":"Pod","name":"p"},"type":"Warning"}',
    ],
    "analysis": [
        "Error [IST0101] [cluster-a] (VirtualService a/b f.yaml:1) Referenced host not found",
        '{"code":"IST0101","level":"Error","message":"x","origin":"Pod a/b"}',
    ],
    "http-answer": ["< HTTP/1.1 404 Not Found", "HTTP/2 503 ", "< HTTP/2 401\n< server: istio-envoy"],
    "container": ["  web:\n    State:          Waiting\n      Reason:       CrashLoopBackOff"],
    "text": ["no healthy upstream", "NAME   READY", '{"a":1}', "503", "", "[", "{", "error: x"],
}
PAIRS = [(name, line) for name, lines in LINES.items() for line in lines]
WRAPPED = [
    f"{T} stdout F x",
    json.dumps({"log": "x\n", "stream": "stdout", "time": T}),
    f'{T} {{a="b", c="d"}} x',
    "[pod/a-0/b] x",
    json.dumps({"_source": {"message": "x", "kubernetes": {"pod": {"name": "a"}}}}),
    json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "x"}}]}]}]}),
    "\x1b[1mpod-0\x1b[0m \x1b[2mapp\x1b[0m x",
    "Jan 02 15:04:05 n p[1]: x",
    "<13>1 - n p 1 - [a b=c] x",
]


def test_every_module_with_a_format_is_asked() -> None:
    modules = [
        import_module(f"meshdiag.formats.{m.name}")
        for m in pkgutil.iter_modules(meshdiag.formats.__path__)
        if not m.name.startswith("_")
    ]
    declared = {
        f.name for m in modules for f in getattr(m, "FORMATS", (getattr(m, "FORMAT", None),)) if isinstance(f, Format)
    }
    assert declared == set(BY_NAME)
    assert set(LINES) == declared
    assert FORMATS[-1].name == "text"
    assert len(BY_NAME) == len(FORMATS)


def test_which_formats_go_on_over_lines() -> None:
    assert {"istio-log", "envoy-log", "klog", "ztunnel-log", "http-answer"} <= MULTILINE
    assert not {"access-log", "ztunnel-access", "event", "analysis", "text"} & MULTILINE


@pytest.mark.parametrize(("name", "line"), PAIRS)
def test_each_line_is_of_its_format_alone(name: str, line: str) -> None:
    record = detect(line)
    assert record.format == name
    assert record.text == line
    assert UNPARSED not in record.fields
    assert is_head(line) == (name != "text")
    assert record.encoding in BY_NAME[name].encodings
    takers = [f.name for f in FORMATS[:-1] if f.parse(line) is not None]
    assert takers == ([name] if name != "text" else [])


LEVELS = {"", "trace", "debug", "info", "warning", "error", "critical"}
COMPONENTS = {"", "envoy", "pilot-agent", "istiod", "ztunnel", "istio-cni", "istio-init", "kubernetes", "istioctl"}


def check(record: Record) -> None:
    assert record.format in BY_NAME
    assert record.level in LEVELS
    assert record.component in COMPONENTS
    assert record.time is None or record.time.utcoffset() is not None
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in record.fields.items())
    record.text.encode("utf-8", "surrogatepass")


@given(st.text())
@example("\x00")
@example('{"level":"error","msg":"\\ud800","time":1e999}')
@example('{"level":"error","msg":null,"time":null,"scope":null}')
@example('{"level":"error","message":{},"scope":"ztunnel::x","a":[{}]}')
@example('{"reason":[],"involvedObject":{"kind":7,"name":null},"source":[],"series":3}')
@example('{"level":[],"code":"IST1","type":[]}')
@example('{"log":null,"_source":7,"jsonPayload":[],"resourceLogs":[[]],"content":[],"body":7}')
@example("9999-99-99T99:99:99Z\twarn\tx")
@example("0001-01-01T00:00:00+23:59\twarn\tx")
def test_any_text(text: str) -> None:
    check(detect(text))
    found = strip(text)
    check(detect(found.text))
    for format in FORMATS:
        record = format.parse(text)
        if record is not None:
            check(record)
    for record in records(text.split("\n")):
        check(record)


KEYS = names(
    "level msg message scope time caller reason involvedObject regarding source series code type origin log line "
    "labels body _source kubernetes textPayload jsonPayload resource content resourceLogs fields target spans "
    "MESSAGE thread"
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A real line with a piece cut out, doubled or replaced."""
    line = draw(st.sampled_from([line for _, line in PAIRS] + WRAPPED))
    for _ in range(draw(st.integers(1, 3))):
        at, size = draw(st.integers(0, len(line))), draw(st.integers(0, 8))
        piece = draw(
            st.sampled_from(
                ["", "\t", " ", '"', "\\", "{", "}", "[", "]", "=", "\x1b[", "\x00", "\n", "é", ":", "\ud800"]
            )
        )
        line = line[:at] + piece * draw(st.integers(1, 3)) + line[at + size :]
    return line


@given(mutated())
def test_mutated_lines(line: str) -> None:
    for record in records([line, "  more", line]):
        check(record)
    for format in FORMATS:
        if (record := format.parse(line)) is not None:
            check(record)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    ),
    st.data(),
)
def test_any_json(value: object, data: st.DataObject) -> None:
    keys = sorted(KEYS)
    obj = {
        k: data.draw(st.sampled_from([value, "error", "x", 1, {}, []]))
        for k in data.draw(st.lists(st.sampled_from(keys), unique=True))
    }
    line = json.dumps(obj)
    for record in records([line]):
        check(record)


@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\x85\xa0\u3000"))
)
def test_a_message_survives_every_encoding(message: str) -> None:
    """Text with TABs and JSON give the same message, scope and level, whatever the message says (but for a web page's blanks)."""
    message = message.strip()
    as_json = json.dumps({"level": "warn", "time": T, "scope": "sds", "msg": message})
    for line in (f"{T}\twarn\tsds\t{message}", as_json, f"{T} stdout F {as_json}"):
        (record,) = records([line])
        assert (record.message, record.level, record.fields) == (message, "warning", {"scope": "sds"})


BOMBS = {
    "JSON depth": '{"level":"error","msg":' + "[" * 200_000,
    "JSON depth, wrapper": '{"log":' + '{"a":' * 200_000,
    "many brackets": "[" * 1_000_000,
    "many quotes": '"' * 1_000_000,
    "backslashes": f'{T}\tinfo\taccess\tconnection complete\terror="' + "\\" * 1_000_000,
    "blanks": f"{T} info  " + " " * 1_000_000 + "x",
    "blanks in front": " " * 1_000_000 + "x",
    "TABs": f"{T}\tinfo" + "\t" * 1_000_000,
    "blanks and keys": f"{T} warn sds " + "  a" * 330_000,
    "keys": f"{T}\twarn\tsds\tx\t" + "a=1 " * 250_000,
    "plain keys": f"{T} warn sds x " + "a=1 " * 250_000,
    "ztunnel fields": f"{T}\tinfo\taccess\tconnection complete\t" + 'a="b" ' * 160_000,
    "ztunnel words": f"{T} info xds::client " + 'a="b ' * 200_000,
    "ztunnel target": f"{T} info " + "a::" * 330_000,
    "ztunnel spans": f"{T} info a" + ":b{c}" * 200_000,
    "old spans": f"{T}  INFO " + "a{b}: " * 160_000,
    "tags": f"{T}\tinfo\tenvoy x\t[Tags: " + '"a":"b",' * 120_000,
    "file": f"{T}\tinfo\tenvoy x " + "a." * 500_000,
    "loki": f"{T} {{" + 'a="b",' * 160_000,
    "csi": "\x1b[" * 500_000,
    "csi digits": "\x1b[" + "1;" * 500_000,
    "prefix": "a " * 500_000,
    "names": "a-" * 500_000 + " b " + T,
    "event": "31m Warning Failed pod/" + "a" * 1_000_000,
    "event blanks": "Warning Failed 5m kubelet x" + " 5m 1" * 200_000,
    "analysis": "Error [IST0101] (Kind " + "a " * 500_000,
    "klog": "E0712 18:20:34.334620 1 a.go:1] " + '"a" ' + 'b="c" ' * 160_000,
    "syslog": "Jan 02 15:04:05 " + "a" * 1_000_000,
    "rfc5424": f"<13>1 {T} a b c d " + "[a]" * 330_000,
    "member": '"log": "' + "\\" * 1_000_000,
    "csv": f'"{T}","' + '"' * 1_000_000,
    "csv row": '1795386537381,"{""' + '"' * 1_000_000,
    "compose": "a" * 1_000_000 + " | ",
    "decoration": "> " * 500_000,
    "request": f'[{T}] "GET /' + "a" * 1_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_huge_lines_take_no_time(name: str) -> None:
    line = BOMBS[name]
    best = 1.0
    for _ in range(3):  # another process may have had the core
        start = time.process_time()
        found = strip(line)
        record = detect(found.text)
        best = min(best, time.process_time() - start)
        if best < 0.1:
            break
    assert best < 0.1
    check(record)
    assert len(record.text) <= LIMIT


@pytest.mark.parametrize("format", FORMATS[:-1], ids=lambda f: f.name)
def test_every_parse_alone_is_bounded(format: Format) -> None:
    start = time.process_time()
    for line in BOMBS.values():
        format.parse(line)
    assert time.process_time() - start < 0.1 * len(BOMBS)
