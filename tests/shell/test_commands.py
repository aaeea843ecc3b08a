"""Every command: what it gives, and what it says when it is used wrongly."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import Diagnosis
from meshdiag.diagnosis.compare import Verdict
from meshdiag.model import Confidence, Kind, Severity
from meshdiag.shell import commands
from meshdiag.shell import results as r
from meshdiag.shell.commands import ALIASES, COMMANDS, execute
from meshdiag.shell.commands.table import GROUPS
from meshdiag.shell.state import FILTERS
from meshdiag.shell.work import Reading
from tests.cluster.snapshots import pod, service, snapshot
from tests.conftest import HEALTHY, NO_HOST, REFUSED, access_line
from tests.shell.states import Shell, no_host, sample, until, write

SHOWN = ("02", "03", "08", "13", "20")


@pytest.fixture(scope="module", params=[*SHOWN, "bug-report"])
def shell(request: pytest.FixtureRequest, catalogue: Catalogue) -> Iterator[Shell]:
    """A shell in which a sample is open; tests leave its state as it is."""
    with Shell(catalogue, sample(request.param)) as shell:
        yield shell


@pytest.fixture(scope="module")
def bundle(catalogue: Catalogue) -> Iterator[Shell]:
    """One with the bug-report: failures of several kinds, a start, good signs."""
    with Shell(catalogue, sample("bug-report")) as shell:
        yield shell


@pytest.fixture
def fresh(catalogue: Catalogue) -> Iterator[Shell]:
    """A shell in which nothing is open."""
    with Shell(catalogue) as shell:
        yield shell


@pytest.fixture
def mesh(catalogue: Catalogue, tmp_path: Path) -> Iterator[Shell]:
    """One with failures of two clients of a service, another one's of another, and a workload's, at known times."""
    cart, web = "outbound|8080||cart.shop.svc.cluster.local", "outbound|80||web.front.svc.cluster.local"
    files = {
        "front_web-5f9c8d7b64-k2x8w_istio-proxy.log": no_host(3, client="a", cluster=cart),
        "front_api-5f9c8d7b64-q7t2c_istio-proxy.log": no_host(2, client="b", cluster=cart, second=60),
        "shop_cart-7d6c5f9b84-z6r4p_istio-proxy.log": [
            *no_host(4, client="c", cluster=web, second=600),
            "2026-11-22T10:20:00.000000Z\terror\tcitadelclient\tFailed to create certificate: x509: certificate has expired",
        ],
    }
    for name, lines in files.items():
        write(tmp_path / "logs" / name, lines)
    with Shell(catalogue, tmp_path / "logs") as shell:
        yield shell


# --- the table


def test_every_command_has_help_and_a_group() -> None:
    """Every command says what it does, belongs to a group, and is told by help with its arguments, in the order of the groups."""
    assert all(c.help and c.group in GROUPS for c in COMMANDS.values())
    order = [GROUPS.index(c.group) for c in COMMANDS.values()]
    assert order == sorted(order)
    assert all(name in COMMANDS and alias not in COMMANDS for alias, name in ALIASES.items())


def test_help(fresh: Shell) -> None:
    """help lists every command; help COMMAND has its arguments and other names; a mistyped one is met with the nearest."""
    listed = fresh.one("help", r.Table)
    assert [row[0].split(" ")[0] for row in listed.rows] == list(COMMANDS)
    for name in (*COMMANDS, *ALIASES):
        told = fresh.one(f"help {name}", r.Table)
        assert told.title.startswith(ALIASES.get(name, name))
        assert told.rows
    assert "also: ?, h" in fresh.one("help help", r.Table).note
    assert "did you mean causes" in fresh.error("help cuases")
    assert "help lists all" in fresh.error("help zzzzzzz")


def test_too_many_words_are_an_error(bundle: Shell) -> None:
    """A command that takes no more words says so, and how it is typed."""
    for c in COMMANDS.values():
        if c.most is not None:
            text = f"{c.name} {' '.join(['1'] * c.most)} surplus"
            assert f"takes no 'surplus': it is {c.usage}" in bundle.error(text)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("cuases", "causes"),
        ("shwo 1", "show"),
        ("OPEN a", "open"),
        ("tial", "tail"),
        ("exti", "exit"),
        ("serach x", "search"),
    ],
)
def test_typos_suggest_the_nearest(fresh: Shell, typed: str, meant: str) -> None:
    """A mistyped command names the one that may be meant."""
    assert f"did you mean {meant}" in fresh.error(typed)


def test_quit(fresh: Shell) -> None:
    """quit, exit and q leave."""
    for text in ("quit", "exit", "q"):
        assert fresh.one(text, r.Leave) == r.Leave()


# --- nothing open, still reading


@pytest.mark.parametrize(
    "text",
    ["causes", "causes all", "show 1", "why 1", "lines 1", "fix 1", "timeline", "timeline x", "top", "unknown", "search x", "mark",
     "save json x.json", "watch 1"],
)  # fmt: skip
def test_nothing_open(fresh: Shell, text: str) -> None:
    """What needs something open says so, and how to open it."""
    assert re.search(r"nothing is (open: open|followed, so)", fresh.say(text))
    assert "tail -n NAMESPACE" in fresh.say(text)


def test_still_reading(fresh: Shell, tmp_path: Path) -> None:
    """While a capture is read and nothing was found, that is said; mark waits for the end."""
    write(tmp_path / "a.log", [HEALTHY])
    fresh.open(tmp_path / "a.log")
    fresh.work.readings.append(Reading(("b.log",)))
    for text in ("show 1", "lines 1", "top"):
        assert fresh.say(text) == "still reading: nothing was found so far"
    assert "still reading" in fresh.error("mark")
    causes, said = fresh.run("causes")
    assert isinstance(causes, r.Causes)
    assert isinstance(said, r.Said)
    assert said.text == "still reading: there may be more"


def test_nothing_found(fresh: Shell, tmp_path: Path) -> None:
    """A healthy capture has an overview that says so; a number has nothing to show."""
    fresh.open(write(tmp_path / "a.log", [HEALTHY] * 3))
    assert not fresh.one("causes", r.Causes).diagnosis.failures
    assert fresh.error("show 1") == "nothing was found in 3 lines"
    assert fresh.one("unknown", r.Said).text == "every failing line was recognised"
    assert fresh.say("top") == "nothing was found in 3 lines"
    fresh.open(write(tmp_path / "b.log", ["2026-11-22T10:00:00.000000Z\terror\tfoo\tsomething that nobody knows"]))
    assert "1 failing line is known to no pattern: unknown" in fresh.error("show 1")
    assert fresh.one("unknown", r.Unknown).diagnosis.unrecognised


# --- findings


def test_findings_of_samples(shell: Shell) -> None:
    """Of every finding, whatever its kind: show, why, lines and fix give it, by number, #number, and cause."""
    causes = shell.one("causes", r.Causes)
    assert causes.diagnosis.failures
    assert shell.one("causes all", r.Causes).whole
    for f in causes.diagnosis.findings:
        assert shell.one(f"show {f.rank}", r.Shown).finding == f
        assert shell.one(f"show #{f.rank}", r.Shown).finding == f
        assert shell.one(f"show {f.cause}", r.Shown).finding.cause == f.cause
        why = shell.one(f"why {f.rank}", r.Why).chain
        assert why[-1] == f
        assert not why[0].explained_by or f.kind is not Kind.FAILURE
        lines = shell.one(f"lines {f.rank}", r.Lines)
        assert (lines.total, len(lines.lines)) == (f.count, min(f.count, 200))
        fixes = shell.run(f"fix {f.rank}")[0]
        if f.remedies:
            assert isinstance(fixes, r.Fixes)
            assert fixes.remedies == tuple(enumerate(f.remedies, 1))
        else:
            assert isinstance(fixes, r.Said)
            assert "nothing to mend" in fixes.text


def test_kinds(catalogue: Catalogue) -> None:
    """What is benign or healthy is a finding, too: its chain is itself, and there is nothing to mend."""
    with Shell(catalogue, sample("17")) as shell:
        others = [f for f in shell.one("causes", r.Causes).diagnosis.findings if f.kind is not Kind.FAILURE]
        assert {f.kind for f in others} == {Kind.BENIGN, Kind.HEALTHY}
        for f in others:
            assert shell.one(f"why {f.rank}", r.Why).chain == (f,)
            assert f.remedies or "it is no failure" in shell.say(f"fix {f.rank}")


def test_wrong_numbers(bundle: Shell) -> None:
    """A number or name that there is not says which there are."""
    n = len(bundle.state.diagnosis().findings)
    for command in ("show", "why", "lines", "fix"):
        for number in ("0", str(n + 1), "#999", "9" * 5000):
            assert f"causes shows 1 to {n}" in bundle.error(f"{command} {number}")
        assert "give a number, or one of" in bundle.error(f"{command} nonsense")
        assert "give a number, or one of" in bundle.error(f"{command} ²")
        assert "takes a number or a cause" in bundle.error(command)
        assert "takes a number or a cause" in bundle.error(f"{command} ''")
    absent = next(
        c for c in bundle.state.catalogue.causes if c not in {f.cause for f in bundle.state.diagnosis().findings}
    )
    assert f"explain {absent}" in bundle.error(f"show {absent}")
    assert "show all" in bundle.error("causes 1") or "show 1" in bundle.error("causes 1")


def test_numbers_are_those_that_were_seen(fresh: Shell, tmp_path: Path) -> None:
    """What comes later changes the order; a number goes on to mean what the last list showed, and it is said when it has moved."""
    a = write(tmp_path / "a.log", no_host(3))
    b = write(tmp_path / "b.log", [REFUSED.replace("UF,URX", "UF,URX")] * 50)
    fresh.open(a)
    assert fresh.one("causes", r.Causes).diagnosis.findings[0].cause == "no-healthy-upstream"
    fresh.open(b)
    moved, shown = fresh.run("show 1")
    assert isinstance(shown, r.Shown)
    assert shown.finding.cause == "no-healthy-upstream"
    assert shown.finding.rank == 2
    assert isinstance(moved, r.Said)
    assert moved.text.startswith("#1, no-healthy-upstream of") and moved.text.endswith("is #2 now")
    assert (
        fresh.one("show 1", r.Shown).finding.cause == "upstream-connection-refused"
    )  # the numbers of the page just shown
    assert fresh.one("filter cause no-healthy-upstream", r.Said)
    assert fresh.one("show 1", r.Shown).finding.cause == "no-healthy-upstream"  # a filter counts anew


def test_a_number_follows_an_edge_into_a_service(fresh: Shell, tmp_path: Path) -> None:
    """When a second client makes an edge a service, the number of the edge means the service; one that is gone is an error."""
    fresh.open(write(tmp_path / "a" / "shop_a-5f9c8d7b64-k2x8w_istio-proxy.log", no_host(2)))
    assert fresh.one("causes", r.Causes).diagnosis.failures[0].subject.kind == "edge"
    fresh.open(write(tmp_path / "b" / "shop_b-5f9c8d7b64-q7t2c_istio-proxy.log", no_host(2)))
    assert fresh.one("show 1", r.Shown).finding.subject.kind == "service"
    fresh.state.numbers[1] = ("proxy-not-ready", fresh.state.diagnosis().findings[0].subject)
    assert "is no longer there: causes shows what is" in fresh.error("show 1")


def test_lines_have_a_limit(bundle: Shell) -> None:
    """lines N COUNT gives so many, and how many there are."""
    f = next(f for f in bundle.state.diagnosis().findings if f.count > 2)
    lines = bundle.one(f"lines {f.rank} 2", r.Lines)
    assert (len(lines.lines), lines.total) == (2, f.count)
    assert "is no number" in bundle.error(f"lines {f.rank} x")
    assert "from 1" in bundle.error(f"lines {f.rank} 0")


def test_fix_options(bundle: Shell) -> None:
    """fix N M is one of the remedies; copy gives its commands alone, a line each; a wrong option says how many there are."""
    f = next(f for f in bundle.state.diagnosis().failures if len(f.remedies) > 1)
    one = bundle.one(f"fix {f.rank} 2", r.Fixes)
    assert one.remedies == ((2, f.remedies[1]),)
    copied = bundle.one(f"fix {f.rank} 2 copy", r.Copied)
    assert copied == bundle.one(f"fix {f.rank} copy 2", r.Copied)
    assert copied.text.splitlines() == [
        line for s in f.remedies[1].steps if s.command for line in s.command.splitlines()
    ]
    whole = bundle.one(f"fix {f.rank} copy", r.Copied).text
    assert copied.text in whole
    assert f"shows 1 to {len(f.remedies)}" in bundle.error(f"fix {f.rank} 99")
    assert "shows 1 to" in bundle.error(f"fix {f.rank} 0")
    assert "is no number" in bundle.error(f"fix {f.rank} x")
    assert "takes one option" in bundle.error(f"fix {f.rank} 1 2")


def test_timeline(bundle: Shell, catalogue: Catalogue) -> None:
    """All starts, or that of one pod; a wrong name says which pods there are."""
    some = bundle.one("timeline", r.Starts)
    assert some.starts
    assert not some.one
    pod = some.starts[0].timeline.pod
    one = bundle.one(f"timeline {pod}", r.Starts)
    assert one.one
    assert [s.timeline.pod for s in one.starts] == [pod]
    assert pod in bundle.error("timeline nonsense")
    with Shell(catalogue, sample("20")) as without:
        assert "no log has the start" in without.say("timeline")


def test_top(shell: Shell) -> None:
    """Failures by each order, singular or plural; another order is an error that names them."""
    for by in ("edge", "workload", "pod", "cause"):
        assert shell.one(f"top {by}", r.Top).by == by
        assert shell.one(f"top {by}s", r.Top).by == by
    assert shell.one("top", r.Top).by == "edge"
    assert "edge" in shell.error("top severity")


def test_unknown(fresh: Shell, tmp_path: Path) -> None:
    """Shapes that no pattern knows, filters or not."""
    fresh.open(
        write(tmp_path / "a.log", [NO_HOST, "2026-11-22T10:00:00.000000Z\terror\tfoo\tsomething that nobody knows"])
    )
    fresh.run("filter cause no-healthy-upstream")
    assert len(fresh.one("unknown", r.Unknown).diagnosis.unrecognised) == 1


# --- explaining


@pytest.mark.parametrize(
    "word", ["UH", "NR", "UF,URX", "no-healthy-upstream", "ECONNREFUSED", "upstream_max_stream_duration_reached"]
)
def test_a_word_alone_is_explained(fresh: Shell, word: str) -> None:
    """A single word of the glossary, typed at the prompt or behind explain, says what it means."""
    typed = fresh.one(word, r.Explained)
    assert typed == fresh.one(f"explain {word}", r.Explained)
    assert typed.explanation.title


def test_a_pasted_line_is_explained(fresh: Shell) -> None:
    """A pasted line gives its cause; one that no pattern knows the nearest patterns and why they do not hold."""
    assert fresh.one(NO_HOST, r.Explained).explanation.causes[0].id == "no-healthy-upstream"
    unknown = fresh.one(
        "2026-11-22T10:00:00.000000Z\terror\tads\tsomething that nobody knows of xds", r.Explained
    ).explanation
    assert unknown.why_not
    assert all(fails for _, fails in unknown.why_not)
    several = fresh.one(f"first line that says nothing\n{NO_HOST}\n", r.Explained)
    assert several.explanation.causes[0].id == "no-healthy-upstream"


def test_a_long_paste_is_cut(fresh: Shell) -> None:
    """Of a paste of a megabyte the beginning is looked at, quickly, and that is said."""
    explained, said = fresh.run("a line that nobody knows\n" * 40_000)
    assert isinstance(explained, r.Explained)
    assert isinstance(said, r.Said)
    assert "only its first 200 lines" in said.text
    assert isinstance(fresh.run("explain " + "UF," * 300_000 + "UF")[0], r.Explained | r.Said)


def test_what_is_neither(fresh: Shell) -> None:
    """A word that nobody knows says what else to do; a number says which commands take one."""
    assert "help lists the commands" in fresh.error("xyzzyplugh")
    assert "show 2, why 2" in fresh.error("#2")
    assert "show 7" in fresh.error("7")
    assert "explain UH" in fresh.error("explain")


def test_run_programs(fresh: Shell) -> None:
    """! gives the program back to be run elsewhere; alone it says what it takes."""
    assert fresh.one("!kubectl get pods | wc", r.Program).command == "kubectl get pods | wc"
    assert "name a program" in fresh.error("!")


def test_output_to_a_file_that_is_there(bundle: Shell, tmp_path: Path) -> None:
    """> does not write over a file: it is an error before the command is run; >> is none. What can be no path is an error."""
    there = write(tmp_path / "there", ["x"])
    assert ">> adds to it" in bundle.error(f"causes > {there}")
    assert bundle.one(f"causes >> {there}", r.Causes)
    assert bundle.one(f"causes > {tmp_path / 'new'}", r.Causes)
    assert "is no path" in bundle.error("causes > 'a\0b'")
    assert "too long" in bundle.error(f"causes > {'x' * 5000}")
    assert there.read_text() == "x\n"


# --- search


def test_search(bundle: Shell) -> None:
    """Lines of all that was read; with a count only so many; what is no expression, or is not quoted, is an error."""
    found = bundle.one("search 'warn(ing)?|error'", r.Lines)
    assert found.total == len(found.lines) > 0
    assert all(re.search("warn(ing)?|error", line.text) for line in found.lines)
    assert len(bundle.one("search istio 1", r.Lines).lines) == 1
    assert bundle.one("grep nothing-has-this", r.Lines).total == 0
    assert "no regular expression" in bundle.error("search '('")
    assert "quote an expression with blanks: search 'UF URX'" in bundle.error("search UF URX")
    assert "quote an expression" in bundle.error("search UF URX 3")
    assert "an expression" in bundle.error("search")
    assert "an expression" in bundle.error("search ''")
    assert "from 1" in bundle.error("search UH 0")


def test_captures_that_are_gone(fresh: Shell, tmp_path: Path) -> None:
    """A capture that is there no more is said; the others are looked through."""
    a, b = write(tmp_path / "a.log", [NO_HOST]), write(tmp_path / "b.log", [NO_HOST])
    fresh.open(a, b)
    a.unlink()
    for text in ("search UH", "lines 1"):
        found, said = fresh.run(text)
        assert isinstance(found, r.Lines)
        assert [line.path for line in found.lines] == [str(b)]
        assert isinstance(said, r.Said)
        assert said.text == f"{a}: no longer there, so not looked through"


def test_interrupted(mesh: Shell) -> None:
    """A look that a person stops gives what it has and says that it is not all."""
    mesh.state.interrupted = lambda: True
    for text in ("search UH", "lines 1"):
        found, said = mesh.run(text)
        assert isinstance(found, r.Lines)
        assert found.total == 0
        assert isinstance(said, r.Said)
        assert said.text.startswith("stopped")


# --- filters


def causes_left(shell: Shell) -> set[tuple[str, str]]:
    """What the overview shows."""
    result = shell.run("causes")[0]
    return {(f.cause, str(f.subject)) for f in result.diagnosis.failures} if isinstance(result, r.Causes) else set()


CART = ("no-healthy-upstream", "cart.shop.svc.cluster.local:8080")
WEB = ("no-healthy-upstream", "shop/cart -> web.front.svc.cluster.local:80")
EXPIRED = "shop/cart"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("namespace shop", {CART, WEB, "other"}),  # where it goes to, where it comes from, where it is
        ("namespace front", {CART, WEB}),  # by the clients of a service, too
        ("namespace front shop", {CART, WEB, "other"}),
        ("namespace front,shop", {CART, WEB, "other"}),
        ("namespace svc", set()),
        ("namespace cluster", set()),
        ("workload cart", {CART, WEB, "other"}),
        ("workload web", {CART, WEB}),  # a client of cart, and where cart goes to
        ("workload api", {CART}),
        ("workload a?i", {CART}),
        ("workload front/api", {CART}),
        ("workload shop/*", {WEB, "other"}),
        ("workload w", set()),
        ("pod api-*", {CART}),
        ("pod cart-7d6c5f9b84-z6r4p", {WEB, "other"}),
        ("pod api", set()),
        ("cause no-healthy-upstream", {CART, WEB}),
        ("severity critical", set()),
        ("severity error", {CART, WEB, "other"}),
        ("since 10:05", {WEB, "other"}),
        ("since 2026-11-22T10:05:00Z", {WEB, "other"}),
        ("since 2026-11-22T12:05:00+02:00", {WEB, "other"}),
        ("since 2026-11-22T10:05:00", {WEB, "other"}),
        ("since 5m", {"other"}),
        ("since 15m", {WEB, "other"}),
        ("since 0.5h", {CART, WEB, "other"}),
        ("until 10:05", {CART}),
        ("until 9:00", set()),
        ("until 23:59", {CART, WEB, "other"}),
        ("until 15m", {CART}),
    ],
)
def test_each_filter(mesh: Shell, text: str, left: set[object]) -> None:
    """Each field narrows the findings to those that are about it; the sentence says how many failures are left."""
    every = causes_left(mesh)
    other = every - {CART, WEB}
    assert len(other) == 1
    expected = {x for x in left if x != "other"} | (other if "other" in left else set())
    if text.startswith("severity"):
        wanted = Severity(text.split()[1]).rank
        expected = {(f.cause, str(f.subject)) for f in mesh.state.diagnosis().failures if f.severity.rank <= wanted}
    said = mesh.say(f"filter {text}")
    assert causes_left(mesh) == expected
    assert f": {len(expected)} failure" in said
    if not expected:
        assert "filter clear shows all" in mesh.say("causes")
        assert "filter clear shows all" in mesh.error("show 1")
    assert mesh.say("filter clear") == f"no filters: {len(every)} failures"
    assert causes_left(mesh) == every


def test_several_filters(mesh: Shell) -> None:
    """Filters hold together; one can be taken away alone; a value takes the place of the one before."""
    assert mesh.say("filter") == "no filters"
    mesh.run("filter cause no-healthy-upstream; filter since 10:05")
    assert causes_left(mesh) == {WEB}
    assert [row[0] for row in mesh.one("filter", r.Table).rows] == ["cause", "since"]
    mesh.run("filter since 9:00")
    assert causes_left(mesh) == {CART, WEB}
    mesh.run("filter workload api; filter clear since")
    assert causes_left(mesh) == {CART}
    assert "there are cause, workload" in mesh.error("filter clear since")
    mesh.run("filter clear cause workload")
    assert mesh.state.filters == {}


def test_ranks_are_those_of_what_is_shown(mesh: Shell) -> None:
    """With a filter the findings count from 1, and lines of one are all its lines."""
    mesh.run("filter workload shop/*; filter cause no-healthy-upstream")
    assert mesh.one("show 1", r.Shown).finding.subject.source == "shop/cart"
    assert mesh.one("lines 1", r.Lines).total == 4
    assert "1 to 1" in mesh.error("show 2")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("filter nonsense x", "namespace, workload"),
        ("filter naemspace x", "did you mean namespace"),
        ("filter namespace", "takes a value"),
        ("filter namespace ''", "takes a value"),
        ("filter namespace a,,b", "takes a value"),
        ("filter cause no-helthy-upstream", "did you mean no-healthy-upstream"),
        ("filter severity bad", "critical"),
        ("filter severity error critical", "one value"),
        ("filter since yesterday", "give 30m"),
        ("filter since 25:00", "give 30m"),
        ("filter since 10:61", "give 30m"),
        ("filter since 999999999d", "give 30m"),
        ("filter since 0001-01-01T00:00:00+23:00", "give 30m"),
        ("filter since ²m", "give 30m"),
        ("filter since 10:05 10:06", "one value"),
        ("filter clear cause", "there are none"),
    ],
)
def test_wrong_filters(mesh: Shell, text: str, hint: str) -> None:
    """A wrong field or value says what there is, and changes nothing."""
    before = causes_left(mesh)
    assert hint in mesh.error(text)
    assert mesh.state.filters == {}
    assert causes_left(mesh) == before


def test_a_clock_over_midnight(fresh: Shell, tmp_path: Path) -> None:
    """A time of the clock is that of the day before where the logs began on it."""
    times = ("2026-11-21T23:10:00.000Z", "2026-11-21T23:40:00.000Z", "2026-11-22T00:30:00.000Z")
    lines = [access_line("503", "UH", "no_healthy_upstream", host="-", time=t, authority=f"a{i}:80",
                         cluster=f"outbound|80||a{i}.x.svc.cluster.local") for i, t in enumerate(times)]  # fmt: skip
    fresh.open(write(tmp_path / "a.log", lines))
    assert len(causes_left(fresh)) == 3
    for text, n in (("since 23:30", 2), ("since 0:10", 1), ("until 23:30", 1), ("until 0:10", 2), ("until 1:00", 3)):
        fresh.run(f"filter {text}")
        assert len(causes_left(fresh)) == n, text
        fresh.run("filter clear")


def test_filters_without_anything_open(fresh: Shell) -> None:
    """Filters can be set before something is opened."""
    assert fresh.say("filter namespace shop") == "namespace=shop"
    assert "nothing is open" in fresh.say("causes")


# --- settings


def test_settings(fresh: Shell) -> None:
    """set lists all, and changes each."""
    names = [row[0] for row in fresh.one("set", r.Table).rows]
    assert names == ["redact", "limit", "lines", "context", "theme", "keys"]
    for text, name, value in (
        ("redact off", "redact", False), ("redact TRUE", "redact", True), ("redact no", "redact", False), ("limit 0", "limit", 0),
        ("lines 7", "lines", 7), ("context 3", "context", 3), ("theme light", "theme", "light"), ("keys vi", "keys", "vi"),
    ):  # fmt: skip
        assert fresh.say(f"set {text}") == f"{name} is {str(value).lower()} now"
        assert getattr(fresh.state.settings, name) == value


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("set redact", "it is true"), ("set redact maybe", "true, on"), ("set limit -1", "is no number"), ("set limit ²", "is no number"),
        ("set lines 0", "from 1"), ("set lines many", "is no number"), ("set context 99999999999999999999999", "from 0 to 1,000"),
        ("set theme blue", "dark, light, none"), ("set theme drak", "did you mean dark"), ("set keys emcas", "did you mean emacs"),
        ("set colour red", "redact, limit"), ("set them dark", "did you mean theme"),
    ],
)  # fmt: skip
def test_wrong_settings(fresh: Shell, text: str, hint: str) -> None:
    """A wrong name or value says what there is, and changes nothing."""
    before = fresh.state.settings
    assert hint in fresh.error(text).lower() if hint.islower() else hint in fresh.error(text)
    assert fresh.state.settings == before


def test_settings_bound_what_is_shown(mesh: Shell) -> None:
    """lines and context bound what lines and search give."""
    mesh.run("set lines 1; set context 1; filter workload shop/*; filter cause no-healthy-upstream")
    for text in ("lines 1", "search UH"):
        (line,) = mesh.one(text, r.Lines).lines
        assert len(line.after) == 1


# --- marks, notes, reports


def test_mark_and_diff(fresh: Shell, tmp_path: Path) -> None:
    """diff sets what was opened since the mark against what was there before it: what ended is not kept alive by the sum."""
    assert "mark remembers" in fresh.error("diff")
    good = [
        access_line(time=f"2026-11-22T10:{m:02d}:{s:02d}.000Z", request_id=f"g{m}{s}")
        for m in (0, 30)
        for s in range(60)
    ]
    before = write(tmp_path / "before.log", [*no_host(20), *good[:60]])
    after = write(tmp_path / "after.log", good[60:])
    fresh.open(before)
    assert "marked" in fresh.say("mark")
    assert "open a capture of later" in fresh.error("diff")
    fresh.open(after)
    compared = fresh.one("diff", r.Compared)
    assert [(c.change, c.cause) for c in compared.comparison.changes] == [(Verdict.GONE, "no-healthy-upstream")]
    assert compared.comparison.after.lines == 60
    assert (datetime.now(UTC) - compared.since).total_seconds() < 60


def test_watch_needs_something_live(bundle: Shell) -> None:
    """watch of a capture says that nothing can change there; the list is empty, and can be cleared."""
    assert "tail -n NAMESPACE follows" in bundle.error("watch 1")
    assert bundle.one("watch", r.Said).text == "nothing is watched"
    assert bundle.say("watch clear") == "nothing is watched"


def test_notes(fresh: Shell) -> None:
    """note keeps the text as it stands, with the time; alone it lists all."""
    assert fresh.say("note") == "no notes"
    fresh.run("note it's back; | > since 'ten'")
    fresh.run("note second")
    rows = fresh.one("note", r.Table).rows
    assert [row[1] for row in rows] == ["it's back; | > since 'ten'", "second"]
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d", row[0]) for row in rows)


def test_history(fresh: Shell) -> None:
    """history lists what was typed with its number, or only lines with a text."""
    assert fresh.say("history") == "nothing was typed so far"
    fresh.state.history += ["open a", "causes", "open b"]
    assert fresh.one("history", r.Table).rows == (("1", "open a"), ("2", "causes"), ("3", "open b"))
    assert fresh.one("history open", r.Table).rows == (("1", "open a"), ("3", "open b"))
    assert fresh.say("history nothing of it") == "nothing was typed that has it"


# --- patterns


def test_patterns(fresh: Shell) -> None:
    """How many there are; one of them; those of a cause; a wrong name suggests the nearest."""
    book = fresh.state.catalogue
    listed = fresh.one("patterns", r.Table)
    assert sum(int(row[1].replace(",", "")) for row in listed.rows) == len(book.patterns)
    pattern = book.patterns[0]
    assert fresh.one(f"patterns {pattern.id}", r.PatternShown).pattern is pattern
    rows = fresh.one("patterns no-healthy-upstream", r.Table).rows
    assert rows
    assert all(book.by_id[row[0]].cause == "no-healthy-upstream" for row in rows)
    assert f"did you mean {pattern.id}" in fresh.error(f"patterns {pattern.id[:-1]}")
    assert "no pattern is named" in fresh.error(f"patterns {'x' * 100_000}")


PACK = """
format: istio-log
patterns:
  - id: our-trouble
    cause: xds-unreachable
    when:
      message: {contains: '%s'}
    examples:
      - message: '%s'
    near_misses:
      - message: 'nothing of the kind'
"""


def test_reload(tmp_path: Path) -> None:
    """reload reads the pattern files anew and the captures with them: what a changed pattern says counts, and the mark is gone."""
    pack = tmp_path / "pack"
    write_pack(pack, "the flux is low")
    book = Catalogue.load(pack)
    log = write(tmp_path / "a.log", [f"2026-11-22T10:00:0{i}.000000Z\terror\tfoo\tthe flux is high" for i in range(3)])
    with Shell(book) as shell:
        shell.state.patterns = (str(pack),)
        shell.open(log)
        shell.run("mark")
        assert "xds-unreachable" not in {f.cause for f in shell.state.diagnosis().findings}
        write_pack(pack, "the flux is high")
        said = shell.say("reload")
        assert f"reading {log} again" in said
        assert "the mark is gone" in said
        assert shell.work.wait(20)
        assert {f.cause: f.count for f in shell.state.diagnosis().findings} == {"xds-unreachable": 3}
        assert shell.state.diagnosis().seen.lines == 3
        assert "no mark" in shell.error("diff")
        assert shell.one("lines 1", r.Lines).total == 3
        shell.state.patterns = (str(tmp_path / "missing"),)
        assert "no folder of patterns" in shell.error("reload")
        assert shell.state.diagnosis().findings[0].count == 3
        shell.state.patterns = (str(pack),)
        log.unlink()
        shell.run("reload")
        assert any("no such file" in m and "counts no more" in m for m in shell.messages())
        assert not shell.state.diagnosis().findings


def write_pack(folder: Path, text: str) -> None:
    """A pattern pack with one cause and one pattern, which looks for a text."""
    folder.mkdir(exist_ok=True)
    (folder / "patterns.yaml").write_text(PACK % (text, text))


# --- anything a person types

PLAUSIBLE = (
    "1", "2", "#1", "0", "-1", "²", "9" * 20, "all", "copy", "clear", "x", "''", "no-healthy-upstream", "UH", "30m", "10:05", "2026-11-22",
    "9999-12-31T23:59:59-23:59", "redact", "limit", "off", "-n", "--since", "--tail", "--help", "-A", "-", "~", "~nobody/x", "*", "**", "[",
    "(", "(a+)+$", "\\", "a\0b", "json", "text", "capture", "\ud800", "é", ">", ">>", "|", ";", "#", "!", "'", '"',
)  # fmt: skip
WORDS = st.one_of(
    st.sampled_from([*PLAUSIBLE, *FILTERS]),
    st.text(max_size=8).filter(lambda w: not any(c in w for c in "/.~*?[")),  # nothing large is opened
)
TYPED = sorted((set(COMMANDS) | set(ALIASES)) - {"tail", "follow"})
"""Commands of which any use is of no consequence outside a folder of their own."""


@settings(max_examples=250, deadline=None)
@given(text=st.one_of(
    st.text(),
    st.builds(lambda name, some: " ".join([name, *some]), st.sampled_from(TYPED), st.lists(WORDS, max_size=4)),
))  # fmt: skip
def test_nothing_that_is_typed_raises(mesh_for_all: Shell, text: str) -> None:
    """Whatever is typed gives results, or an error that says something; the state stays usable."""
    for statement, result in execute(text, mesh_for_all.state):
        assert statement.name == "" or statement.name == "!" or statement.name in {*COMMANDS, *ALIASES}
        assert not isinstance(result, r.Said) or result.text
    assert isinstance(mesh_for_all.state.diagnosis(), Diagnosis)
    mesh_for_all.state.filters.clear()


@pytest.fixture(scope="module")
def mesh_for_all(catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """One for many examples, in a folder of its own."""
    folder = tmp_path_factory.mktemp("anything")
    before = Path.cwd()
    os.chdir(folder)
    patch = pytest.MonkeyPatch()
    patch.setenv("HOME", str(folder))
    patch.setenv("PATH", str(folder))  # no istioctl
    try:
        with Shell(catalogue, write(folder / "a.log", [NO_HOST, REFUSED, HEALTHY])) as shell:
            yield shell
    finally:
        os.chdir(before)
        patch.undo()


@settings(max_examples=60, deadline=None)
@given(words=st.lists(WORDS.filter(lambda w: "save" not in w), max_size=4))
def test_words_of_tail_never_raise(mesh_for_all: Shell, words: list[str]) -> None:
    """The options of tail are understood or refused, with the way to its help; nothing leaves the program."""
    followed: list[object] = []
    work = mesh_for_all.work
    work.follow = lambda name, **options: followed.append(options)  # type: ignore[method-assign]
    try:
        results = [result for _, result in execute(" ".join(["tail", *words]), mesh_for_all.state)]
    finally:
        del work.follow  # type: ignore[method-assign]
    assert results or not words
    assert all(isinstance(result, r.Said | r.Program | r.Explained | r.Causes | r.Shown) for result in results)


def test_options_of_tail(fresh: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tail hands its options on: names in any place, namespaces with commas, ten minutes back in a cluster and all of a local file."""
    calls: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(fresh.work, "follow", lambda name, **options: calls.append((name, options)))
    monkeypatch.setenv("HOME", str(tmp_path))
    now = datetime.now(UTC)

    def options(text: str) -> dict[str, object]:
        assert fresh.say(text).startswith("following")
        return calls.pop()[1]

    o = options(
        "tail deploy/a -n shop,front -n istio-system pod-b --app --exclude x -c istio-proxy --context c1 --revision r -l app=a --wait"
    )
    assert o["inputs"] == ["deploy/a", "pod-b"]
    assert o["namespaces"] == ["shop", "front", "istio-system"]
    assert (o["app"], o["wait"], o["revision"], o["selector"], o["contexts"], o["containers"], o["exclude"]) == (
        True, True, "r", "app=a", ["c1"], ["istio-proxy"], ["x"]
    )  # fmt: skip
    assert 590 < (now - o["since"]).total_seconds() < 610
    assert options("tail ~/a.log") | {} == options("tail ~/a.log")
    o = options("tail ~/a.log")
    assert o["inputs"] == [str(tmp_path / "a.log")]
    assert o["since"] is None
    assert 1790 < (now - options("tail -A --since 30m")["since"]).total_seconds() < 1810
    assert (options("tail --tail 5")["since"], options("tail --tail 5")["tail_lines"]) == (None, 5)
    assert options("tail --tail -1")["tail_lines"] > 1 << 60
    assert "--kubeconfig" in fresh.say("tail --help")
    for text in ("tail --nonsense", "tail -n", "tail --tail x", "tail --since x"):
        assert re.search("tail --help|is no number|give 30m", fresh.error(text)), text


def test_since_of_tail_is_of_now(mesh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """--since 30m is half an hour before now, whatever the captures say that are open."""
    found: list[datetime] = []
    monkeypatch.setattr(mesh.work, "follow", lambda name, **options: found.append(options["since"]))
    mesh.run("tail -n shop --since 30m")
    assert abs((datetime.now(UTC) - found[0]).total_seconds() - 1800) < 60


# --- istioctl


def istioctl(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a program of this name on the path."""
    folder.mkdir(exist_ok=True)
    program = folder / "istioctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")


MESSAGE = "Warning [IST0103] (Pod default/web-1) The pod default/web-1 is missing the Istio proxy."


def test_check_runs_istioctl(fresh: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """check reads what istioctl analyze says, also when it exits with its code for messages; the next check takes its place."""
    istioctl(
        tmp_path / "bin",
        f'[ "$*" = "analyze -A" ] || exit 9\necho "{MESSAGE}"\necho "Error: found issues" >&2\nexit 79',
        monkeypatch,
    )
    assert "reading what istioctl analyze says" in fresh.say("check")
    assert fresh.work.wait(20)
    assert [f.count for f in fresh.state.diagnosis().findings] == [1]
    fresh.run("check")
    assert fresh.work.wait(20)
    assert [f.count for f in fresh.state.diagnosis().findings] == [1]
    istioctl(tmp_path / "bin", 'echo "✔ No validation issues found when analyzing all namespaces." >&2', monkeypatch)
    assert "found nothing" in fresh.say("check")
    assert fresh.work.wait(20)
    assert fresh.state.diagnosis().findings == ()


def test_check_says_what_went_wrong(fresh: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing istioctl is told with its words, one that hangs or is stopped ends, one that is not there says what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "istioctl analyze -A > analyze.txt" in fresh.error("check")
    istioctl(tmp_path / "bin", "printf 'Error: no \\033[31mcluster\\377' >&2; exit 1", monkeypatch)
    *_, said = fresh.run("check")
    assert isinstance(said, r.Said)
    assert said.kind == "error"
    assert said.text.startswith("istioctl analyze failed: Error: no")
    istioctl(tmp_path / "bin", "cat; sleep 60 & sleep 60", monkeypatch)
    monkeypatch.setattr(commands.findings, "CHECK_SECONDS", 0.3)
    assert "gave no answer in 0 s: is the cluster reachable?" in fresh.say("check")
    monkeypatch.setattr(commands.findings, "CHECK_SECONDS", 60.0)
    fresh.state.interrupted = lambda: True
    assert "istioctl was stopped" in fresh.say("check")
    (tmp_path / "bin" / "istioctl").write_bytes(b"\0no program")
    assert "istioctl cannot be run" in fresh.say("check")
    assert not fresh.work.paths()


def test_check_reads_a_file(fresh: Shell, tmp_path: Path) -> None:
    """check FILE reads what istioctl said earlier; the same file, written anew, counts in place of what it said before."""
    for n in (1, 3):
        fresh.run(f"check {write(tmp_path / 'analyze.txt', [MESSAGE] * n)}")
        assert fresh.work.wait(20)
        assert fresh.state.diagnosis().findings[0].count == n
    assert "no such file" in fresh.error(f"check {tmp_path / 'missing'}")


# --- the state of the cluster


def test_check_without_a_state(fresh: Shell) -> None:
    """A check or a profile that is named needs a state, and says how to get one."""
    assert "cluster live, or cluster PATH, then check endpoints" in fresh.error("check endpoints")
    assert "cluster live" in fresh.error("check adoption")


def test_check_answers_from_the_state(fresh: Shell) -> None:
    """check shows all answers, those of a profile, or of some checks."""
    fresh.work.check_against(snapshot(service("reviews"), pod("reviews-v1-6c9dbf6b45-s2fnt", ready=False)))
    assert "none of the 1 pods of service reviews is ready" in fresh.shown("check")
    (survey,) = fresh.run("check adoption")
    assert isinstance(survey, r.Surveyed) and survey.survey.profile.name == "adoption"
    (survey,) = fresh.run("check endpoints")
    assert isinstance(survey, r.Surveyed) and [a.name for a in survey.survey.answers] == ["endpoints"]
    assert "name one of endpoints" in fresh.error("check endpoints endpoinds")
    assert "not checked against" in fresh.say("cluster off")
    assert fresh.work.snapshot is None


def test_a_finding_is_checked(catalogue: Catalogue) -> None:
    """With a state findings are confirmed by it, and check N shows the answers for one."""
    with Shell(catalogue, sample("03")) as shell:
        name, namespace = shell.state.finding("no-healthy-upstream").facts["host"].split(".")[:2]
        assert "no state of the cluster is loaded" in shell.error("check 1")
        shell.work.check_against(snapshot(service(name, namespace)))
        assert "selects no pod" in shell.shown("check no-healthy-upstream")
        assert "selects no pod" in shell.shown("show no-healthy-upstream")
        assert shell.state.finding("no-healthy-upstream").confidence is Confidence.CONFIRMED


def test_cluster_reads_files(fresh: Shell, tmp_path: Path) -> None:
    """cluster PATH loads manifests in the background and says what they hold; what is not there is told."""
    state = {"apiVersion": "v1", "kind": "List", "items": [service("reviews").raw]}
    path = write(tmp_path / "state.json", [json.dumps(state)])
    fresh.run(f"cluster {path}")
    until(lambda: fresh.work.snapshot is not None, "a state")
    assert [str(o.ref) for o in fresh.work.snapshot.objects] == ["Service shop/reviews"]
    fresh.run(f"cluster {tmp_path / 'missing'}")
    until(lambda: any("missing" in m.text and m.kind == "error" for m in fresh.work.messages), "an error")


def test_open(fresh: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """open takes relative paths, ~, patterns, folders, and names with blanks; it says what it reads, or what is not there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a.log", "b.log", "sub/c d.log"):
        write(tmp_path / name, [NO_HOST])
    assert fresh.say("open ~/a.log") == "reading ~/a.log …"
    assert fresh.work.wait(20)
    assert fresh.say("open 'sub/c d.log' [b].log") == "reading sub/c d.log, [b].log …"
    assert fresh.work.wait(20)
    assert fresh.state.diagnosis().findings[0].count == 3
    assert fresh.one("lines 1", r.Lines).total == 3
    assert "is open already" in fresh.error("open a.log")
    for text, hint in (
        ("open", "open sample_logs"), ("open missing.log", "no such file"), ("open *.txt", "nothing matches"), ("open -", "save it"),
        ("open /dev/null", "cannot be read twice"), ("open ''", "is no path"), ("open 'a\0b'", "NUL"), (f"open {'x' * 5000}", "too long"),
        ("open ~nobody-of-that-name/x", "no such file"),
    ):  # fmt: skip
        assert hint in fresh.error(text), text
    assert fresh.work.inputs == ["~/a.log", "sub/c d.log", "[b].log"]


def test_stop_without_work(fresh: Shell) -> None:
    """stop says when there is nothing to end."""
    assert fresh.say("stop") == "nothing is read or followed"


def test_schema_of_saved_json(bundle: Shell, tmp_path: Path) -> None:
    """save json writes what the schema says; see test_saving for the rest."""
    schema = json.loads((Path(commands.__file__).parents[2] / "diagnosis" / "diagnosis.schema.json").read_text())
    bundle.run(f"save json {tmp_path / 'a.json'}")
    jsonschema.validate(json.loads((tmp_path / "a.json").read_text()), schema)


def test_a_state_waits_for_nothing(fresh: Shell, tmp_path: Path) -> None:
    """open returns at once: the reading goes on behind it."""
    fresh.run(f"open {write(tmp_path / 'a.log', [NO_HOST] * 2000)}")
    until(lambda: fresh.state.diagnosis().seen.lines == 2000, "it is read behind the prompt")
