"""Any Envoy access log format, text or JSON, becomes a parser."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshdiag.formats.base import UNPARSED
from meshdiag.formats.operators import (
    FLAGS,
    compile_format,
    compile_json,
    compile_text,
    short_flags,
    tokenize,
)
from meshdiag.model import MeshdiagError


def test_the_flag_table_has_all_flags_of_envoy_1_40() -> None:
    assert len(FLAGS) + 1 == 31  # and "-"
    assert len(set(FLAGS.values())) == 30
    assert short_flags("UpstreamConnectionFailure,UpstreamRetryLimitExceeded") == "UF,URX"
    assert short_flags("-") == "-"
    assert short_flags("MyOwnFlag,UF") == "MyOwnFlag,UF"


@pytest.mark.parametrize(
    ("operator", "field"),
    [
        ("%START_TIME%", "start_time"),
        ("%REQ(:METHOD)%", "method"),
        ("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "path"),
        ("%REQ(:PATH)%", "path"),
        ("%REQ(:path):40%", "path"),
        ("%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH)%", "path"),
        ("%REQUEST_HEADER(USER-AGENT)%", "user_agent"),
        ("%PROTOCOL%", "protocol"),
        ("%RESPONSE_CODE%", "response_code"),
        ("%RESPONSE_FLAGS%", "response_flags"),
        ("%RESPONSE_FLAGS_LONG%", "response_flags"),
        ("%RESPONSE_CODE_DETAILS%", "response_code_details"),
        ("%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", "response_code_details"),
        ("%CONNECTION_TERMINATION_DETAILS%", "connection_termination_details"),
        ("%UPSTREAM_TRANSPORT_FAILURE_REASON%", "upstream_transport_failure_reason"),
        ("%DOWNSTREAM_TRANSPORT_FAILURE_REASON%", "downstream_transport_failure_reason"),
        ("%BYTES_RECEIVED%", "bytes_received"),
        ("%BYTES_SENT%", "bytes_sent"),
        ("%DURATION%", "duration"),
        ("%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "upstream_service_time"),
        ("%REQ(X-FORWARDED-FOR)%", "x_forwarded_for"),
        ("%REQ(X-REQUEST-ID)%", "request_id"),
        ("%REQ(:AUTHORITY)%", "authority"),
        ("%UPSTREAM_HOST%", "upstream_host"),
        ("%UPSTREAM_CLUSTER%", "upstream_cluster"),
        ("%UPSTREAM_CLUSTER_RAW%", "upstream_cluster"),
        ("%UPSTREAM_LOCAL_ADDRESS%", "upstream_local_address"),
        ("%DOWNSTREAM_LOCAL_ADDRESS%", "downstream_local_address"),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", "downstream_remote_address"),
        ("%REQUESTED_SERVER_NAME%", "requested_server_name"),
        ("%ROUTE_NAME%", "route_name"),
        ("%GRPC_STATUS%", "grpc_status"),
        ("%GRPC_STATUS(CAMEL_STRING)%", "grpc_status"),
        ("%TRAILER(GRPC-STATUS)%", "grpc_status"),
        ("%DYNAMIC_METADATA(istio.mixer:status)%", "istio_policy_status"),
        ("%DYNAMIC_METADATA(com.test:key:object)%", "dynamic_metadata_com_test_key_object"),
        ("%REQ(X-B3-TRACEID)%", "req_x_b3_traceid"),
        ("%REQ(X-MINE?USER-AGENT)%", "req_x_mine_user_agent"),
        ("%DOWNSTREAM_PEER_URI_SAN%", "downstream_peer_uri_san"),
        ("%CEL(request.headers['x'].size() > 3)%", "cel_request_headers_x_size_3"),
    ],
)
def test_field_names(operator: str, field: str) -> None:
    parser = compile_text(f"a={operator} b")
    assert parser.fields == (field,)


def test_two_operators_of_one_field_keep_both_values() -> None:
    values = compile_text("%REQ(:PATH)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %RESPONSE_CODE%").parse("/a /b 200")
    assert values == {"path": "/a", "path_2": "/b", "response_code": "200"}


def test_a_literal_percent_and_a_length() -> None:
    parser = compile_text("load %%50%% %RESPONSE_CODE% %REQ(USER-AGENT):5%|%ROUTE_NAME%")
    assert parser.parse("load %50% 503 curl/|my-route") == {
        "response_code": "503",
        "user_agent": "curl/",
        "route_name": "my-route",
    }
    assert parser.parse("load %51% 503 curl/|my-route") is None


@pytest.mark.parametrize(
    ("format", "says"),
    [
        ("%RESPONSE_CODE% 100% sure", "position 20"),
        ("%response_code%", "position 1"),
        ("nothing here", "no operator"),
        ("", "no operator"),
        ("%RESPONSE_CODE%%RESPONSE_FLAGS%", "nothing stands between"),
        ("%START_TIME(%Q)% %RESPONSE_CODE%", "'%Q'"),
        ("%RESPONSE_CODE%\n%RESPONSE_FLAGS%", "line break"),
        ('{"a": "%RESPONSE_CODE% 100% sure"}', "key 'a'"),
        ('{"a": {"b": "%REQ("}}', "key 'a.b'"),
        ('{"a": "constant"}', "no key has an operator"),
        ('{"a": "%PROTOCOL%"', "line 1 column"),
        ("{}", "no key has an operator"),
    ],
)
def test_a_bad_format_says_what_and_where(format: str, says: str) -> None:
    with pytest.raises(MeshdiagError, match=r"access log format") as caught:
        compile_format(format)
    assert says in str(caught.value)


@given(st.text(alphabet="%ABC_(): {}\"'x\\n", max_size=40))
def test_any_text_compiles_or_is_a_mistake_of_the_user(format: str) -> None:
    try:
        parser = compile_format(format)
    except MeshdiagError:
        return
    parser.parse("x 1 2")


@pytest.mark.parametrize(
    ("argument", "written", "iso"),
    [
        ("", "2026-11-22T22:10:45.828Z", "2026-11-22T22:10:45.828Z"),
        ("(%Y/%m/%dT%H:%M:%S%z %s)", "2026/11/22T22:10:45+0000 1795385445", "2026-11-22T22:10:45Z"),
        ("(%s.%3f)", "1795385445.828", "2026-11-22T22:10:45.828Z"),
        ("(%s)", "1795385445", "2026-11-22T22:10:45Z"),
        ("(%s%3f)", "1795385445828", "2026-11-22T22:10:45.828Z"),
        ("(%FT%T.%fZ)", "2026-11-22T22:10:45.828123456Z", "2026-11-22T22:10:45.828123Z"),
        ("(%FT%T%z)", "2026-11-22T23:10:45+0100", "2026-11-22T22:10:45Z"),
        ("(%Y-%m-%dT%H:%M:%E3S%Ez)", "2026-11-22T22:10:45.828+00:00", "2026-11-22T22:10:45.828Z"),
        ("(%d/%b/%Y:%H:%M:%S %z)", "22/Nov/2026:22:10:45 +0000", "2026-11-22T22:10:45Z"),
        ("(%c)", "Sun Nov 22 22:10:45 2026", "2026-11-22T22:10:45Z"),
        ("(%D %r)", "11/22/26 10:10:45 PM", "2026-11-22T22:10:45Z"),
        ("(%Y %j)", "2026 326", "2026-11-22T00:00:00Z"),
        ("(%H:%M)", "22:10", "22:10"),
        ("(%d.%m.%Y 100%%)", "22.11.2026 100%", "2026-11-22T00:00:00Z"),
        ("(%m/%d/%Y)", "13/42/2026", "13/42/2026"),
    ],
)
def test_start_time(argument: str, written: str, iso: str) -> None:
    for format, line in (
        (f"[%START_TIME{argument}%] %RESPONSE_CODE%", f"[{written}] 503"),
        (f"t=%START_TIME{argument}% c=%RESPONSE_CODE%", f"t={written} c=503"),
    ):
        assert compile_text(format).parse(line) == {"start_time": iso, "response_code": "503"}
    as_json = compile_json({"t": f"%START_TIME{argument}%", "c": "%RESPONSE_CODE%"})
    assert as_json.parse(json.dumps({"t": written, "c": 503})) == {"start_time": iso, "response_code": "503"}


def test_long_flags_and_the_clusters_semicolon() -> None:
    parser = compile_text("%RESPONSE_FLAGS_LONG% %UPSTREAM_CLUSTER%")
    assert parser.parse("NoHealthyUpstream,DelayInjected outbound|80||a.b.svc;") == {
        "response_flags": "UH,DI",
        "upstream_cluster": "outbound|80||a.b.svc",
    }


@pytest.mark.parametrize(
    ("format", "line", "values"),
    [
        (  # separators that values hold themselves
            "%RESPONSE_CODE%|%RESPONSE_FLAGS%|%UPSTREAM_CLUSTER%|%ROUTE_NAME%",
            "503|UH|outbound|80||a.b.svc.cluster.local|default",
            {
                "response_code": "503",
                "response_flags": "UH",
                "upstream_cluster": "outbound|80||a.b.svc.cluster.local",
                "route_name": "default",
            },
        ),
        (
            "method=%REQ(:METHOD)% path=%REQ(:PATH)% code=%RESPONSE_CODE% flags=%RESPONSE_FLAGS%",
            "method=GET path=/a=b?c=d code=404 flags=NR",
            {"method": "GET", "path": "/a=b?c=d", "response_code": "404", "response_flags": "NR"},
        ),
        (
            "%START_TIME%\t%RESPONSE_CODE%\t%REQ(USER-AGENT)%\t%UPSTREAM_HOST%",
            "2026-11-22T22:10:45.828Z\t200\tMozilla/5.0 (X11; Linux)\t10.0.0.1:80",
            {
                "start_time": "2026-11-22T22:10:45.828Z",
                "response_code": "200",
                "user_agent": "Mozilla/5.0 (X11; Linux)",
                "upstream_host": "10.0.0.1:80",
            },
        ),
        (  # the sender's value is the last
            "%RESPONSE_CODE% %RESPONSE_FLAGS% %REQ(USER-AGENT)%",
            '503 UH Mozilla/5.0 "x" 200 -',
            {"response_code": "503", "response_flags": "UH", "user_agent": 'Mozilla/5.0 "x" 200 -'},
        ),
        (  # Envoy 1.13 to 1.15
            '"%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%',
            '"GET / HTTP/1.1" 503 upstream_reset_before_response_started{local reset} LR',
            {
                "method": "GET",
                "path": "/",
                "protocol": "HTTP/1.1",
                "response_code": "503",
                "response_code_details": "upstream_reset_before_response_started{local reset}",
                "response_flags": "LR",
            },
        ),
        (
            "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %GRPC_STATUS%\\n",
            "500 NFCF  Unavailable",
            {
                "response_code": "500",
                "response_flags": "NFCF",
                "response_code_details": "",
                "grpc_status": "Unavailable",
            },
        ),
    ],
)
def test_custom_text(format: str, line: str, values: dict[str, str]) -> None:
    assert compile_format(format).parse(line) == values


def test_a_sender_cannot_shift_the_values_of_a_format_without_quotes() -> None:
    parser = compile_text("%REQ(:PATH)% %RESPONSE_CODE% %ROUTE_NAME%")
    assert parser.parse("/a 200 default") == {"path": "/a", "response_code": "200", "route_name": "default"}
    # The path "/ 503" would fit as a code with the route "200 default": the last value may have no blank here.
    assert parser.parse("/ 503 200 default") == {"path": "/ 503", "response_code": "200", "route_name": "default"}
    parser = compile_text("%RESPONSE_CODE% %REQ(USER-AGENT)% %RESPONSE_FLAGS% %REQ(X-REQUEST-ID)%")
    assert parser.parse("200 a UH b NR c") == {UNPARSED: "ambiguous values"}


def test_json() -> None:
    parser = compile_format(
        json.dumps(
            {
                "when": "%START_TIME%",
                "request": "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%",
                "result": {"code": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS_LONG%", "fixed": 1},
                "to": "cluster=%UPSTREAM_CLUSTER%",
                "app": "constant",
            }
        )
    )
    line = {
        "app": "constant",
        "when": "2026-11-22T22:10:45.828Z",
        "request": 'GET /a" b HTTP/2',
        "result": {"code": 503, "flags": "UpstreamConnectionFailure", "fixed": 1},
        "to": "cluster=outbound|80|v1|a.b;",
    }
    assert parser.parse(json.dumps(line)) == {
        "start_time": "2026-11-22T22:10:45.828Z",
        "method": "GET",
        "path": '/a" b',
        "protocol": "HTTP/2",
        "response_code": "503",
        "response_flags": "UF",
        "upstream_cluster": "outbound|80|v1|a.b",
    }
    assert parser.parse('{"other": 1, "when": "x"}') is None
    assert parser.parse("[1, 2]") is None
    assert parser.parse('{"when": ') is None
    assert parser.parse("plain text") is None


def test_json_null_and_types() -> None:
    parser = compile_json({"a": "%RESPONSE_CODE%", "b": "%UPSTREAM_HOST%", "c": "%DURATION%", "d": "%ROUTE_NAME%"})
    assert parser.parse('{"a": 503, "b": null, "c": 12.0, "d": ""}') == {
        "response_code": "503",
        "upstream_host": "-",
        "duration": "12",
        "route_name": "",
    }


def test_json_as_typed_on_a_command_line() -> None:
    for spec in ("{code: '%RESPONSE_CODE%', p: \"%REQ(:PATH)%\"}", "{code: %RESPONSE_CODE%, p: %REQ(:PATH)%}"):
        assert compile_format(spec).parse('{"code": 404, "p": "/x"}') == {"response_code": "404", "path": "/x"}


def test_tokens_keep_the_positions() -> None:
    tokens = tokenize("a%%%PROTOCOL% %RESPONSE_CODE%")
    assert [t if isinstance(t, str) else (t.position, str(t)) for t in tokens] == [
        "a%",
        (3, "%PROTOCOL%"),
        " ",
        (14, "%RESPONSE_CODE%"),
    ]
