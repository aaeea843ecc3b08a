"""What the text before the cursor can go on with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import Diagnosis, Findings
from meshdiag.diagnosis.signals import Pod
from meshdiag.model import MeshdiagError, Origin
from meshdiag.shell.commands import COMMANDS, named
from meshdiag.shell.completion import _GIVES as GIVES
from meshdiag.shell.completion import LIMIT, Candidate, best, complete, quoted
from meshdiag.shell.parse import parse
from meshdiag.shell.state import State
from meshdiag.shell.work import Work
from tests.conftest import SAMPLES

FOLDERS: dict[str, list[tuple[str, bool]]] = {
    "": [(".hidden", True), ("a b.log", False), ("logs", True), ("x;y.log", False), ("new\nline", False), ("esc\x1b[2J", False)],
    "logs/": [("cart.log", False), ("reviews.log", False), ("it's \"here\"", True)],
}  # fmt: skip


def listing(path: str) -> Iterable[tuple[str, bool]]:
    return FOLDERS.get(path, [])


def is_command(word: str) -> bool:
    return named(word) is not None


def is_raw(word: str) -> bool:
    found = named(word)
    return found is not None and found.raw


@pytest.fixture(scope="module")
def state(catalogue: Catalogue) -> State:
    """A state in which a sample was read."""
    work = Work(catalogue)
    work.open([str(SAMPLES / "02-connection-refused")])
    assert work.wait(30)
    return State(catalogue, work)


@pytest.fixture
def texts(state: State) -> Callable[[str], list[str]]:
    return lambda text: [c.text for c in complete(text, state, listing)]


Texts = Callable[[str], list[str]]


def after(text: str, candidate: Candidate) -> str:
    return text[: candidate.start] + candidate.text


def test_every_kind_of_argument_has_its_candidates() -> None:
    """A command cannot ask for what completion does not know."""
    assert {c.takes for c in COMMANDS.values()} - {""} == set(GIVES)


def test_commands(texts: Texts, state: State) -> None:
    assert texts("cau")[0] == "causes"
    assert texts("")[: len(COMMANDS)] == list(COMMANDS)
    assert texts("  ti") == texts("ti")
    (found,) = (c for c in complete("why", state) if c.text == "why")
    assert found == Candidate("why", 0, "why", COMMANDS["why"].help)
    assert "ls" in texts("l")
    assert texts("CAUS") == ["causes"]


@pytest.mark.parametrize("text", ["causes; sh", "causes ;sh", "lines 1 5;  sh", "causes\nsh"])
def test_the_statement_at_the_cursor_counts(texts: Texts, state: State, text: str) -> None:
    assert texts(text)[0] == "show"
    assert complete(text, state)[0].start == text.index("sh")


def test_findings_are_numbers_and_causes_with_their_subjects(texts: Texts, state: State) -> None:
    assert texts("show ")[:2] == ["1", "2"]
    (one,) = (c for c in complete("show ", state) if c.text == "1")
    finding = state.diagnosis().findings[0]
    assert finding.cause in one.meta
    assert str(finding.subject)[:20] in one.meta
    assert finding.cause in texts("show ")
    assert texts("why upstr") == ["upstream-connection-refused"]
    assert texts("show 1 ") == []
    assert texts("lines 1 ") == []


def test_numbers_are_those_that_a_person_saw(state: State) -> None:
    findings = state.diagnosis().findings
    last = findings[-1]
    own = replace(state, numbers={1: (last.cause, last.subject)})
    (one,) = (c for c in complete("show ", own) if c.text.isdigit())
    assert last.cause in one.meta


def test_filters_narrow_the_findings(state: State) -> None:
    own = replace(state, filters={"cause": ("app-error",)})
    numbered = [c for c in complete("why ", own) if c.text.isdigit()]
    assert [c.text for c in numbered] == ["1"]
    assert "app-error" in numbered[0].meta


def test_fix(texts: Texts, state: State) -> None:
    remedies = state.diagnosis().findings[0].remedies
    assert texts("fix 1 ") == [*(str(i) for i, _ in enumerate(remedies, 1)), "copy"]
    assert texts("fix #1 ") == texts("fix 1 ")
    assert texts("fix 1 1 ") == ["copy"]
    assert texts("fix 1 copy ") == []
    assert texts("fix 99 ") == ["copy"]


def test_literals(texts: Texts) -> None:
    assert texts("causes ") == ["all"]
    assert texts("causes all ") == []
    assert "clear" in texts("watch ")
    assert texts("top ")[0] == "edge"
    assert set(texts("help fi")[:2]) == {"filter", "fix"}
    assert texts("stop ") == []
    assert texts("mark ") == []


def test_paths(texts: Texts) -> None:
    assert texts("open ") == ['"a b.log"', "logs/", '"x;y.log"']
    assert texts("open logs/rev") == ["logs/reviews.log"]
    assert texts("open logs/") == ["logs/cart.log", "logs/reviews.log", '"logs/it\'s \\"here\\"/"']
    assert (
        texts("open logs/cart.log lo") == ["logs/", '"a b.log"', '"x;y.log"'][:1] + texts("open logs/cart.log lo")[1:]
    )
    assert texts("open .h") == [".hidden/"]
    assert texts('open "a ') == ['"a b.log"']
    assert texts("open a\\ b") == ['"a b.log"']
    assert texts("open nowhere/") == []
    assert texts("save ") == ["html", "markdown", "json", "text", "capture"]
    assert texts("save json lo")[0] == "logs/"
    assert texts("save json logs/ ") == []


def test_a_menu_shows_the_last_part_of_a_path(state: State) -> None:
    assert [(c.display, c.meta) for c in complete("open logs/c", state, listing)] == [("cart.log", "")]
    assert next((c.display, c.meta) for c in complete("open log", state, listing)) == ("logs/", "folder")


def test_where_the_output_goes(texts: Texts) -> None:
    assert texts("causes > lo")[0] == "logs/"
    assert texts("causes >> lo")[0] == "logs/"
    assert texts("causes >lo")[0] == "logs/"
    assert texts("causes > logs/ ") == []
    assert texts("causes | gr") == []
    assert texts("show 1 | les") == []


@pytest.mark.parametrize(
    "text",
    ["!kubec", "# cau", "show 1 # 2", "note cau", "note ", "explain UH is", "2026-11-22 cau", "| cau", "hello cau"],
)
def test_nothing_is_completed_there(texts: Texts, text: str) -> None:
    assert texts(text) == []


def test_names_that_were_seen(texts: Texts, state: State) -> None:
    assert "ratings-v1" in texts("filter workload ")
    assert texts("filter namespace ") == ["default", "istio-system"]
    pods = texts("filter pod ratings")
    assert pods
    assert all(p.startswith("ratings-v1-") for p in pods)
    assert texts("timeline ratings") == pods
    assert texts(f"filter pod {pods[0]} ratings") == pods[1:]
    assert "upstream-connection-refused" in texts("filter cause ")[:3]
    assert texts("filter severity err") == ["error"]
    assert texts("filter severity error ") == []
    assert "30m" in texts("filter since ")


def test_filters_to_clear(texts: Texts, state: State) -> None:
    assert texts("filter ")[-1] == "clear"
    assert texts("filter clear ") == []
    own = replace(state, filters={"namespace": ("shop",)})
    assert [(c.text, c.meta) for c in complete("filter clear ", own)] == [("namespace", "shop")]


def test_settings(texts: Texts) -> None:
    assert texts("set th") == ["theme"]
    assert texts("set theme ") == ["dark", "light", "none"]
    assert texts("set redact ") == ["true", "false"]
    assert texts("set keys v") == ["vi"]
    assert texts("set nothing ") == []
    assert texts("set keys vi ") == []


def test_words_to_explain(texts: Texts) -> None:
    assert texts("explain UH")[0] == "UH"
    assert texts("explain no-healthy")[0] == "no-healthy-upstream"
    assert "UPE" in texts("UPE"), "where no command is meant"


def test_patterns(texts: Texts, catalogue: Catalogue) -> None:
    some = catalogue.patterns[5].id
    assert texts(f"patterns {some}")[0] == some
    assert len(texts("patterns ")) == LIMIT


def test_tail(texts: Texts) -> None:
    assert "--namespace" in texts("tail --")
    assert texts("tail -n ") == ["default", "istio-system"]
    assert texts("tail --since ")[0] == "5m"
    assert "istio-proxy" in texts("tail -c ")
    assert "ratings-v1" in texts("tail rat")
    assert texts("tail --kubeconfig lo")[0] == "logs/"
    assert texts("tail --context ") == []
    assert texts("tail ./") == []


def test_fuzzy_the_best_first() -> None:
    options = [(v, "") for v in ("xcart", "a-cart", "cart-v2", "c-a-r-t", "CART", "other")]
    assert [v for v, _ in best("cart", options)] == ["cart-v2", "CART", "a-cart", "xcart", "c-a-r-t"]
    assert best("", options) == options
    assert best("cart", options, 2) == best("cart", options)[:2]


def test_each_value_once_and_none_that_a_terminal_would_act_on() -> None:
    options = [("a", "1"), ("a", "2"), ("a\x1b]0;x\x07", ""), ("a\nb", ""), ("a\u202eb", ""), ("a\tb", "")]
    assert best("a", options) == [("a", "1"), ("a\tb", "")]


def test_descriptions_are_harmless(catalogue: Catalogue) -> None:
    state = State(catalogue, Work(catalogue), filters={"namespace": ("a\x1b[31mb\nc",)})
    (found,) = complete("filter clear ", state)
    assert found.meta == "a\\x1b[31mb c"


def test_secrets_stay_secret(state: State) -> None:
    """The description of a finding is redacted as the finding is."""
    from meshdiag.model import Subject
    from meshdiag.shell.completion import names

    finding = replace(state.diagnosis().findings[0], subject=Subject("mesh", "", "password=hunter22"))
    diagnosis = Diagnosis(Findings(), state.catalogue)
    diagnosis.__dict__["findings"] = (finding,)
    key = finding.cause, finding.subject
    assert "hunter22" in names(diagnosis, redacted=False).about[key]
    assert "hunter22" not in names(diagnosis).about[key]


@pytest.mark.parametrize("value", ["plain", "a b", "a;b", "it's", 'say "x"', "back\\slash", "#1", "a|b", "!x", ">", ""])
def test_quoted_words_are_read_back(value: str) -> None:
    (statement,) = parse(f"open {quoted(value)}", is_command, is_raw)
    assert statement.words == (value,)


LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [*COMMANDS, " ", "; ", "|", ">", ">> ", "#", "\n", '"', "'", "\\", "1", "#2", "logs/", "-n ", "clear ", "!"]
        ),
        st.text(max_size=4),
    ),
    max_size=8,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(LINES)
def test_it_never_fails_and_what_it_gives_can_be_read(state: State, text: str) -> None:
    """Each candidate begins within the text, and with it the line can be read."""
    for candidate in complete(text, state, listing)[:30]:
        assert 0 <= candidate.start <= len(text)
        assert "\x1b" not in candidate.text + candidate.display + candidate.meta
        try:
            parse(after(text, candidate).rpartition("\n")[2], is_command, is_raw, script=True)
        except MeshdiagError as e:
            assert "quote" not in str(e), after(text, candidate)


def test_it_is_quick_with_many_pods(catalogue: Catalogue) -> None:
    """5,000 pods: one key takes some milliseconds."""
    names = [f"service-{n % 90}-7d9c5b8f6-{n:05d}" for n in range(5_000)]
    pods = {name: Pod(Origin(f"ns/{name}", "", f"ns-{n % 20}", name, "istio-proxy")) for n, name in enumerate(names)}
    work = Work(catalogue)
    diagnosis = Diagnosis(Findings(pods=pods), catalogue)
    assert diagnosis.findings == ()
    work._ranked = diagnosis
    state = State(catalogue, work)
    assert len(complete("filter pod ", state)) == LIMIT
    times = []
    for text in ("filter pod s", "filter pod 7d9", "filter pod sv4999", "filter pod zzz", "timeline service-12"):
        found = []
        for _ in range(3):
            began = time.perf_counter()
            found = complete(text, state)
            times.append(time.perf_counter() - began)
        assert bool(found) is ("zzz" not in text)
    assert min(times) < 0.005
    assert sorted(times)[len(times) // 2] < 0.02, "half of them, also on a busy machine"


def test_a_folder_is_listed(tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "capture").mkdir()
    (tmp_path / "capture.log").touch()
    monkeypatch.chdir(tmp_path)
    assert [c.text for c in complete("open cap", state)] == ["capture/", "capture.log"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [c.text for c in complete("open ~/cap", state)] == ["~/capture/", "~/capture.log"]
