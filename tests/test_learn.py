"""`meshdiag learn`: what nobody knows becomes patterns that load, pass their tests and recognise it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import meshdiag
from meshdiag.catalogue import Catalogue, Pattern
from meshdiag.catalogue.check import check
from meshdiag.catalogue.load import load
from meshdiag.diagnosis import Diagnosis
from meshdiag.learning import Draft, conditions, draft_of, learn, mining
from meshdiag.model import MeshdiagError
from tests.conftest import ROOT, access_line
from tests.test_docs import _names, _options

TIME = "2026-11-22T10:02:{:02}.417332Z"


def istio(i: int, message: str, scope: str = "quorum") -> str:
    return f"{TIME.format(i)}\terror\t{scope}\t{message}"


def istio_json(i: int, message: str, scope: str = "mesh-bridge") -> str:
    return json.dumps({"level": "error", "time": TIME.format(i), "scope": scope, "msg": message})


def envoy(i: int, message: str) -> str:
    return f"[2026-11-22 10:02:{i:02}.123][15][warning][pool] [source/common/pool/keeper.cc:91] {message}"


def klog(i: int, message: str) -> str:
    return f"E1122 10:02:{i:02}.123456       1 keeper.go:138] {message}"


def event(i: int, message: str) -> str:
    return f"{i}s   Warning   LeaseRevoked   pod/reviews-v1-7f8b9c6d5-x2x4z   {message}"


LINES = [
    *[istio(i, f"follower {name} fell behind the leader by {i} entries") for i, name in enumerate(("ann", "bob", "cy"))],
    *[istio_json(i, f'lease {4711 + i} lost to 10.0.0.{i}:80 by "node {i}"') for i in range(3)],
    *[envoy(i, f"keeper pool drained after {i}ms by {name}") for i, name in enumerate(("ann", "bob"))],
    *[klog(i, f'"Unable to renew the tenancy" err="refused {i} times" pod="prod/reviews"') for i in range(2)],
    *[event(i, f"tenancy {i} of the node has been revoked") for i in range(2)],
    *[access_line("503", "QX", f"keeper_denied_access{{{i}}}", path=f"/a?token=very-secret-{i}") for i in range(2)],
]  # fmt: skip


@pytest.fixture(scope="module")
def draft(catalogue: Catalogue) -> Draft:
    return learn(LINES, catalogue=catalogue)


def with_draft(book: Catalogue, text: str) -> tuple[Catalogue, list[Pattern]]:
    """The catalogue with a pattern file, which must load."""
    patterns = [Pattern.from_raw(r) for r in load([(Path("team"), {"draft.yaml": text})])["patterns"]]
    return Catalogue(book.causes, tuple(sorted([*book.patterns, *patterns], key=lambda p: p.order))), patterns


def left(diagnosis: Diagnosis) -> list[str]:
    return [u.shape for u in diagnosis.unrecognised]


# -- what is written


def test_every_format_gets_its_pattern(draft: Draft) -> None:
    assert not draft.skipped
    assert sorted(p.formats[0] for p in draft.patterns) == [
        "access-log", "envoy-log", "event", "istio-log", "istio-log", "klog",
    ]  # fmt: skip
    assert {p.id for p in draft.patterns} == {
        "envoy-503-qx-keeper-denied-access",
        "envoy-keeper-pool-drained-after",
        "istio-follower-fell-behind-leader-entries",
        "istio-lease-lost",
        "klog-unable-renew-tenancy-err-pod",
        "kubernetes-tenancy-node-been-revoked",
    }


def test_words_that_vary_are_captured(draft: Draft) -> None:
    (pattern,) = (p for p in draft.patterns if p.id == "istio-follower-fell-behind-leader-entries")
    assert pattern.when["message"]["contains"] == ["follower ", " fell behind the leader by ", " entries"]
    examples = [(e["message"], e["captures"]) for e in pattern.examples]
    assert examples == [
        ("follower ann fell behind the leader by 0 entries", {"value": "ann", "number": "0"}),
        ("follower bob fell behind the leader by 1 entries", {"value": "bob", "number": "1"}),
        ("follower cy fell behind the leader by 2 entries", {"value": "cy", "number": "2"}),
    ]
    assert pattern.examples[0]["scope"] == "quorum"
    (miss,) = pattern.near_misses
    assert miss["message"] == "something ann fell behind the leader by 0 entries"


def test_an_access_line_is_known_by_its_fields_only(draft: Draft) -> None:
    (pattern,) = (p for p in draft.patterns if p.formats == ("access-log",))
    assert pattern.when == {
        "response_flags": "QX",
        "response_code": "503",
        "response_code_details": {
            "contains": ["keeper_denied_access{"],
            "regex": r"^keeper_denied_access\{\d+(?:\.\d+)?\}",
        },
    }


def test_an_event_is_known_by_reason_and_message(draft: Draft) -> None:
    (pattern,) = (p for p in draft.patterns if p.formats == ("event",))
    assert (pattern.when["type"], pattern.when["reason"]) == ("Warning", "LeaseRevoked")
    assert pattern.examples[0]["line"] == LINES[10]


def test_structured_klog_keeps_its_quoted_message(draft: Draft) -> None:
    (pattern,) = (p for p in draft.patterns if p.formats == ("klog",))
    assert pattern.when["message"]["contains"] == ['"Unable to renew the tenancy" err=', " pod="]


def test_secrets_are_redacted_and_still_matched(catalogue: Catalogue) -> None:
    secret = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
    lines = [istio(i, f"keeper refused the visitor with token={secret}{i} at gate {i}") for i in range(2)]
    lines += [access_line("503", "QX", "keeper_denied", path=f"/?token={secret}{i}") for i in range(2)]
    draft = learn(lines, catalogue=catalogue)
    assert len(draft.patterns) == 2
    assert secret not in draft.text
    assert "<jwt:" in draft.text
    assert not left(meshdiag.diagnose(lines, catalogue=with_draft(catalogue, draft.text)[0]))


def test_the_draft_says_what_is_left_to_do(draft: Draft) -> None:
    assert draft.text.startswith("# A draft of `meshdiag learn`.")
    assert draft.text.count("cause: none  # TODO which cause?") == len(draft.patterns)
    assert "  # 3 lines, the first at <lines>@0\n" in draft.text


def test_a_cause_may_be_given(catalogue: Catalogue) -> None:
    draft = learn(LINES, cause="app-error", catalogue=catalogue)
    assert {p.cause for p in draft.patterns} == {"app-error"}
    assert "TODO" not in draft.text


def test_a_component_is_asked_for_and_written(catalogue: Catalogue) -> None:
    draft = learn(LINES, component="istiod", catalogue=catalogue)
    assert {p.formats[0] for p in draft.patterns} == {"istio-log", "klog"}, (
        "envoy's and Kubernetes' lines are not istiod's"
    )
    assert {p.component for p in draft.patterns} == {"istiod"}


# -- what is left out


def test_what_cannot_be_told_is_said(catalogue: Catalogue) -> None:
    lines = [istio(1, "boom 1"), istio(2, "boom 2"), istio(3, "the lonely keeper sleeps")]
    draft = learn(lines, catalogue=catalogue)
    assert not draft.patterns
    assert [(s.count, s.reason) for s in draft.skipped] == [
        (2, "too little text that stays the same"),
        (1, "fewer than 2 lines"),
    ]
    assert "#   2 x istio-log error: boom <num>: too little text that stays the same\n" in draft.text
    assert yaml.safe_load(draft.text) == {"patterns": []}
    assert len(learn(lines, catalogue=catalogue, min_count=1).patterns) == 1


def test_the_most_frequent_come_first_up_to_the_limit(catalogue: Catalogue) -> None:
    draft = learn(LINES, catalogue=catalogue, limit=2)
    assert [p.formats for p in draft.patterns] == [("istio-log",), ("istio-log",)]
    assert {s.reason for s in draft.skipped} == {"more than 2 patterns"}


def test_a_flood_of_shapes_is_bounded(catalogue: Catalogue) -> None:
    """Each with too little to tell: only so many are tried, and only so many are shown."""
    names = [f"{chr(97 + i)}{chr(97 + j)}" for i in range(20) for j in range(20)]
    lines = [envoy(1, f"{n} " * (1 + i % 7) + "=" * 80) for i, n in enumerate(names)]
    draft = learn(lines, catalogue=catalogue, min_count=1, limit=2)
    assert not draft.patterns
    assert "too many that cannot be drafted" in {s.reason for s in draft.skipped}
    assert draft.text.count("\n") < 60


def test_nothing_unknown_gives_an_empty_draft(catalogue: Catalogue) -> None:
    draft = learn([access_line()], catalogue=catalogue)
    assert (draft.patterns, draft.skipped) == ((), ())
    assert yaml.safe_load(draft.text) == {"patterns": []}


@pytest.mark.parametrize("wrong", [{"cause": "nope"}, {"component": "nope"}])
def test_a_wrong_name_is_said(wrong: dict[str, str], catalogue: Catalogue) -> None:
    with pytest.raises(MeshdiagError, match="is named 'nope'"):
        learn(LINES, catalogue=catalogue, **wrong)


def test_without_the_library_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "drain3.drain", None)
    with pytest.raises(MeshdiagError, match=re.escape("pip install 'meshdiag[learn]'")):
        learn(LINES)


# -- laws


def test_a_draft_takes_no_line_from_a_known_pattern(draft: Draft, catalogue: Catalogue) -> None:
    assert all(p.priority < min(q.priority for q in catalogue.patterns) for p in draft.patterns)


def test_the_order_of_inputs_does_not_matter(tmp_path: Path, catalogue: Catalogue) -> None:
    files = []
    for i, line in enumerate(LINES):
        files.append(tmp_path / f"{i:02}.log")
        files[-1].write_text(line + "\n")
    there, back = learn(*files, catalogue=catalogue), learn(*reversed(files), catalogue=catalogue)
    assert there.text == back.text
    assert len(there.patterns) == 6


def test_other_lines_of_a_shape_are_recognised_too(draft: Draft, catalogue: Catalogue) -> None:
    book = with_draft(catalogue, draft.text)[0]
    others = [
        istio_json(9, 'lease 1.5 lost to [::1]:80 by "a node with blanks"'),
        istio(9, "follower zed fell behind the leader by 12345 entries, and gave up\n  at raft.go:12"),
        klog(9, '"Unable to renew the tenancy" err="" pod="x"'),
        access_line("503", "QX", "keeper_denied_access{77}"),
    ]
    assert not left(meshdiag.diagnose(others, catalogue=book))
    known = [istio(9, "leader ann fell behind the follower by 3 entries"), access_line("503", "QX", "keeper_slept")]
    assert len(left(meshdiag.diagnose(known, catalogue=book))) == 2


HOSTILE = [
    "", " ", "  ", "\t", "\n", "\n  at keeper.go:12", "keeper", "failed", "unable", "visitor", "10.0.0.1:80", "4711", "1.2.3.4.5.6",
    "'a b'", '"c d"', 'key="v w"', "a:b", "c|d", "${x}", "<num>", "<*>", "<jwt:abcdef>", "# no comment", "- ", "? ", ": ", "{}", "[a,",
    "&anchor", "*alias", "!!python/object:os.system", "%TAG", "@", "`", "\\d+", "(?P<x>a)", "((((", "\\", "|", ">", "...", "---",
    "\x1b[31m", "\x00", "\x85", "\u2028", "\u202e", "\ufeff", "\ud800", "\U0001f600", "Bearer abcdefghijklmnop", "token=abcdefgh",
    "2026-11-22T10:00:00Z", "reviews-v1-7f8b9c6d5-x2x4z", "0xdeadbeef", "41dbb472-e31e-457f-a70c-adbe2c9e9315", "yes", "null", "~",
    "A" * 300, "id=7", '{"a":1}', "\terror\tx=1",
]  # fmt: skip
_TEXT = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=12), min_size=1, max_size=12).map(" ".join)


def _line(kind: str, message: str) -> str:
    plain = message.replace("\n", " ").encode("utf-8", "replace").decode()
    match kind:
        case "json":
            return istio_json(1, message)
        case "text":
            return istio(1, plain)
        case "envoy":
            return envoy(1, plain)
        case "klog":
            return klog(1, plain)
        case "event":
            return event(1, plain)
        case _:
            row = {
                "start_time": TIME.format(1),
                "method": "GET",
                "path": "/",
                "protocol": "HTTP/1.1",
                "response_code": 503,
            }
            row |= {
                "response_flags": "QX",
                "response_code_details": message[:200],
                "upstream_cluster": "outbound|80||a.b.svc",
            }
            return json.dumps(row)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(("json", "text", "envoy", "klog", "event", "access")), _TEXT), min_size=1, max_size=4
    )
)
def test_any_unrecognised_text_gives_a_draft_that_loads_and_passes(
    catalogue: Catalogue, written: Sequence[tuple[str, str]]
) -> None:
    lines = [_line(kind, message) for kind, message in written]
    draft = learn(lines, catalogue=catalogue, min_count=1)
    assert draft.text.isascii()
    assert all(c.isprintable() or c == "\n" for c in draft.text)
    book, patterns = with_draft(catalogue, draft.text)
    assert [(p.id, p.when) for p in patterns] == [(p.id, p.when) for p in draft.patterns]
    assert not list(check(book, patterns))
    # what is still not recognised is what the draft says it left out
    assert set(left(meshdiag.diagnose(lines, catalogue=book))) <= {s.shape for s in draft.skipped}


@given(
    st.lists(
        st.sampled_from(["1.", "2", "-", ":", "a", "[", "]", "/", "=", "10.0.0.1", "a-12345678-abcde"]),
        min_size=1,
        max_size=60,
    )
)
@settings(max_examples=60, deadline=None)
def test_an_expression_is_linear(parts: Sequence[str]) -> None:
    """Pieces that could share out a text in many ways: a search that fails must fail at once."""
    text = "keeper of the tenancy " + "".join(parts)
    pieces = mining.segments(mining.template([mining.tokens_of(text)]))[0][1]
    for anchor in (conditions.START, conditions.WORD_START, conditions.ANYWHERE):
        made = conditions.expression(pieces, anchor)
        pattern = made.condition.get("regex")
        if pattern is None:
            continue
        assert re.search(pattern, text), pattern
        begun = time.perf_counter()
        re.search(pattern + "!", text * 20 + "1." * 500 + "a-12345678-abcde" * 100)
        assert time.perf_counter() - begun < 0.5, pattern


def test_no_text_can_forge_a_stand_in() -> None:
    forged, real = mining.tokens_of("lost <num> leases"), mining.tokens_of("lost 7 leases")
    assert forged[1].key != real[1].key


# -- the command line


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "meshdiag", *arguments],
        input=stdin, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False,
        env={**os.environ, "PYTHONUTF8": "1"},
    )  # fmt: skip


def test_round_trip_on_the_command_line(tmp_path: Path) -> None:
    log, team = tmp_path / "all.log", tmp_path / "team"
    log.write_text("\n".join(LINES) + "\n")
    target = team / "draft.yaml"
    done = run("learn", str(log), "-o", str(target))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "6 patterns written to" in done.stderr
    tested = run("patterns", "test", "--patterns", str(team), str(target))
    assert tested.returncode == 0, tested.stdout
    assert tested.stdout.startswith("6 patterns, ")
    after = run("diagnose", "-o", "json", "--patterns", str(team), str(log))
    assert json.loads(after.stdout)["unrecognised"] == []
    again = run("learn", str(log), "--patterns", str(team))
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing to learn" in again.stderr
    kept = run("learn", str(log), "-o", str(target))
    assert kept.returncode == 2
    assert "exists" in kept.stderr


def test_standard_input_and_output() -> None:
    done = run("learn", "-", "--min-count", "1", "--limit", "1", stdin="\n".join(LINES) + "\n")
    assert done.returncode == 0
    assert len(yaml.safe_load(done.stdout)["patterns"]) == 1
    assert "not drafted: 3 x " in done.stderr


def test_the_cause_is_suggested() -> None:
    done = run("learn", "-", "--cause", "app-eror", stdin=LINES[0])
    assert done.returncode == 2
    assert "did you mean app-error" in done.stderr


def test_nothing_to_draft_is_exit_code_1() -> None:
    done = run("learn", "-", stdin=istio(1, "boom") + "\n" + istio(2, "boom") + "\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no pattern could be drafted" in done.stderr


def test_a_diagnosis_can_be_learnt_from(catalogue: Catalogue, draft: Draft) -> None:
    assert draft_of(meshdiag.diagnose(LINES, catalogue=catalogue)) == draft


def test_the_page_names_every_option() -> None:
    _names("learn.md", _options("learn"))


ANALYSIS = [f"Warning [IST9{i}42] (VirtualService shop/cart) The keeper of gate {i} is asleep." for i in (1, 1, 2)]
ZTUNNEL = [
    f'{TIME.format(i)}\terror\taccess\tconnection complete\tsrc.addr=10.0.0.1:{i} dst.addr=10.0.0.2:80 direction="inbound" '
    f'error="keeper at gate {i} refused the visitor"'
    for i in range(2)
]


@pytest.mark.parametrize(
    ("lines", "when"),
    [
        (ANALYSIS[:2], {"code": "IST9142"}),
        (
            ZTUNNEL,
            {
                "error": {
                    "contains": ["keeper at gate ", " refused the visitor"],
                    "regex": r"^keeper at gate \d+(?:\.\d+)? refused the visitor",
                }
            },
        ),
    ],
)
def test_formats_that_are_known_by_another_field(
    lines: list[str], when: dict[str, object], catalogue: Catalogue
) -> None:
    # the built-in catalogue has a pattern for every failed connection of ztunnel
    some = tuple(p for p in catalogue.patterns if p.id != "ztunnel-access-failed")
    book = Catalogue(catalogue.causes, some)
    draft = learn(lines, catalogue=book)
    (pattern,) = draft.patterns
    assert pattern.when == when
    assert not left(meshdiag.diagnose(lines, catalogue=with_draft(book, draft.text)[0]))
