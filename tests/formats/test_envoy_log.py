"""Envoy's own log in the shapes of Istio 1.0 to 1.31; the lines are of recorded runs of Envoy 1.36 to 1.40."""

import pytest

from meshdiag.formats import UNPARSED, detect
from meshdiag.formats.envoy_log import is_complete, parse
from meshdiag.model import Record

MESSAGE = "listener '0.0.0.0_20055' failed to bind or apply socket options: cannot bind '127.0.0.1:20055'"
TIME = "2026-11-22T22:26:28.632718Z"
PLACE = "source/common/listener_manager/listener_manager_impl.cc:1405"


def read(line: str) -> Record:
    record = parse(line)
    assert record is not None
    return record


@pytest.mark.parametrize(
    "line",
    [
        f"{TIME}\terror\tenvoy config {PLACE}\t{MESSAGE}\tthread=19291",
        f"{TIME}\terror\tenvoy config\t{MESSAGE}",
        f"{TIME}\terror\tenvoy config\t[{PLACE}] {MESSAGE}",
        f"{TIME}    error    envoy config {PLACE}    {MESSAGE}    thread=19291",
        f"{TIME}     error   envoy config    {MESSAGE}",
        f"{TIME} error envoy config {PLACE} {MESSAGE} thread=19291",
        f"error\tenvoy config {PLACE}\t{MESSAGE}\tthread=19291",
        f"[Envoy (Epoch 0)] [2026-11-22 22:26:28.739][19364][error][config] {MESSAGE}",
        f"[2026-11-22 22:26:28.995][19370][error][config] [{PLACE}] {MESSAGE}",
        f"[2026-11-22 22:26:28.995][19370][error][config] {PLACE}] {MESSAGE}",
        f'{{"time":"{TIME}","level":"error","scope":"envoy config","msg":"{MESSAGE}","caller":"{PLACE}","thread":"7"}}',
        f'{{"level":"error","time":"{TIME}","scope":"envoy config","msg":"{MESSAGE}","caller":"{PLACE}","thread":7}}',
        f'{{"level":"error","time":"{TIME}","scope":"envoy config","msg":"{MESSAGE}"}}',
    ],
)
def test_one_message_in_every_encoding(line: str) -> None:
    record = read(line)
    assert (record.message, record.level, record.component) == (MESSAGE, "error", "envoy")
    assert record.fields["scope"] == "config"
    assert record.fields.get("caller", PLACE) == PLACE
    assert (record.time is None) == line.startswith("error")


@pytest.mark.parametrize("level", ["warning", "critical", "trace"])
def test_json_of_istio_1_9_has_a_bare_logger(level: str) -> None:
    record = read(f'{{"level":"{level}","time":"{TIME}","scope":"config","msg":"x"}}')
    assert (record.fields["scope"], record.level) == ("config", level)


def test_json_of_an_agent_is_not_envoys() -> None:
    assert parse(f'{{"level":"warn","time":"{TIME}","scope":"dns","msg":"x"}}') is None
    assert parse(f'{{"level":"warn","time":"{TIME}","scope":"ztunnel::proxy","message":"x"}}') is None


@pytest.mark.parametrize(
    ("prefix", "ids"),
    [
        ('[Tags: "ConnectionId":"1282","StreamId":"1037"] ', {"connection_id": "1282", "stream_id": "1037"}),
        ('[Tags: "ConnectionId":"1282"] ', {"connection_id": "1282"}),
        ("[C6170][S588] ", {"connection_id": "6170", "stream_id": "588"}),
        ("[C2] ", {"connection_id": "2"}),
    ],
)
def test_connection_and_stream_come_off_the_message(prefix: str, ids: dict[str, str]) -> None:
    record = read(f"{TIME}\twarning\tenvoy ext_proc {PLACE}\t{prefix}Received gRPC error on stream: 14\tthread=5")
    assert record.message == "Received gRPC error on stream: 14"
    assert {k: v for k, v in record.fields.items() if k.endswith("_id")} == ids


def test_a_nack_ends_with_a_line_that_is_only_the_thread() -> None:
    text = (
        f"{TIME}\twarning\tenvoy config {PLACE}\tgRPC config for x rejected: Error adding/updating listener(s) y: "
        'goo.gle/debugproto\ncluster: "a"\n: Proto constraint validation failed\n\tthread=19145'
    )
    record = read(text)
    assert record.message.endswith('goo.gle/debugproto\ncluster: "a"\n: Proto constraint validation failed')
    assert record.fields["thread"] == "19145"
    assert is_complete(text)


def test_warning_is_envoy_and_warn_is_an_agent() -> None:
    assert detect(f"{TIME}\twarning\tenvoy config\tx").format == "envoy-log"
    assert detect(f"{TIME}\twarn\tads\tx").format == "istio-log"
    assert detect(f"{TIME} warn envoy filter: x").format == "istio-log"
    assert detect(f"{TIME} info envoy exited with 1").format == "istio-log"


def test_json_that_cannot_be_read() -> None:
    record = read('{"level":"warning","scope":"envoy config",msg:}')
    assert record.fields[UNPARSED] or record.message == ""


@pytest.mark.parametrize(
    "line",
    [
        '[2026-11-22T22:14:58.726Z] "GET / HTTP/1.1" 503 UH',
        "[2026-11-22 22:26:28.995] hello",
        "warning: envoy config",
        "envoy config x",
        '{"scope":"envoy config"}',
        "",
    ],
)
def test_others(line: str) -> None:
    assert parse(line) is None
