"""meshdiag tells apart what a real Envoy wrote about faults that look alike, and says so where one line cannot."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from harness import Envoy, bootstrap, poll
from peers import Target, raw
from scenarios import NAME_FROM_BOTH_SIDES, PAIRS, SCENARIOS, STRICT_FROM_BOTH_SIDES, Pair, Run, Scenario, http

import meshdiag
from meshdiag import Catalogue, Confidence, Diagnosis, Finding

BY_NAME = {s.name: s for s in SCENARIOS}
COMMAND = re.compile(r"\b(?:kubectl|istioctl|openssl|curl) [a-z-]")
CLIENT, SERVER = "[pod/productpage-v1-7d6c5f9b84-z6r4p/istio-proxy] ", "[pod/backend-5d6c5f9b84-q6r4p/istio-proxy] "

in_both_encodings = pytest.mark.parametrize("encoding", ["text", "json"])


def lines(run: Run, scenario: Scenario, encoding: str, prefix: str = "") -> list[str]:
    return [prefix + line for line in run.log(scenario, encoding).read_text().splitlines()]


def diagnose(captured: Iterable[str], catalogue: Catalogue) -> Diagnosis:
    return meshdiag.diagnose(list(captured), catalogue=catalogue)


def first(captured: Iterable[str], catalogue: Catalogue) -> Finding:
    return diagnose(captured, catalogue).failures[0]


# --- one line cannot tell ----------------------------------------------------------------------------------------

ALIKE = {
    "no answer to a SYN, none to a ClientHello": (
        ["connect-timeout", "tls-to-silent"],
        {"mtls-tls-to-plaintext", "network-policy-blocked"},
    ),
    "crash, keep-alive race, TLS 1.3 refusal": (
        ["upstream-closes", "upstream-resets", "idle-race", "no-client-certificate-13"],
        {"proxy-crashed", "proxy-draining", "tls-handshake-failed", "mtls-plaintext-to-strict"},
    ),
    "forged token, unknown key, istiod's stand-in for keys": (
        ["token-forged", "token-of-unknown-key", "keys-of-nobody"],
        {"jwks-fetch-failed"},
    ),
    "no ALLOW policy, no token for one": (["not-allowed", "token-missing-not-allowed"], {"jwt-missing"}),
    "application, or its sidecar": (
        ["app-503", *(p.client.name for p in PAIRS if p.client.cause == "app-error")],
        set(),
    ),
}


@in_both_encodings
@pytest.mark.parametrize("names, others", ALIKE.values(), ids=ALIKE)
def test_one_line_cannot_tell(
    run: Run, catalogue: Catalogue, encoding: str, names: list[str], others: set[str]
) -> None:
    known = BY_NAME | {p.client.name: p.client for p in PAIRS}
    found = [first(lines(run, known[n], encoding), catalogue) for n in names]
    assert len({(f.cause, f.patterns) for f in found}) == 1
    for finding in found:
        assert finding.confidence is Confidence.POSSIBLE
        assert others <= set(finding.alternatives)
        assert COMMAND.search(finding.tell_apart), finding.tell_apart


# --- one line tells ----------------------------------------------------------------------------------------------

SURE = [
    ("refused", "tls-to-plaintext", "untrusted"),
    ("no-endpoints", "refused"),
    ("no-route", "no-cluster"),
    ("plaintext-to-strict", "no-chain-for-name"),
    ("blocked", "passthrough"),
    ("tcp-blocked", "tcp-no-endpoints"),
    (
        "token-missing",
        "token-expired",
        "token-other-issuer",
        "token-other-audience",
        "token-malformed",
        "keys-unreachable",
    ),
    ("denied", "authorizer-denies"),
]


@in_both_encodings
@pytest.mark.parametrize("names", SURE, ids=" or ".join)
def test_one_line_tells(run: Run, catalogue: Catalogue, encoding: str, names: tuple[str, ...]) -> None:
    found = [first(lines(run, BY_NAME[n], encoding), catalogue) for n in names]
    assert {f.confidence for f in found} == {Confidence.LIKELY}
    assert len({f.cause for f in found}) == len(names)


@in_both_encodings
def test_a_policy_by_name_or_none(run: Run, catalogue: Catalogue, encoding: str) -> None:
    named = first(lines(run, BY_NAME["denied-inbound"], encoding), catalogue)
    none = first(lines(run, BY_NAME["not-allowed"], encoding), catalogue)
    assert named.cause == none.cause == "rbac-denied"
    assert (named.facts["policy_namespace"], named.facts["policy"]) == ("default", "deny-all")
    assert "policy" not in none.facts
    assert named.confidence is not none.confidence


@in_both_encodings
@pytest.mark.parametrize("name", ["app-404", "app-403"])
def test_answers_of_the_application_are_no_failure(run: Run, catalogue: Catalogue, encoding: str, name: str) -> None:
    assert not diagnose(lines(run, BY_NAME[name], encoding), catalogue).failures


# --- another line tells ------------------------------------------------------------------------------------------


@in_both_encodings
def test_no_endpoints_or_all_ejected(run: Run, catalogue: Catalogue, encoding: str) -> None:
    absent = diagnose(lines(run, BY_NAME["no-endpoints"], encoding), catalogue).failures
    ejected = diagnose(lines(run, BY_NAME["ejected"], encoding), catalogue).failures
    assert [f.cause for f in absent] == ["no-healthy-upstream"]
    assert [f.cause for f in ejected] == ["no-healthy-upstream", "app-error"]
    assert ejected[1].explained_by == (1,)
    assert all("OUTLIER CHECK" in f.tell_apart for f in (absent[0], ejected[0]))


@in_both_encodings
def test_event_of_outlier_detection(run: Run, catalogue: Catalogue, encoding: str) -> None:
    captured = lines(run, BY_NAME["ejected"], encoding)
    poll(lambda: "EJECT" in run.events.read_text(), "Envoy wrote no event of the ejection")
    root, *others = diagnose([*captured, *run.events.read_text().splitlines()], catalogue).failures
    assert root.cause == "no-healthy-upstream"
    assert {"access-no-healthy-upstream", "envoy-outlier-event"} <= set(root.patterns)
    assert [f.cause for f in others] == ["app-error"]


@in_both_encodings
@pytest.mark.parametrize(
    "client, server, symptom",
    [
        (STRICT_FROM_BOTH_SIDES, "plaintext-to-strict", "upstream-connection-closed"),
        (NAME_FROM_BOTH_SIDES, "no-chain-for-name", "tls-handshake-failed"),
    ],
    ids=["plaintext", "SNI"],
)
def test_filter_chain_seen_from_both_sides(
    run: Run, catalogue: Catalogue, encoding: str, client: Scenario, server: str, symptom: str
) -> None:
    alone = first(lines(run, client, encoding, CLIENT), catalogue)
    assert (alone.cause, alone.confidence) == (symptom, Confidence.POSSIBLE)
    assert client.cause in alone.alternatives
    # TCP lines have no request id: what joins them is that the pod is named after the service
    pod = f"[pod/{client.name}-5d6c5f9b84-q6r4p/istio-proxy] "
    both = [*lines(run, client, encoding, CLIENT), *lines(run, BY_NAME[server], encoding, pod)]
    root, *others = diagnose(both, catalogue).failures
    assert root.cause == client.cause
    assert [(f.cause, bool(f.explained_by)) for f in others] == [(symptom, True)]


# --- two sidecars in a row ---------------------------------------------------------------------------------------

each_pair = pytest.mark.parametrize("pair", PAIRS, ids=lambda p: p.name)


def request_ids(captured: Iterable[str], catalogue: Catalogue) -> list[str]:
    return [m.record.fields["request_id"] for m in meshdiag.classify(captured, catalogue=catalogue)]


@in_both_encodings
@each_pair
def test_request_ids_agree(run: Run, catalogue: Catalogue, encoding: str, pair: Pair) -> None:
    client, server = (lines(run, side, encoding) for side in (pair.client, pair.server))
    ids = request_ids(client, catalogue)
    assert re.fullmatch(r"[0-9a-f-]{36}", ids[0])
    assert ids == request_ids(server, catalogue)


@in_both_encodings
@each_pair
def test_each_side_alone(run: Run, catalogue: Catalogue, encoding: str, pair: Pair) -> None:
    for side in (pair.client, pair.server):
        assert first(lines(run, side, encoding), catalogue).cause == side.cause


@in_both_encodings
@each_pair
def test_both_sides_by_request_id(run: Run, catalogue: Catalogue, encoding: str, pair: Pair) -> None:
    captured = [*lines(run, pair.client, encoding, CLIENT), *lines(run, pair.server, encoding, SERVER)]
    root, *others = diagnose(captured, catalogue).failures
    assert root.cause == pair.cause, captured
    assert not root.explained_by
    assert all(f.explained_by for f in others), [(f.cause, str(f.subject)) for f in others]


@in_both_encodings
def test_other_requests_are_not_joined(run: Run, catalogue: Catalogue, encoding: str) -> None:
    """The client's 503 of one application is not explained by another application that refused another request."""
    by_name = {p.name: p for p in PAIRS}
    captured = [
        *lines(run, by_name["app-fails"].client, encoding, CLIENT),
        *lines(run, by_name["app-refuses"].client, encoding, "[pod/cart-v1-6c6c5f9b84-x6r4p/istio-proxy] "),
        *lines(run, by_name["app-refuses"].server, encoding, SERVER),
    ]
    failures = diagnose(captured, catalogue).failures
    mine = [f for f in failures if "app-fails" in str(f.subject)]
    assert [(f.cause, f.explained_by) for f in mine] == [("app-error", ())], [
        (f.cause, str(f.subject)) for f in failures
    ]


# --- an Envoy that goes away -------------------------------------------------------------------------------------


def test_drain_or_client_that_gave_up(run: Run, catalogue: Catalogue, tmp_path: Path) -> None:
    """A request in flight when Envoy gets SIGTERM: DC as for a client that left, with another reason."""
    scenario = http("draining", "proxy-draining", to="app", vhost="*")
    one, clusters = scenario.build(replace(run.around, logs=tmp_path / "logs"))
    with Envoy(bootstrap([one], clusters), tmp_path) as envoy:
        envoy.ready()
        request = raw(b"GET /wait HTTP/1.1\r\nhost: reviews\r\n\r\n", patience=5)
        target = Target(envoy.ports["draining"], scenario.authority, run.around.tokens)
        client = threading.Thread(target=request, args=(target,), daemon=True)
        client.start()
        waiting = f"cluster.{clusters[0]['name'].replace(':', '_')}.upstream_rq_active"
        poll(lambda: f"{waiting}: 1" in envoy.ask("/stats?filter=upstream_rq_active"), "the request did not arrive")
        assert envoy.stop() == 0
        client.join(5)
    for encoding in ("text", "json"):
        captured = (tmp_path / "logs" / encoding / "draining.log").read_text().splitlines()
        assert first([*captured, *envoy.log.read_text().splitlines()], catalogue).cause == "proxy-draining", captured
    assert first(lines(run, BY_NAME["client-gives-up"], "text"), catalogue).cause == "client-disconnected"
