"""Envoy access logs: every version, other spellings, cut lines, and lines that the sender of the request forged."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from meshdiag.formats.access import FORMAT, TEXT_FORMATS, fields_of, parse, with_format
from meshdiag.formats.base import UNPARSED
from meshdiag.formats.operators import compile_format, tokenize
from meshdiag.model import Record

NEWEST = TEXT_FORMATS["1.23 and later"]

VALUES = {
    "start_time": "2026-11-22T22:15:07.882Z",
    "method": "GET",
    "path": "/a?b=c",
    "protocol": "HTTP/1.1",
    "response_code": "503",
    "response_flags": "URX,UF",
    "response_code_details": "upstream_reset_before_response_started{remote_connection_failure|delayed_error:_111}",
    "connection_termination_details": "-",
    "istio_policy_status": "-",
    "upstream_transport_failure_reason": "delayed_connect_error:_111",
    "bytes_received": "0",
    "bytes_sent": "121",
    "duration": "39",
    "upstream_service_time": "-",
    "x_forwarded_for": "10.0.0.7",
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64) curl/8.5.0",
    "request_id": "c3facd5a-9f62-48cf-ad60-738605fd3f5e",
    "authority": "refused.default.svc.cluster.local:9080",
    "upstream_host": "10.0.0.9:9999",
    "upstream_cluster": "outbound|9080|v2|refused.default.svc.cluster.local",
    "upstream_local_address": "-",
    "downstream_local_address": "10.0.0.8:9080",
    "downstream_remote_address": "10.0.0.7:32780",
    "requested_server_name": "outbound_.9080_._.refused.default.svc.cluster.local",
    "route_name": "my route",
}
CLUSTER = "outbound|80||a.b"
SENDERS = ("path", "x_forwarded_for", "user_agent", "request_id", "authority")
PROXYS = [name for name in VALUES if name not in (*SENDERS, "requested_server_name", "route_name")]


def write(format: str = NEWEST, **values: str) -> str:
    """The line that a proxy writes with this format."""
    all_values = {**VALUES, **values}
    return "".join(t if isinstance(t, str) else all_values[t.field] for t in tokenize(format))


def names(format: str) -> list[str]:
    return [token.field for token in tokenize(format) if not isinstance(token, str)]


def read(line: str) -> Record:
    record = parse(line)
    assert record is not None
    assert (record.format, record.component, record.level, record.message) == ("access-log", "envoy", "", "")
    assert record.text == line
    return record


def fields(line: str) -> dict[str, str]:
    return dict(read(line).fields)


# --- text ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", TEXT_FORMATS)
def test_the_text_of_every_istio_version(version: str) -> None:
    format = TEXT_FORMATS[version]
    line = write(format)
    record = read(line)
    written = {n: VALUES[n] for n in names(format) if VALUES[n] != "-"}
    assert {n: v for n, v in record.fields.items() if n in VALUES} == written
    assert record.time == datetime(2026, 11, 22, 22, 15, 7, 882000, UTC)
    assert record.encoding == "text"
    assert record.fields["traffic"] == "http"
    assert record.fields["upstream_chosen"] == "yes"
    if version != "1.0":
        assert record.fields["direction"] == "outbound"
        assert record.fields["upstream_connected"] == "no"
        assert record.fields["sni"] == "istio"


@pytest.mark.parametrize("version", TEXT_FORMATS)
def test_without_a_time_with_a_hash_indented_or_with_a_line_end(version: str) -> None:
    line = write(TEXT_FORMATS[version])
    whole = fields(line)
    for changed in ("#" + line, "  \t" + line, "# " + line, line + "\r", line + "  "):
        assert fields(changed) == whole
    headless = line.partition("] ")[2]
    record = read(headless)
    assert record.time is None
    assert record.fields == {n: v for n, v in whole.items() if n != "start_time"}


def test_real_lines() -> None:
    tcp = fields(
        '[2026-11-22T22:16:20.185Z] "- - -" 0 UH - - "-" 0 0 0 - "-" "-" "-" "-" "-" BlackHoleCluster - '
        "127.0.0.1:20255 127.0.0.1:46344 - -"
    )
    assert tcp == {
        "start_time": "2026-11-22T22:16:20.185Z",
        "response_code": "0",
        "response_flags": "UH",
        "bytes_received": "0",
        "bytes_sent": "0",
        "duration": "0",
        "upstream_cluster": "BlackHoleCluster",
        "downstream_local_address": "127.0.0.1:20255",
        "downstream_remote_address": "127.0.0.1:46344",
        "traffic": "tcp",
        "direction": "blackhole",
        "upstream_chosen": "no",
        "upstream_connected": "no",
    }
    broken = fields(write(method="-", path="-", response_flags="DPE", response_code_details="http1.codec_error"))
    assert broken["traffic"] == "unparsed-request"
    assert "path" not in broken


def test_empty_details_stay() -> None:
    assert fields(write(response_flags="NFCF", response_code_details=""))["response_code_details"] == ""


def test_blanks_in_details_and_reasons_become_underscores() -> None:
    old = fields(
        write(
            response_code_details="upstream_reset_before_response_started{local reset}",
            upstream_transport_failure_reason="TLS error: 268435581:SSL routines:CERTIFICATE_VERIFY_FAILED",
        )
    )
    assert old["response_code_details"] == "upstream_reset_before_response_started{local_reset}"
    assert old["upstream_transport_failure_reason"] == "TLS_error:_268435581:SSL_routines:CERTIFICATE_VERIFY_FAILED"
    plain = fields(write(upstream_transport_failure_reason="TLS error: x"))
    assert plain["upstream_transport_failure_reason"] == "TLS_error:_x"


@pytest.mark.parametrize(
    ("cluster", "derived"),
    [
        (
            "outbound|80||a.b.svc.cluster.local;",
            {"direction": "outbound", "destination_port": "80", "destination_host": "a.b.svc.cluster.local"},
        ),
        (
            "outbound|80|v1|a.b",
            {
                "direction": "outbound",
                "destination_port": "80",
                "destination_subset": "v1",
                "destination_host": "a.b",
            },
        ),
        ("inbound|8080||", {"direction": "inbound", "destination_port": "8080"}),
        (
            "inbound|80|http|a.b.svc.cluster.local",
            {"direction": "inbound", "destination_port": "80", "destination_host": "a.b.svc.cluster.local"},
        ),
        (
            "outbound_.443_.v1_.a.b.svc.cluster.local",
            {
                "direction": "outbound",
                "destination_port": "443",
                "destination_subset": "v1",
                "destination_host": "a.b.svc.cluster.local",
            },
        ),
        ("PassthroughCluster", {"direction": "passthrough"}),
        ("BlackHoleCluster", {"direction": "blackhole"}),
        ("InboundPassthroughCluster", {"direction": "inbound-passthrough"}),
        ("InboundPassthroughClusterIpv4", {"direction": "inbound-passthrough"}),
        ("InboundPassthroughClusterIpv6;", {"direction": "inbound-passthrough"}),
        ("xds-grpc", {}),
        ("-", {}),
    ],
)
def test_what_a_clusters_name_says(cluster: str, derived: dict[str, str]) -> None:
    got = fields(write(upstream_cluster=cluster))
    about = {"direction", "destination_port", "destination_subset", "destination_host"}
    assert {n: v for n, v in got.items() if n in about} == derived
    assert got.get("upstream_cluster", "-") == cluster.removesuffix(";")


@pytest.mark.parametrize(
    ("name", "sni"),
    [("outbound_.80_._.a.b.svc.cluster.local", "istio"), ("www.example.com", "other"), ("-", None)],
)
def test_server_name(name: str, sni: str | None) -> None:
    assert fields(write(requested_server_name=name)).get("sni") == sni


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "{",
        '"',
        '"hello" world',
        "# scenario: x",
        "[2026-11-22 22:26:12.094][19105][info][main] [source/server/server.cc:463] initializing epoch 0",
        "2026-11-22T22:15:51.088723Z\terror\tenvoy filter\tfetch failed\tthread=1",
        '10.0.0.1 - - [22/Nov/2026:22:10:45 +0000] "GET / HTTP/1.1" 503 0 "-" "curl"',
        '{"level":"error","time":"2026-11-22T22:10:45Z","msg":"request failed","status":503,"route_name":"x"}',
        '{"method":"GET","path":"/","status":503,"duration":3}',
        '{"a":' * 5000,
        "[" * 5000,
        "[1, 2]",
        "null",
    ],
)
def test_other_lines_are_left_to_others(text: str) -> None:
    assert parse(text) is None


def test_a_bad_time_is_no_time() -> None:
    assert read(write(start_time="2026-13-42T22:15:07.882Z")).time is None


def test_what_begins_like_one_and_cannot_be_read_says_so() -> None:
    for rest in ("GET /a b", "GET", "", 'GET / HTTP/1.1" x y', 'a b c d e f" 503 UH'):
        assert list(fields(f'[2026-11-22T22:15:07.882Z] "{rest}')) == [UNPARSED]


# --- cut lines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", TEXT_FORMATS)
def test_a_cut_line_gives_only_whole_true_values(version: str) -> None:
    format = TEXT_FORMATS[version]
    line = write(format, route_name="default")
    whole = fields(line)
    code_ends = line.index("503 ") + 4
    count = 0
    for end in range(len(line) - 1, code_ends, -1):
        got = fields(line[:end])
        if format.endswith(("NAME%", "HOST%")) or end < len(line) - 40:
            # Without its last value a line of 1.3 can look like one of 1.2, whose last value has no end mark.
            assert got.items() <= whole.items() or "requested_server_name" in got
        assert got["response_code"] == "503"
        count = max(count, len(got))
    assert count > 10
    for end in range(code_ends - 1, line.index('"') + 1, -1):
        assert list(fields(line[:end])) == [UNPARSED]


def test_a_cut_value_is_not_a_value() -> None:
    line = write()
    got = fields(line[: line.index("outbound|9080") + 10])
    assert "upstream_cluster" not in got
    assert "upstream_connected" not in got
    assert got["upstream_host"] == VALUES["upstream_host"]
    assert got["upstream_chosen"] == "yes"
    got = fields(line[: line.index("|delayed")])
    assert got["response_flags"] == "URX,UF"
    assert "response_code_details" not in got


def test_a_cut_after_a_closing_quote_keeps_the_value() -> None:
    got = fields('[2026-08-22T04:57:50.363Z] "- - -" 0 UH - - "-" 0 0 0 - "-" "-" "-" "-" "-"')
    assert got["upstream_chosen"] == "no"
    assert "upstream_connected" not in got


def test_a_line_with_more_values_than_istios_keeps_its_head() -> None:
    got = fields(write() + ' "extra" "values"')
    assert got["response_code_details"] == VALUES["response_code_details"]
    assert "upstream_cluster" not in got


# --- JSON ---------------------------------------------------------------------------------------------------------

_SINCE_1_1 = (
    "start_time method path protocol response_code response_flags bytes_received bytes_sent duration "
    "upstream_service_time x_forwarded_for user_agent request_id authority upstream_host upstream_cluster "
    "upstream_local_address downstream_local_address downstream_remote_address requested_server_name "
)
JSON_KEYS = {
    "1.1": _SINCE_1_1 + "istio_policy_status",
    "1.2": _SINCE_1_1 + "istio_policy_status upstream_transport_failure_reason",
    "1.3 to 1.7": _SINCE_1_1 + "istio_policy_status upstream_transport_failure_reason route_name",
    "1.8": _SINCE_1_1 + "upstream_transport_failure_reason route_name",
    "1.9 and later": _SINCE_1_1
    + "response_code_details connection_termination_details upstream_transport_failure_reason route_name",
}
_NUMBERS = ("response_code", "bytes_received", "bytes_sent", "duration")


@pytest.mark.parametrize("style", ["old", "new"])
@pytest.mark.parametrize("version", JSON_KEYS)
def test_the_json_of_every_istio_version(version: str, style: str) -> None:
    line: dict[str, object] = {n: VALUES[n] for n in JSON_KEYS[version].split()}
    if style == "new":  # numbers are numbers, what is not there is null
        line = {n: int(str(v)) if n in _NUMBERS else None if v == "-" else v for n, v in sorted(line.items())}
        line["response_flags"] = VALUES["response_flags"]
    record = read(json.dumps(line))
    assert record.encoding == "json"
    assert record.time == datetime(2026, 11, 22, 22, 15, 7, 882000, UTC)
    written = {n: VALUES[n] for n in line if VALUES[n] != "-"}
    assert {n: v for n, v in record.fields.items() if n in VALUES} == written
    assert record.fields["upstream_connected"] == "no"
    assert record.fields["direction"] == "outbound"


def test_json_of_1_1_0_had_the_time_in_method() -> None:
    line = {n: VALUES[n] for n in JSON_KEYS["1.1"].split()}
    got = fields(json.dumps({**line, "method": VALUES["start_time"]}))
    assert "method" not in got
    assert got["path"] == VALUES["path"]


def test_json_tcp_and_unparsed_requests() -> None:
    line: dict[str, object] = {n: VALUES[n] for n in JSON_KEYS["1.9 and later"].split()}
    line |= {"method": None, "path": None, "response_code_details": ""}
    assert fields(json.dumps(line))["traffic"] == "unparsed-request"
    assert fields(json.dumps(line))["response_code_details"] == ""
    assert fields(json.dumps({**line, "protocol": None}))["traffic"] == "tcp"


@pytest.mark.parametrize(
    "line",
    [
        {
            "responseCode": 503,
            "responseFlags": "UF",
            "upstreamCluster": "outbound|80||a.b",
            "requestId": "r",
            "host": "h",
        },
        {
            "status": "503",
            "response_flag": "UF",
            "upstream-cluster": "outbound|80||a.b",
            "x-request-id": "r",
            "authority": "h",
        },
        {
            "Status_Code": 503.0,
            "flags": "UF",
            "UpstreamCluster": "outbound|80||a.b;",
            "request_id": "r",
            ":authority": "h",
        },
        {
            "response_code": 503,
            "response_flags_long": "UpstreamConnectionFailure",
            "upstream_cluster_raw": "outbound|80||a.b",
            "cluster": "my-kube-cluster",
            "x_request_id": "r",
            "authority": "h",
            "host": "node1",
        },
        {"code": 503, "flags": ["UF"], "upstream_cluster": CLUSTER, "reqId": "r", "request_host": "h"},
    ],
)
def test_json_with_other_names(line: dict[str, object]) -> None:
    assert fields(json.dumps(line)) == {
        "response_code": "503",
        "response_flags": "UF",
        "upstream_cluster": "outbound|80||a.b",
        "request_id": "r",
        "authority": "h",
        "direction": "outbound",
        "destination_port": "80",
        "destination_host": "a.b",
    }


def test_cut_json() -> None:
    line = json.dumps({n: VALUES[n] if n != "bytes_sent" else 121 for n in sorted(JSON_KEYS["1.9 and later"].split())})
    whole = fields(line)
    for end in range(len(line) - 1, 0, -1):
        record = parse(line[:end])
        if record is not None:
            assert record.fields.items() <= whole.items()
    got = fields(line[: line.index("route_name")])
    assert (got["response_code"], got["response_flags"]) == ("503", "URX,UF")
    assert "upstream_chosen" not in got


# --- custom formats -----------------------------------------------------------------------------------------------


def test_a_custom_format_comes_first_and_the_defaults_still_work() -> None:
    custom = with_format(
        compile_format("%START_TIME(%s.%3f)% %RESPONSE_FLAGS_LONG% %RESPONSE_CODE% %UPSTREAM_CLUSTER%")
    )
    record = custom("1795385445.828 NoHealthyUpstream 503 outbound|80||a.b;")
    assert record is not None
    assert record.fields == {
        "start_time": "2026-11-22T22:10:45.828Z",
        "response_code": "503",
        "response_flags": "UH",
        "upstream_cluster": "outbound|80||a.b",
        "direction": "outbound",
        "destination_port": "80",
        "destination_host": "a.b",
    }
    assert record.time == datetime(2026, 11, 22, 22, 10, 45, 828000, UTC)
    assert custom(write()) == parse(write())
    assert custom("something else") is None


def test_a_custom_json_format() -> None:
    custom = with_format(compile_format('{"r": {"c": "%RESPONSE_CODE%", "f": "%RESPONSE_FLAGS%"}}'))
    record = custom('{"r": {"c": 503, "f": "UH"}}')
    assert record is not None
    assert (record.fields, record.encoding) == ({"response_code": "503", "response_flags": "UH"}, "json")


def test_a_cut_line_of_a_custom_format() -> None:
    custom = with_format(compile_format(NEWEST + ' "%REQ(X-TEAM)%"'))
    whole = custom(write(route_name="default") + ' "red"')
    cut = custom(write(route_name="default") + ' "re')
    assert whole is not None
    assert cut is not None
    assert whole.fields["req_x_team"] == "red"
    assert cut.fields["upstream_cluster"] == VALUES["upstream_cluster"]
    assert "req_x_team" not in cut.fields


def test_fields_of_needs_a_source_for_what_it_derives() -> None:
    assert fields_of({"response_code": "503", "user_agent": "", "path": "-"}) == {"response_code": "503"}


# --- forged values ------------------------------------------------------------------------------------------------

FAKE = {
    **VALUES,
    "path": "/fake",
    "response_code": "403",
    "response_flags": "UAEX",
    "response_code_details": "ext_authz_denied",
    "connection_termination_details": "fake_details",
    "upstream_transport_failure_reason": "fake_reason",
    "bytes_received": "666",
    "bytes_sent": "666",
    "duration": "666",
    "upstream_host": "6.6.6.6:666",
    "upstream_cluster": "outbound|666||fake.svc",
    "upstream_local_address": "6.6.6.6:1",
    "downstream_local_address": "6.6.6.6:2",
    "downstream_remote_address": "6.6.6.6:3",
    "requested_server_name": "fake.example.com",
    "route_name": "fake",
    "start_time": "2020-01-01T00:00:00.000Z",
}


def check(line: str, format: str = NEWEST, **true: str) -> dict[str, str]:
    """Every value that the proxy wrote is read as it is, or not at all."""
    got = fields(line)
    if UNPARSED in got:
        assert list(got) == [UNPARSED]
        return got
    want = {**VALUES, **true}
    for name in PROXYS:
        if name in got:
            assert got[name] == want[name], (name, line)
        if name in names(format) and want[name] != "-" and name in PROXYS[: PROXYS.index("upstream_host")]:
            assert name in got, (name, line)
    return got


def test_words_of_an_error_in_a_user_agent_are_a_user_agent() -> None:
    for agent in ("no healthy upstream", "503 UH no_healthy_upstream", 'x" 503 UH no_healthy_upstream - "-" 0 0 0 -'):
        got = check(write(user_agent=agent))
        assert got["user_agent"] == agent
        assert got["upstream_cluster"] == VALUES["upstream_cluster"]


@pytest.mark.parametrize(
    "spoil", [lambda s: s.replace(" ", "  "), lambda s: s.replace(" ", " \t"), lambda s: s.replace('"', '""')]
)
def test_pasted_columns_and_doubled_quotes(spoil) -> None:  # type: ignore[no-untyped-def]
    line = write(user_agent="curl/8.5.0", route_name="default")
    spoiled, plain = parse(spoil(line)), parse(line)
    assert spoiled is not None and plain is not None
    assert spoiled.fields == plain.fields


@pytest.mark.parametrize("spoil", [lambda s: s.replace(" ", "  "), lambda s: s.replace('"', '""')])
def test_a_spoiled_line_is_read_no_less_carefully(spoil) -> None:  # type: ignore[no-untyped-def]
    forged = 'x" "y" "z" "10.0.0.1:80" outbound|1||forged 1:1 2:2 3:3 - -'
    record = parse(spoil(write(response_flags="-", user_agent=forged)))
    assert record is not None
    assert record.fields.get("upstream_cluster") in (None, VALUES["upstream_cluster"])


def test_quotes_in_what_the_sender_wrote() -> None:
    for name in ("user_agent", "x_forwarded_for", "request_id", "authority", "path"):
        got = check(write(**{name: 'a"b'}))
        assert got[name] == 'a"b'
        assert got["upstream_cluster"] == VALUES["upstream_cluster"]
    got = check(write(user_agent='a" "b" "c" "d'))
    assert got["user_agent"] == 'a" "b" "c" "d'
    assert (got["request_id"], got["authority"]) == (VALUES["request_id"], VALUES["authority"])


def test_a_path_with_blanks() -> None:
    got = check(write(path="/a b c"))
    assert got["path"] == "/a b c"
    got = check(write(path='/a HTTP/1.1" 403'))
    assert got["path"] == '/a HTTP/1.1" 403'


def _head(values: dict[str, str], format: str = NEWEST) -> str:
    """What follows the path in a line with these values, up to the user agent."""
    line = write(format, **{**values, "path": "PATH", "x_forwarded_for": "-", "user_agent": "AGENT"})
    return line[line.index("PATH") + 4 : line.index("AGENT")]


def _tail(values: dict[str, str], format: str = NEWEST) -> str:
    """What follows the user agent in a line with these values."""
    line = write(format, **{**values, "user_agent": "AGENT"})
    return line[line.index("AGENT") + 5 :]


@pytest.mark.parametrize("format", TEXT_FORMATS.values())
@pytest.mark.parametrize("faked", TEXT_FORMATS.values())
def test_a_forged_head_is_never_believed(format: str, faked: str) -> None:
    head = _head(FAKE, faked)
    # The same text could be a forged path or a forged user agent, so nobody can tell.
    for name in ("path", "user_agent"):
        got = check(write(format, **{name: "/x" + head + "y"}), format)
        assert list(got) == [UNPARSED] or got["response_code"] == "503"
    assert fields(write(user_agent="x" + _head(FAKE)))[UNPARSED] == "ambiguous request line"
    assert fields(write(path="/x" + _head(FAKE)))[UNPARSED] == "ambiguous request line"


@pytest.mark.parametrize("format", list(TEXT_FORMATS.values())[:-1])
def test_a_forged_tail_is_never_believed(format: str) -> None:
    for name in SENDERS[1:]:
        got = check(
            write(format, **{name: "x" + _tail({**FAKE, "upstream_cluster": "PassthroughCluster"}, format)}), format
        )
        # A server name cannot be that long, so the last of the two ends is the true one.
        if name == "x_forwarded_for":
            assert got["upstream_cluster"] == VALUES["upstream_cluster"]
    agent = "x" + _tail(FAKE, format) + " " + "y" * 256
    assert check(write(format, user_agent=agent), format)["upstream_cluster"] == VALUES["upstream_cluster"]


def test_a_forged_server_name_is_never_believed() -> None:
    # CVE-2024-45808: until 2024 Envoy wrote the server name as the client sent it, in lower case.
    fake = 'x" "a" "b" "6.6.6.6:666" outbound|666||fake.svc 6.6.6.6:1 6.6.6.6:2 6.6.6.6:3 fake.example.com'
    got = check(write(requested_server_name=fake))
    assert got["response_flags"] == VALUES["response_flags"]
    assert "upstream_cluster" not in got
    assert "upstream_chosen" not in got


def test_a_forged_server_name_of_full_length_is_never_believed() -> None:
    # The route's name may hold a blank, so it may end a forged end of the line.
    fake = '" "a" "b" "6.6.6.6:666" outbound|666||fake.svc 6.6.6.6:1 6.6.6.6:2 6.6.6.6:3'
    name = "x" * (255 - len(fake)) + fake
    assert "upstream_cluster" not in check(write(requested_server_name=name, route_name="my route"))


def test_a_whole_line_as_user_agent() -> None:
    got = check(write(user_agent=write(**FAKE)))
    assert got == {UNPARSED: "ambiguous request line"}


_FORGERIES = st.sampled_from(
    [
        *(write(format, **FAKE) for format in TEXT_FORMATS.values()),
        *(_head(FAKE, format) for format in TEXT_FORMATS.values()),
        *(_tail(FAKE, format) for format in list(TEXT_FORMATS.values())[:-1]),
        *(_head(FAKE, f) + "x" + _tail(FAKE, f) for f in list(TEXT_FORMATS.values())[:-1]),
        *('" "', '"', " ", " - ", " HTTP/1.1", ' HTTP/1.1" 403 ', " 403 UAEX ", "[2026-11-22T22:15:07.882Z] "),
        *("-", "x", "{", "}", "|", "\\", "/", "10.0.0.1", "é", '" 403 UAEX ext_authz_denied - "-" 0 0 0 - "', "\t"),
    ]
)
_FREE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
_FORGED = st.lists(_FORGERIES | _FREE, min_size=0, max_size=4).map("".join)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(list(TEXT_FORMATS.values())),
    st.dictionaries(st.sampled_from(SENDERS), _FORGED, min_size=1, max_size=5),
    st.sampled_from(
        [
            {},
            {"response_code": "200", "response_flags": "-", "response_code_details": "via_upstream"},
            {"response_flags": "NFCF", "response_code_details": ""},
            {"method": "-", "protocol": "HTTP/1.1"},
            {"upstream_cluster": "-", "upstream_host": "-"},
            {"upstream_cluster": "outbound|80||a.b;", "upstream_transport_failure_reason": "-"},
        ]
    ),
)
@example(NEWEST, {"path": "/x" + _head(FAKE), "user_agent": "x" + _tail(FAKE)}, {})
@example(NEWEST, {"user_agent": "x" + _head(FAKE) + "y" + _tail(FAKE)}, {})
@example(NEWEST, dict.fromkeys(SENDERS, write(**FAKE)), {})
def test_no_forged_value_is_ever_believed(format: str, forged: dict[str, str], true: dict[str, str]) -> None:
    forged = {n: v if n != "path" else "/" + v for n, v in forged.items()}
    assume(all(v.strip() == v for v in forged.values()))
    line = write(format, **{**true, **forged})
    want = {**VALUES, **true}
    got = fields(line)
    if UNPARSED in got:
        assert list(got) == [UNPARSED]
        return
    for name in PROXYS:
        if name in got:
            assert got[name] == want[name].removesuffix(";"), name
    for name in ("response_code", "response_flags"):
        assert got.get(name, "-") == want[name]


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(SENDERS), _FORGED, min_size=1), _FORGED)
def test_no_forged_value_is_ever_believed_with_a_raw_server_name(forged: dict[str, str], name: str) -> None:
    name = name.lower().encode()[:255].decode(errors="ignore").strip() or "-"
    got = fields(write(**forged, requested_server_name=name))
    for field in PROXYS:
        if field in got:
            assert got[field] == VALUES[field], field


def test_a_spoiled_end_does_not_make_a_forged_begin_true() -> None:
    # The server name's quotes spoil the end, so the line is read from the left as if it were cut off.
    for path in ('/ HTTP/1.1" 403 ', '/ HTTP/1.1" 403 UAEX ', ' HTTP/1.1" 403 '):
        got = fields(write(path=path, requested_server_name='a" b'))
        assert got.get("response_code", "503") == "503"


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(SENDERS), _FORGED, min_size=1))
def test_json_cannot_be_forged(forged: dict[str, str]) -> None:
    line = {n: VALUES[n] for n in JSON_KEYS["1.9 and later"].split()} | forged
    got = fields(json.dumps(line))
    assert {n: v for n, v in got.items() if n in line} == {n: v for n, v in line.items() if v not in ("-", "")}


@given(st.text(max_size=200))
def test_no_text_raises(text: str) -> None:
    for line in (text, '[2026-11-22T22:15:07.882Z] "' + text, "{" + text, write()[: len(text)] + text):
        parse(line)


@pytest.mark.parametrize(
    "agent",
    [
        '" "' * 20_000,
        ' HTTP/1.1" 403 UAEX x{' * 2_800,
        _head(FAKE) * 700,
        _tail(FAKE) * 300,
        '"' * 60_000,
        "{" * 60_000,
        " " * 60_000 + "x",
        '" "6.6.6.6:666" outbound|666||fake.svc ' * 1500,
    ],
)
@pytest.mark.parametrize("name", ["path", "user_agent", "request_id"])
def test_a_hostile_line_costs_little(agent: str, name: str) -> None:
    started = time.process_time()
    check(write(**{name: agent}))
    parse(write(**{name: agent})[:-30])
    assert time.process_time() - started < 1.5


def test_the_format() -> None:
    assert (FORMAT.name, FORMAT.encodings, FORMAT.multiline) == ("access-log", ("text", "json"), False)
    assert FORMAT.parse is parse
