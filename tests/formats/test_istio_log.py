"""Lines as istiod, pilot-agent, istio-init and istio-cni write them, and as people paste them."""

from datetime import UTC, datetime

import pytest

from meshdiag.formats import UNPARSED
from meshdiag.formats.istio_log import parse
from meshdiag.model import Record

CSR = "failed to sign CSR: create certificate: rpc error: code = Unauthenticated desc = request authenticate failure"
TIME = "2025-02-05T09:29:16.132688Z"


def read(line: str) -> Record:
    record = parse(line)
    assert record is not None
    return record


@pytest.mark.parametrize(
    "line",
    [
        f"{TIME}\terror\tcitadelclient\t{CSR}",
        f"{TIME}     error   citadelclient   {CSR}",  # a terminal's tab stops
        f"{TIME}    error    citadelclient    {CSR}",
        f"{TIME} error citadelclient {CSR}",
        f'{{"level":"error","time":"{TIME}","scope":"citadelclient","msg":"{CSR}"}}',
    ],
)
def test_one_message_in_every_encoding(line: str) -> None:
    record = read(line)
    assert (record.message, record.level, record.component) == (CSR, "error", "pilot-agent")
    assert record.fields == {"scope": "citadelclient"}
    assert record.time == datetime(2025, 2, 5, 9, 29, 16, 132688, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "message", "fields"),
    [
        (
            f"{TIME}\tinfo\tcache\tgenerated new workload certificate\tlatency=81.4ms ttl=23h59m59.49s",
            "generated new workload certificate",
            {"scope": "cache", "latency": "81.4ms", "ttl": "23h59m59.49s"},
        ),
        (
            f"{TIME}    info    cache    generated new workload certificate    latency=81.4ms ttl=23h59m59.49s",
            "generated new workload certificate",
            {"scope": "cache", "latency": "81.4ms", "ttl": "23h59m59.49s"},
        ),
        (
            f"{TIME} info cache generated new workload certificate latency=81.4ms ttl=23h59m59.49s",
            "generated new workload certificate",
            {"scope": "cache", "latency": "81.4ms", "ttl": "23h59m59.49s"},
        ),
        (
            f'{{"level":"info","time":"{TIME}","scope":"cache","msg":"m","latency":"81ms","n":3,"ok":true,"x":null}}',
            "m",
            {"scope": "cache", "latency": "81ms", "n": "3", "ok": "true"},
        ),
        # a value may hold blanks
        (
            f"{TIME}\terror\tsync failed\tname=discovery filter attempt=175",
            "sync failed",
            {"name": "discovery filter", "attempt": "175"},
        ),
        # default scope: a label list behind a one-word message is no scope
        (f"{TIME}\tinfo\tready\tid=7", "ready", {"id": "7"}),
        (
            f"{TIME}\tinfo\tProxy role\tips=[10.0.0.1] type=sidecar",
            "Proxy role",
            {"ips": "[10.0.0.1]", "type": "sidecar"},
        ),
        (f"{TIME}\tinfo\tads\tstore.go:12\tpushed", "pushed", {"scope": "ads", "caller": "store.go:12"}),
        (f"{TIME}\twarn\tsecretFetcherLog\tno secret", "no secret", {"scope": "secretFetcherLog"}),
        (f"{TIME}\twarn\tsomenewscope\tno secret", "no secret", {"scope": "somenewscope"}),
        # everyday words are no scopes where single blanks stand for the TABs
        (f"{TIME} warn gateway has zero listeners for node x", "gateway has zero listeners for node x", {}),
        (f"{TIME}    warn    kube controller for x timed out", "kube controller for x timed out", {}),
        (f"{TIME} info Push done, full=true", "Push done, full=true", {}),
        (f"{TIME}\twarn\tenvoy filter: Filters is deprecated.", "envoy filter: Filters is deprecated.", {}),
        # client-go before Istio 1.8
        (
            f"{TIME}\terror\tk8s.io/client-go@v11.0.1/tools/cache/reflector.go:98: Failed to list *v1.Service: x",
            "k8s.io/client-go@v11.0.1/tools/cache/reflector.go:98: Failed to list *v1.Service: x",
            {"scope": "klog"},
        ),
        # pasted without the time
        (
            'error\tmodel\tFailed to fetch public key from "https://x"',
            'Failed to fetch public key from "https://x"',
            {"scope": "model"},
        ),
        ("error    ads    Failed to authenticate", "Failed to authenticate", {"scope": "ads"}),
        # the first character cut off
        (f"{TIME[1:]}     error   Request to probe app failed", "Request to probe app failed", {}),
    ],
)
def test_shapes(line: str, message: str, fields: dict[str, str]) -> None:
    record = read(line)
    assert record.message == message
    assert record.fields == fields


@pytest.mark.parametrize(
    ("scope", "component"),
    [
        ("xdsproxy", "pilot-agent"),
        ("sds", "pilot-agent"),
        ("wasm", "pilot-agent"),
        ("delta", "istiod"),
        ("rootcertrotator", "istiod"),
        ("validationController", "istiod"),
        ("cni-agent", "istio-cni"),
        ("cni-plugin", "istio-cni"),
        ("repair", "istio-cni"),
        ("ads", ""),  # both istiod and the agent have these
        ("klog", ""),
        ("spiffe", ""),
    ],
)
def test_the_component_only_when_the_scope_tells(scope: str, component: str) -> None:
    assert read(f"{TIME}\tinfo\t{scope}\tx").component == component


def test_fatal_is_critical() -> None:
    assert read(f"{TIME}\tfatal\tx").level == "critical"


def test_continuation_lines_belong_to_the_message_and_labels_stand_behind_them() -> None:
    record = read(f"{TIME}\twarn\tads\tACK ERROR Internal:a\n  name: x\n\tb\tid=7")
    assert record.message == "ACK ERROR Internal:a\n  name: x\n\tb"
    assert record.fields == {"scope": "ads", "id": "7"}


def test_an_indented_assignment_of_a_continuation_line_is_no_label() -> None:
    record = read(f"{TIME}\tinfo\tvariables:\n\tPORT=15001")
    assert record.message == "variables:\n\tPORT=15001"
    assert record.fields == {}


def test_a_label_cannot_replace_what_the_format_read() -> None:
    record = read(f"{TIME}\tinfo\tsds\tx\tscope=istiod unparsed=yes a=1")
    assert record.fields == {"scope": "sds", "a": "1"}
    record = read(f'{{"level":"info","time":"{TIME}","msg":"x","unparsed":"forged"}}')
    assert record.fields == {}


def test_a_label_time_beside_the_time_of_the_line() -> None:
    record = read(f'{{"level":"info","time":"{TIME}","msg":"sync complete","attempt":1,"time":"17.09s"}}')
    assert record.time == datetime(2025, 2, 5, 9, 29, 16, 132688, tzinfo=UTC)
    assert record.fields == {"attempt": "1", "time": "17.09s"}


def test_json_that_is_cut_off() -> None:
    whole = read(f'{{"level":"info","time":"{TIME}","scope":"cni-agent","msg":"copied","path":"/opt')
    assert (whole.message, whole.fields) == ("copied", {"scope": "cni-agent"})
    cut = read(f'{{"level":"info","time":"{TIME}","scope":"cni-agent","msg":"wrote kubeconfig fi')
    assert cut.message == "" and UNPARSED in cut.fields


@pytest.mark.parametrize(
    "line",
    [
        "error: something went wrong",
        "error something went wrong",
        "info gateway is up",
        f"{TIME}\twarning\tenvoy config\tx",
        "2025-02-05 09:29:16 error x",
        '{"level":"warning","msg":"logrus","time":"2025-02-05T09:29:16Z"}',
        '{"level":"info","msg":"no time"}',
        '{"level":7,"msg":"x","time":1}',
        "{",
        "",
    ],
)
def test_others(line: str) -> None:
    assert parse(line) is None
