"""Two captures: gone only when the second would show it, worse only when it is no noise."""

import functools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import meshdiag
from meshdiag import Diagnosis, Subject
from meshdiag.diagnosis.compare import Compared, Comparison, Verdict, compare
from meshdiag.diagnosis.findings import Findings
from meshdiag.diagnosis.matching import alike, plain
from tests.conftest import HEALTHY, NO_HOST, REFUSED, SAMPLES, access_line
from tests.diagnosis.captures import CART, CART_2, SHOP, SHOP_2, capture, requests

DENIED = access_line("403", "-", "rbac_access_denied_matched_policy[none]", cluster="inbound|9080||")


@functools.cache
def sample(name: str) -> Diagnosis:
    (path,) = SAMPLES.glob(f"{name}-*")
    return meshdiag.diagnose(path)


def kinds(c: Comparison) -> set[tuple[str, str]]:
    return {(x.change.value, x.cause) for x in c.changes}


def only(c: Comparison) -> Compared:
    (one,) = c.changes
    return one


def client(folder: Path, failing: range, good: range = range(0), pod: str = SHOP) -> Diagnosis:
    return capture(folder, {pod: requests(failing, good)})


def test_a_fix_is_proved() -> None:
    c = compare(sample("02"), sample("01"))
    assert kinds(c) == {("gone", "upstream-connection-refused"), ("gone", "app-error")}
    assert not c.is_worse
    refused = next(x for x in c.changes if x.cause == "upstream-connection-refused")
    assert (refused.before.count, refused.before.total) == (20, 20)
    assert refused.after.count == 0 and (refused.after.total or 0) >= 10


def test_a_break_is_new() -> None:
    c = compare(sample("01"), sample("02"))
    assert kinds(c) == {("new", "upstream-connection-refused"), ("new", "app-error")}
    assert c.is_worse
    assert c.changes[0].cause == "upstream-connection-refused"  # the root stands before its symptom


@pytest.mark.parametrize("name", sorted(p.name[:2] for p in SAMPLES.iterdir() if p.name[:2].isdigit()))
def test_a_capture_is_as_bad_as_itself(name: str) -> None:
    c = compare(sample(name), sample(name))
    assert {x.change for x in c.changes} <= {Verdict.UNCHANGED}
    assert not c.is_worse


def test_another_pod_of_the_workload_is_the_same_workload(tmp_path: Path) -> None:
    a = capture(tmp_path / "a", {CART: [DENIED] * 9})
    b = capture(tmp_path / "b", {CART_2: [DENIED] * 9})
    one = only(compare(a, b))
    assert one.change is Verdict.UNCHANGED and one.subject.name == "cart"


def test_a_capture_without_the_pods_proves_nothing(tmp_path: Path) -> None:
    a = client(tmp_path / "a", range(0, 60, 3))
    b = capture(tmp_path / "b", {CART: requests((), range(0, 600, 5), to="pay")})
    one = only(compare(a, b))
    assert one.change is Verdict.UNPROVEN
    assert one.why == "no line of shop/shopfront in it"


def test_nor_does_one_without_requests_on_the_edge(tmp_path: Path) -> None:
    a = client(tmp_path / "a", range(0, 60, 3))
    b = capture(tmp_path / "b", {SHOP_2: requests((), range(0, 600, 5), to="pay")})
    one = only(compare(a, b))
    assert one.change is Verdict.UNPROVEN and "no request" in one.why


def test_nor_does_one_with_too_few(tmp_path: Path) -> None:
    a = client(tmp_path / "a", range(0, 60, 30), range(0, 60, 2))  # 2 of 32
    few, many = (client(tmp_path / str(n), range(0), range(n)) for n in (20, 80))
    assert only(compare(a, few)).change is Verdict.UNPROVEN
    assert "too little to tell" in only(compare(a, few)).why
    assert only(compare(a, many)).change is Verdict.GONE


def test_an_analysis_that_was_not_run_again_proves_nothing() -> None:
    c = compare(sample("03"), sample("01"))
    told = {str(x.subject): x for x in c.changes if x.subject.kind == "resource"}
    assert told and all(x.change is Verdict.UNPROVEN and "istioctl analyze" in x.why for x in told.values())


def test_new_though_the_first_capture_could_not_show_it(tmp_path: Path) -> None:
    c = compare(capture(tmp_path / "a", {CART: [HEALTHY]}), client(tmp_path / "b", range(0, 60, 3)))
    one = only(c)
    assert one.change is Verdict.NEW and "may not have shown it" in one.why and c.is_worse


def test_rates_count_not_lengths(tmp_path: Path) -> None:
    short = client(tmp_path / "a", range(0, 300, 10), range(1, 300, 10))
    long = client(tmp_path / "b", range(0, 3000, 10), range(1, 3000, 10))
    one = only(compare(short, long))
    assert one.change is Verdict.UNCHANGED and one.by == "requests"
    assert one.factor == pytest.approx(1, abs=0.05)


def test_worse_and_better_by_share(tmp_path: Path) -> None:
    few = client(tmp_path / "a", range(0, 600, 60), range(1, 600, 3))  # 10 of 210
    many = client(tmp_path / "b", range(0, 600, 10), range(1, 600, 3))  # 60 of 260
    worse, better = only(compare(few, many)), only(compare(many, few))
    assert worse.change is Verdict.WORSE and worse.factor == pytest.approx(4.85, abs=0.1)
    assert better.change is Verdict.BETTER and better.factor == pytest.approx(1 / 4.85, abs=0.01)


def test_most_to_all_is_worse(tmp_path: Path) -> None:
    most = client(tmp_path / "a", range(0, 600, 10), range(1, 600, 15))  # 60 of 100
    every = client(tmp_path / "b", range(0, 600, 10))
    assert only(compare(most, every)).change is Verdict.WORSE


def test_noise_does_not_count(tmp_path: Path) -> None:
    one = client(tmp_path / "a", range(0, 60, 60), range(1, 600, 3))
    three = client(tmp_path / "b", range(0, 600, 200), range(1, 600, 3))
    assert only(compare(one, three)).change is Verdict.UNCHANGED


def test_what_ended_is_better(tmp_path: Path) -> None:
    going = client(tmp_path / "a", range(0, 600, 10), range(1, 600, 10))
    ended = client(tmp_path / "b", range(0, 600, 10), range(1, 1200, 10))
    better, worse = only(compare(going, ended)), only(compare(ended, going))
    assert better.change is Verdict.BETTER and better.why == "going on before, over after"
    assert worse.change is Verdict.WORSE


def test_one_client_or_several_is_one_service(tmp_path: Path) -> None:
    failing = range(0, 300, 10)
    one = capture(tmp_path / "a", {SHOP: requests(failing), CART: requests((), failing)})
    both = capture(tmp_path / "b", {SHOP: requests(failing), CART: requests(failing)})
    found = only(compare(one, both))
    assert found.subject == Subject("service", name="cart.shop.svc.cluster.local:8080")
    assert found.change is Verdict.WORSE  # 30 of 60, then 60 of 60
    assert only(compare(both, one)).change is Verdict.BETTER


def test_another_client_is_another_finding(tmp_path: Path) -> None:
    a = capture(tmp_path / "a", {SHOP: requests(range(0, 300, 10)), CART: requests((), range(0, 300, 10))})
    b = capture(tmp_path / "b", {CART: requests(range(0, 300, 10)), SHOP: requests((), range(0, 300, 10))})
    assert kinds(compare(a, b)) == {("gone", "no-healthy-upstream"), ("new", "no-healthy-upstream")}


def test_what_a_finding_folds_is_told_apart(tmp_path: Path) -> None:
    names = [f"s{i:03}" for i in range(230)]
    lines = {n: requests(range(5), to=n, who=n) for n in names}
    a = capture(tmp_path / "a", {SHOP: [x for n in names for x in lines[n]]})
    assert any("others" in f.subject.name for f in a.findings)
    b = capture(
        tmp_path / "b",
        {SHOP: [x for n in names[:-3] for x in lines[n]] + requests((), range(40), to=names[-1])},
    )
    found = compare(a, b)
    assert len(found.of(Verdict.UNCHANGED)) == 227
    assert [x.subject.destination.partition(".")[0] for x in found.of(Verdict.GONE)] == [names[-1]]
    assert len(found.of(Verdict.UNPROVEN)) == 2  # nobody asked for those again


def test_an_unknown_namespace_may_be_any(tmp_path: Path) -> None:
    a = capture(tmp_path / "a", {CART: [DENIED] * 9})
    b = meshdiag.diagnose([f"[pod/{CART_2}/istio-proxy] {DENIED}"] * 9)
    assert {f.subject.namespace for f in b.failures} == {""}
    one = only(compare(a, b))
    assert one.change is Verdict.UNCHANGED and one.subject.namespace == "shop"


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [("shop/cart", "shop/cart", True), ("shop/cart", "cart", True), ("", "cart", True), ("a/cart", "b/cart", False), ("a", "b", False)],
)  # fmt: skip
def test_alike(a: str, b: str, same: bool) -> None:
    assert alike(a, b) is same and alike(b, a) is same


def test_generated_names_are_no_part_of_a_subject() -> None:
    assert plain(Subject("node", "istio-system", "ztunnel-7x5kq")).name == "ztunnel"
    assert plain(Subject("resource", "shop", f"Pod {CART}")).name == "Pod cart"
    assert plain(Subject("resource", "shop", "Gateway public-x7k2m")).name == "Gateway public-x7k2m"


def test_an_empty_second_capture_proves_nothing(tmp_path: Path) -> None:
    empty = Diagnosis(Findings(), sample("01").catalogue)
    c = compare(client(tmp_path, range(0, 60, 3)), empty)
    assert only(c).change is Verdict.UNPROVEN and only(c).why == "nothing was read"


def test_only_what_is_shown_counts() -> None:
    a, b = (sample(n).only(causes=["app-error"]) for n in ("02", "01"))
    assert kinds(compare(a, b)) == {("gone", "app-error")}


def test_a_start_that_is_over_does_not_count() -> None:
    assert not compare(Diagnosis(Findings(), sample("01").catalogue), sample("01")).changes


LINES = [HEALTHY, NO_HOST, REFUSED, DENIED, access_line("404", "NR", "route_not_found", cluster="-"),
         f"[pod/{CART}/istio-proxy] {NO_HOST}", f"[pod/{CART_2}/istio-proxy] {DENIED}",
         "2026-11-22T10:00:02.000000Z\twarn\tca\tca request failed, starting attempt 1 in 98.766266ms"]  # fmt: skip
captures = st.lists(st.tuples(st.sampled_from(LINES), st.integers(1, 30)), max_size=6)


def made(parts: list[tuple[str, int]]) -> Diagnosis:
    return meshdiag.diagnose([line for line, n in parts for _ in range(n)])


@settings(max_examples=30, deadline=None)
@given(captures)
def test_nothing_changes_against_itself(parts: list[tuple[str, int]]) -> None:
    d = made(parts)
    assert {x.change for x in compare(d, d).changes} <= {Verdict.UNCHANGED}


@settings(max_examples=30, deadline=None)
@given(captures, captures)
def test_the_other_way_round_is_the_opposite(a: list[tuple[str, int]], b: list[tuple[str, int]]) -> None:
    there, back = compare(made(a), made(b)), compare(made(b), made(a))
    turned = {Verdict.NEW: (Verdict.GONE, Verdict.UNPROVEN), Verdict.WORSE: (Verdict.BETTER,), Verdict.BETTER: (Verdict.WORSE,),
              Verdict.GONE: (Verdict.NEW,), Verdict.UNPROVEN: (Verdict.NEW,), Verdict.UNCHANGED: (Verdict.UNCHANGED,)}  # fmt: skip
    other = {(x.cause, x.subject): x.change for x in back.changes}
    assert len(other) == len(there.changes)
    for x in there.changes:
        assert other[x.cause, x.subject] in turned[x.change]


@functools.cache
def by_file() -> list[Diagnosis]:
    """Of each file of a sample on its own."""
    files = sorted(p for p in (SAMPLES / "02-connection-refused").iterdir() if p.suffix == ".log")
    return [meshdiag.diagnose(f) for f in files]


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(4)))
def test_the_order_of_files_does_not_matter(order: list[int]) -> None:
    some = by_file()
    shuffled = Diagnosis(Findings.sum(some[i].seen for i in order), some[0].catalogue)
    whole = Diagnosis(Findings.sum(d.seen for d in some), some[0].catalogue)
    good = sample("01")
    assert compare(shuffled, good).changes == compare(whole, good).changes
    assert compare(good, shuffled).changes == compare(good, whole).changes


def test_events_that_were_not_taken_again_prove_nothing() -> None:
    c = compare(sample("16"), sample("01"))
    probes = next(x for x in c.changes if x.cause == "health-probe-failed")
    assert probes.change is Verdict.UNPROVEN and probes.why == "no Kubernetes events in it"


def test_what_may_have_been_cut_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshdiag.diagnosis.matching.MAX_SUBJECTS", 3)
    a = client(tmp_path / "a", range(0, 60, 3))
    others = [x for n in ("b", "c", "d") for x in requests(range(9), to=n, who=n)]
    b = capture(tmp_path / "b", {SHOP: requests((), range(90)) + others})
    (one,) = (x for x in compare(a, b).changes if x.before.rank)
    assert one.change is Verdict.UNPROVEN and "not kept" in one.why
