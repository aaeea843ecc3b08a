"""Results as text: nothing of a log gets to the terminal as it is, and lists fit its width."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshdiag.catalogue import Catalogue
from meshdiag.cluster import Answer, Proof, Ref, Result, Snapshot, Verdict
from meshdiag.cluster.survey import EVERYTHING, Profile, Survey
from meshdiag.diagnosis.windows import Phase, Standing
from meshdiag.model import Problem, Risk
from meshdiag.shell import results as r
from meshdiag.shell.commands import COMMANDS
from meshdiag.shell.lookup import LogLine
from meshdiag.shell.render import LISTS, Look, folded, render
from meshdiag.views.safe import columns, safe
from meshdiag.views.style import LIGHT, Style
from tests.conftest import HEALTHY, NO_HOST, REFUSED, access_line
from tests.shell.states import Shell, no_host, sample, write

WIDTHS = (40, 80, 140)
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PASSWORD = "hunter2hunter2"
EVIL = "\x1b[2J\x1b]52;c;ZXZpbA==\x07\x9b31m\u202eabc\u200b\x08\x7f\r"
"""Clears the screen, writes the clipboard, turns text round, hides it."""

WIDE = "日志" * 30
LEAK = f"token={JWT}&password={PASSWORD} Authorization: Bearer {JWT}"


def hostile(folder: Path) -> Path:
    """Captures of every kind whose lines want to reach the terminal, the clipboard, or an attacker."""
    evil_host = "outbound|80||ev\x1b[31mil.shop.svc.cluster.local"
    access = [
        *no_host(3),
        access_line("503", "UH", "no_healthy_upstream", host="-", path=f"/{EVIL}?{LEAK}", agent=EVIL, authority=f"a{EVIL}:80",
                    cluster=evil_host),
        access_line("503", "UH", "no_healthy_upstream", host="-", cluster=f"outbound|80||{WIDE}.shop.svc.cluster.local", path=f"/?{LEAK}"),
        access_line("503", "UF", f"upstream_reset{{connection_failure|{EVIL}}}", f"delayed_connect_error:_{EVIL}{LEAK}", agent=WIDE),
        access_line("404", "NR", "route_not_found", host="-", authority=f"{'x' * 300}.example.com", cluster="-"),
        access_line("500", "-", "via_upstream", path=f"/{EVIL}"),
        access_line("599", "ZZ", f"{EVIL}{LEAK}"),
    ]  # fmt: skip
    as_json = [
        json.dumps(
            {"start_time": "2026-11-22T10:00:01.000Z", "method": "GET", "path": f"/{EVIL}?{LEAK}", "response_code": 503,
             "response_flags": "UH", "response_code_details": "no_healthy_upstream", "upstream_host": None, "user_agent": EVIL,
             "upstream_cluster": f"outbound|80||{EVIL}.shop.svc.cluster.local", "authority": EVIL, "request_id": f"id{EVIL}"}
        )
    ]  # fmt: skip
    istiod = [
        f"2026-11-22T10:00:00.000000Z\terror\tads\tsomething {EVIL} nobody knows {LEAK}",
        f"2026-11-22T10:00:01.000000Z\twarn\t{EVIL}\t{WIDE} {WIDE}",
        f"2026-11-22T10:00:02.000000Z\terror\tstatus\tFailed to update status for {EVIL}: {LEAK}",
        "2026-11-22T10:00:03.000000Z\twarn\tdelta\tADS:CDS: ACK ERROR ev\x1b[31mil-7d6c5f9b84-z6r4p.shop-1 Internal:Error adding/updating "
        f"cluster(s) outbound|80||{EVIL}.shop.svc.cluster.local: {LEAK}",
    ]
    start = [
        "2026-11-22T10:00:00.000000Z\tinfo\tStarting proxy agent",
        f"2026-11-22T10:00:01.000000Z\twarn\tca\tca request failed, starting attempt 1 in 91.589072ms: {EVIL} {LEAK}",
        f"2026-11-22T10:00:05.000000Z\twarning\tenvoy config\tStreamAggregatedResources gRPC config stream closed: 14, {EVIL}{LEAK}",
        "2026-11-22T10:02:31.000000Z\tinfo\tEnvoy proxy is alive",
    ]
    event = {
        "kind": "Event", "type": "Warning", "reason": "Unhealthy", "count": 3, "lastTimestamp": "2026-11-22T10:00:00Z",
        "message": f"Readiness probe failed: HTTP probe failed with statuscode: 503 {EVIL} {LEAK}",
        "involvedObject": {"kind": "Pod", "name": f"ev{EVIL}il", "namespace": EVIL}, "source": {"component": "kubelet"},
    }  # fmt: skip
    described = [
        f"Name:         ev{EVIL}il-7d6c5f9b84-z6r4p", "Containers:", f"  istio-proxy{EVIL}:", "    State:          Waiting",
        "      Reason:       CrashLoopBackOff", f"      Message:      {EVIL} {LEAK}", "    Last State:     Terminated",
        "      Reason:       OOMKilled",
        "      Exit Code:    137",
    ]  # fmt: skip
    analysis = [f"Warning [IST0103] (Pod {EVIL}/web-1) The pod {EVIL}/web-1 is missing the Istio proxy. {LEAK}",
                f"Error [IST0101] (VirtualService shop/{WIDE}) Referenced host not found: \"{EVIL}\""]  # fmt: skip
    prefixed = [f"ev{EVIL.replace(chr(13), '')}il-7d6c5f9b84-z6r4p istio-proxy {NO_HOST}"]
    write(folder / f"shop_ev\x1b[31mil\u202e{'y' * 80}-7d6c5f9b84-z6r4p_istio-proxy.log", [*access, *start])
    write(folder / "shop_good-5f9c8d7b64-q7t2c_istio-proxy.log", [*access, *start, HEALTHY])
    write(folder / "json.log", as_json)
    write(folder / "discovery.log", istiod)
    write(folder / "events.json", [json.dumps({"kind": "List", "items": [event]})])
    write(folder / "event.jsonl", [json.dumps(event)])
    write(folder / "describe.txt", described)
    write(folder / "analyze.txt", analysis)
    write(folder / "stern.log", prefixed)
    (folder / f"{EVIL.replace(chr(0), '')}.log").write_bytes(NO_HOST.encode() + b"\n")
    (folder / f"broken{EVIL.replace(chr(0), '')}.log.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\0nonsense")
    return folder


@pytest.fixture(scope="module")
def evil(catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell in which hostile captures are open, with notes, a history, filters and a mark as hostile as they are."""
    folder = hostile(tmp_path_factory.mktemp("hostile") / "in")
    with Shell(catalogue, sample("02")) as shell:
        shell.run("mark")
        shell.open(folder)
        shell.state.history += [f"note {EVIL}{LEAK}", WIDE, "x" * 300, "causes"]
        shell.state.notes += [(datetime.now(UTC), text) for text in (f"{EVIL}{LEAK}", WIDE, "x" * 300)]
        yield shell


def results(shell: Shell) -> list[tuple[str, r.Result]]:
    """What every command gives, of every finding, start and pattern that matched, right and wrong."""
    diagnosis = shell.state.diagnosis()
    numbers = [f.rank for f in diagnosis.findings]
    pods = [result.timeline.pod for result in shell.run("timeline")[0].starts]  # type: ignore[union-attr]
    some = ["causes", "causes all", "timeline", "top edge", "top workload", "top pod", "top cause", "unknown", "search .", "search evil 3",
            "note", "history", "filter", "set", "patterns", "help", "diff", "watch", "watch 1", "set redact maybe", "!ls", "#2",
            "tail --help",
            f"search '{EVIL}'", f"show {EVIL}", f"help {EVIL}", f"filter namespace {EVIL} {WIDE}", "filter", "causes", "filter clear",
            f"filter {EVIL} {WIDE}", EVIL, WIDE, "x" * 300, f"explain {LEAK}", f"patterns {EVIL}", f"timeline {EVIL}", f"open {EVIL}",
            f"top {EVIL}", f"save {EVIL} {EVIL}", f"tail --{EVIL}", "UH", "UF,URX", "explain no-healthy-upstream"]  # fmt: skip
    for n in numbers:
        some += [f"show {n}", f"why {n}", f"lines {n}", f"fix {n}", f"fix {n} copy"]
    lines = [line.text for line in shell.run("search .")[0].lines]  # type: ignore[union-attr]
    some += [f"explain {line}" for line in lines[:60]] + lines[:60]
    some += [f"patterns {p}" for p in {p for f in diagnosis.findings for p in f.patterns}]
    some += [f"help {name}" for name in COMMANDS]
    out = [(text, result) for text in some for result in shell.run(text)]
    starts = shell.run("timeline")[0]
    assert isinstance(starts, r.Starts)
    out += [("timeline", r.Starts(starts.diagnosis, (one,), True)) for one in starts.starts]
    assert len(pods) == len(starts.starts) > 1
    out.append(("set context 2", shell.run("set context 2; lines 1; set context 0")[1]))
    now = datetime.now(UTC)
    standings = tuple(
        Standing(f, phase, 3.0, 90.0) for f, phase in zip(diagnosis.failures, [*Phase] * 100, strict=False)
    )
    out.append(("causes", r.Causes(diagnosis, standings, True, f"namespace={EVIL}{WIDE}")))
    out += [("show", r.Shown(diagnosis, s.finding, s)) for s in standings]
    out += [
        ("said", r.Said(text, kind, f"{EVIL} {LEAK}"))
        for text in (EVIL, LEAK, f"a\n{EVIL}\n{LEAK}")
        for kind in ("info", "error")
    ]
    out += [
        ("table", r.Table(f"{EVIL}{WIDE}", ((EVIL, WIDE, LEAK), (WIDE, "x" * 300), (LEAK,), ("a",)), f"{EVIL} {WIDE}"))
    ]
    out += [("lines", r.Lines(f"/{EVIL}{WIDE}{LEAK}/", (LogLine(EVIL, 0, EVIL, (LEAK,), (WIDE,)),), 5))]
    evil = Result("endpoints", Verdict.CONFIRMED, f"{EVIL} {LEAK}", about=None, advice=f"{EVIL}{WIDE}",
                  proofs=(Proof(Ref("Service", EVIL, WIDE), EVIL, LEAK),))  # fmt: skip
    state = Snapshot(f"{EVIL} {LEAK}", problems=(Problem(EVIL, LEAK),))
    answers = tuple(Answer(EVIL, WIDE, (replace(evil, verdict=v),)) for v in Verdict)
    out += [("check", r.Surveyed(Survey(state, Profile(name, EVIL, ()), answers))) for name in (EVERYTHING, "x")]
    out += [
        ("apply", r.Difference(EVIL, LEAK, Risk.SAFE, f"--- {EVIL}\n+++ {LEAK}\n@@ x\n+{EVIL}\n-{WIDE}", owned))
        for owned in ((), (EVIL,))
    ]
    assert {type(result) for _, result in out} >= {*r.Result.__args__} - {r.Leave}
    assert now
    return out


@pytest.fixture(scope="module")
def everything(evil: Shell) -> list[tuple[str, r.Result]]:
    """All results of the hostile captures."""
    return results(evil)


SGR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("style", [Style(False), Style(True), Style(True, LIGHT)], ids=["plain", "dark", "light"])
def test_nothing_raw_and_no_secret(everything: list[tuple[str, r.Result]], width: int, style: Style) -> None:
    """Whatever is in a log, a name, a note, a file's name: no control character but ours is printed, and no token or password."""
    for text, result in everything:
        shown = render(result, Look(width, style))
        plain = SGR.sub("", shown) if style.colour else shown
        assert safe(plain) == plain, text
        assert shown.endswith("\n"), text
        assert JWT not in shown, text
        assert PASSWORD not in shown or text.startswith(("note", "!")), text
        if style.colour:
            assert shown.count("\x1b[0m") * 2 == len(SGR.findall(shown)), text


@pytest.mark.parametrize("width", WIDTHS)
def test_lists_fit(everything: list[tuple[str, r.Result]], width: int) -> None:
    """No line of a list or table is wider than the terminal, whatever the names in it are made of."""
    for text, result in everything:
        if isinstance(result, LISTS):
            for line in render(result, Look(width)).splitlines():
                assert columns(line) <= width, (text, line)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("number", ["02", "03", "08", "13", "20", "bug-report"])
def test_samples_fit(catalogue: Catalogue, width: int, number: str) -> None:
    """Of the samples what is no log line, and no command that a shell takes, fits into the width."""
    with Shell(catalogue, sample(number)) as shell:
        some = ["causes", "causes all", "timeline", "top", "top pod", "unknown", "patterns", "help", "set"]
        some += [f"why {f.rank}" for f in shell.state.diagnosis().findings]
        for text in some:
            for line in shell.shown(text, width).splitlines():
                assert columns(line) <= width, (text, line)
        for f in shell.state.diagnosis().findings if width >= 80 else ():
            for line in shell.shown(f"show {f.rank}", width).splitlines():
                assert columns(line) <= width or line.lstrip().startswith(("> ", "$ ")) or " " not in line.strip(), line


@pytest.mark.parametrize("style", [Style(False), Style(True)])
def test_colours_change_nothing_else(everything: list[tuple[str, r.Result]], style: Style) -> None:
    """With colours the same text is printed."""
    for text, result in everything:
        assert SGR.sub("", render(result, Look(80, Style(True)))) == render(result, Look(80, Style(False))), text


def test_hints_name_commands_of_the_shell(everything: list[tuple[str, r.Result]]) -> None:
    """What is said to go on with can be typed here: no options and commands of the program."""
    for text, result in everything:
        if not isinstance(result, r.Lines | r.Said | r.Shown):
            shown = render(result, Look(200, limit=1))
            assert not re.search(
                r"--limit 0|INPUT…|\(-v\)|--changed-at|`?meshdiag (explain|timeline|diagnose)", shown
            ), (
                text,
                shown,
            )


def test_secrets_can_be_shown(catalogue: Catalogue, tmp_path: Path) -> None:
    """Tokens and passwords are pseudonyms until redaction is set off, in lines, findings and explanations."""
    line = NO_HOST.replace("GET / ", f"GET /?token={JWT}&password={PASSWORD} ")
    with Shell(catalogue, write(tmp_path / "a.log", [line])) as shell:
        for text in ("lines 1", "search UH", "show 1", "causes", "why 1", "top pod", line, f"explain {line}"):
            shown = shell.shown(text)
            assert JWT not in shown and PASSWORD not in shown, text
        shell.run("set redact off")
        assert not shell.state.settings.redact
        for text in ("lines 1", "search UH", "show 1"):
            shown = shell.shown(text, redacted=False)
            assert JWT in shown and PASSWORD in shown, text


def test_limits_are_said(catalogue: Catalogue, tmp_path: Path) -> None:
    """A list that is cut says how much more there is, and how to see it."""
    lines = [
        access_line("503", "UH", "no_healthy_upstream", host="-", cluster=f"outbound|80||s{i}.x.svc.cluster.local")
        for i in range(30)
    ]
    with Shell(catalogue, write(tmp_path / "a.log", lines)) as shell:
        assert "… and 10 more: set limit 0" in shell.shown("causes")
        shell.run("set limit 0; set lines 1")
        assert "set limit 0" not in shell.shown("causes")
        assert "/UH/: 30 lines, 1 shown" in shell.shown("search UH")


def test_lines_around(catalogue: Catalogue, tmp_path: Path) -> None:
    """Found lines are marked among those around them; a line of dashes stands only where lines are left out."""
    path = write(tmp_path / "a.log", [NO_HOST, HEALTHY, NO_HOST, *[HEALTHY] * 4, NO_HOST])
    with Shell(catalogue, path) as shell:
        shell.run("set context 1")
        marks = [line[:2].strip() for line in shell.shown("lines 1").splitlines()[1:-1]]
        assert marks == [">", "", ">", "", "--", "", ">"]


def test_nothing_to_copy() -> None:
    """Of a remedy without commands nothing is copied, which is said; else how many."""
    assert render(r.Copied(""), Look()) == "there is no command to copy\n"
    assert render(r.Copied("a\nb"), Look()) == "copied 2 commands\n"
    assert render(r.Leave(), Look()) == ""


def test_standings(catalogue: Catalogue, tmp_path: Path) -> None:
    """Of what is followed the overview shows how often each comes, or that it is over, and for how long."""
    with Shell(catalogue, write(tmp_path / "a.log", [NO_HOST, REFUSED.replace("reviews", "details")])) as shell:
        one, two = shell.state.diagnosis().failures
        standings = (Standing(one, Phase.ONGOING, 34.0, 60.0), Standing(two, Phase.OVER, 0.0, 125.0))
        shown = render(r.Causes(shell.state.diagnosis(), standings), Look(100))
        assert "34 a minute" in shown
        assert "over 2 min 5 s" in shown
        assert "over for 2 min 5 s" in render(r.Shown(shell.state.diagnosis(), two, standings[1]), Look(100))


TEXT = st.text(st.characters(exclude_categories=[]), max_size=60)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(st.lists(TEXT, min_size=1, max_size=3).map(tuple), max_size=4),
    title=TEXT,
    note=TEXT,
    width=st.integers(40, 90),
)
def test_any_table(rows: list[tuple[str, ...]], title: str, note: str, width: int) -> None:
    """Any texts make a table that fits, with nothing raw in it."""
    shown = render(r.Table(title, tuple(rows), note), Look(width))
    assert safe(shown) == shown
    assert all(columns(line) <= width for line in shown.split("\n"))


@settings(deadline=None, max_examples=60)
@given(text=TEXT, hint=TEXT, width=st.integers(1, 90))
def test_any_sentence(text: str, hint: str, width: int) -> None:
    """Any sentence is printed with nothing raw in it, however narrow the terminal is."""
    shown = render(r.Said(text, "error", hint), Look(width, Style(True)))
    assert safe(SGR.sub("", shown)) == SGR.sub("", shown)
    assert shown.endswith("\n")


@settings(deadline=None, max_examples=100)
@given(
    parts=st.lists(st.tuples(st.text(st.sampled_from("ab 日é"), max_size=20), st.sampled_from(["", "red", "dim"]))),
    width=st.integers(2, 30),
)
def test_folded(parts: list[tuple[str, str]], width: int) -> None:
    """A line with colours is folded without losing a letter or a colour, each part within the width and with its colours closed."""
    style = Style(True)
    line = "".join(style(text, *([colour] if colour else [])) for text, colour in parts)
    found = list(folded(line, width))
    assert all(columns(SGR.sub("", part)) <= width for part in found)
    assert "".join(SGR.sub("", part) for part in found).replace(" ", "") == SGR.sub("", line).replace(" ", "")
    assert all(part.count("\x1b[0m") * 2 == len(SGR.findall(part)) for part in found)
    coloured = [c for part in found for c in re.findall(r"\x1b\[31m([^\x1b]*)", part)]
    assert "".join(coloured).replace(" ", "") == "".join(text for text, colour in parts if colour == "red").replace(
        " ", ""
    )
