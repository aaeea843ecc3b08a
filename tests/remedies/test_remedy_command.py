"""`meshdiag remedy` and how remedies look."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshdiag import cli, remedies
from meshdiag.catalogue import Catalogue
from meshdiag.model import Kind, Remedy, Risk, Step
from meshdiag.views.prose import command_lines
from meshdiag.views.remedy import COLOURS, fill_in, markdown, remedy_lines, render
from meshdiag.views.style import Style

CAUSE = "mtls-plaintext-to-strict"
R = Remedy(
    "Accept plaintext for a while",
    (
        Step("Look first.", "kubectl -n prod get peerauthentications"),
        Step("Apply it.", manifest="kind: PeerAuthentication\nmetadata:\n  name: <name>"),
    ),
    verify="It answers.",
    undo="kubectl -n prod delete peerauthentication x",
    why="The server then takes both.",
    risk=Risk.WEAKENS_SECURITY,
    production="Give the client a sidecar.",
    notes=("<name>: 'A' is not used, for it is not a DNS label.",),
)


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    try:
        code = cli.main(["remedy", *argv])
    except SystemExit as e:
        code = int(e.code or 0)
    out = capsys.readouterr()
    return code, out.out, out.err


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, CAUSE, "--set", "namespace=prod", "--set", "workload=cart", "--istio-version", "1.20")
    assert (code, err) == (0, "")
    assert out.startswith("A plaintext client calls a server that demands mTLS") and CAUSE in out.split("\n")[0]
    assert "istioctl x describe pod '<pod>' -n prod" in out and "name: cart-permissive" in out
    assert "security.istio.io/v1beta1" in out
    assert re.search(r"(?m)^Yours to fill in: .*<pod>", out) and "<namespace>" not in out


def test_json(capsys: pytest.CaptureFixture[str], catalogue: Catalogue) -> None:
    code, out, _ = run(capsys, CAUSE, "-o", "json", "--set", "service-namespace=prod")
    got = json.loads(out)
    assert code == 0 and got["cause"] == CAUSE and got["references"]
    assert got["remedies"] == [r.to_dict() for r in remedies.of(catalogue.causes[CAUSE], {"service_namespace": "prod"})]
    assert {"title", "why", "risk", "production", "steps", "verify", "undo", "notes"} == got["remedies"][0].keys()


def test_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, CAUSE, "-o", "markdown")
    assert code == 0 and out.startswith("# A plaintext client calls")
    numbers = re.findall(r"(?m)^## (\d)\.", out)
    assert len(numbers) >= 3 and numbers == sorted(set(numbers)) and numbers[0] == "1"
    assert out.count("```") % 2 == 0 and "```sh" in out and "```yaml" in out
    outside = re.sub(r"(?ms)^ *```.*?^ *```$|`[^`\n]*`", "", out)
    assert not re.search(r"(?<!\\)<", outside), "a bare <x> is HTML"


def test_every_cause_and_output(capsys: pytest.CaptureFixture[str], catalogue: Catalogue) -> None:
    for i, cause in enumerate(catalogue.causes.values()):
        found = remedies.of(cause, {})
        for width in (40, 80, 120):
            for line in render(cause, found, width=width).split("\n"):
                wide = len(line) > width and len(max(re.split(r"\s+", line), key=len)) < width // 2
                assert not wide or line.startswith("       ") or "'" in line or '"' in line, (cause.id, width, line)
        assert markdown(cause, found).count("```") % 2 == 0, cause.id
        if i % 25 == 0:
            assert run(capsys, cause.id)[0] == 0


def test_a_cause_without_remedies_says_so(capsys: pytest.CaptureFixture[str], catalogue: Catalogue) -> None:
    healthy = next(c.id for c in catalogue.causes.values() if c.kind is Kind.HEALTHY)
    for output in ("text", "markdown"):
        code, out, _ = run(capsys, healthy, "-o", output)
        assert code == 0 and "Nothing to do." in out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["no-such-cause"], "no cause is named 'no-such-cause'"),
        (["no-healthy-upstrem"], "did you mean no-healthy-upstream"),
        ([CAUSE, "--set", "namespace"], "give NAME=VALUE"),
        ([CAUSE, "--set", "namepsace=prod"], "did you mean namespace"),
        ([CAUSE, "--set", "zzz=prod"], "there are namespace, pod, workload"),
        ([CAUSE, "--set", "namespace=Prod\x1b[2J"], "'Prod\\x1b[2J' is not a DNS label"),
        ([CAUSE, "--set", "port=99999"], "not a port (1 to 65535)"),
        ([CAUSE, "--istio-version", "latest"], "'latest' is no version"),
        ([CAUSE, "--patterns", "/nowhere"], "no folder of patterns"),
        ([CAUSE, "-o", "xml"], "invalid choice"),
        ([], "required: CAUSE"),
    ],
)
def test_mistakes(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *argv)
    assert code == 2 and out == "" and said in err and "\x1b" not in err


# -- the views


def test_a_remedy_says_its_risk_and_the_alternative_even_in_short() -> None:
    for verbose in (True, False):
        out = "\n".join(remedy_lines(R, 80, Style(False), verbose=verbose, indent="   "))
        assert out.startswith("   → Accept plaintext for a while  [weakens security]")
        assert "In production: Give the client a sidecar." in out and "! <name>: 'A' is not used" in out
        assert "The server then takes both." in out and "verify: It answers." in out
        assert ("manifest:" in out) is ("undo:" in out) is verbose


def test_colours() -> None:
    out = "\n".join(remedy_lines(R, 80, Style(True), verbose=True))
    assert "\x1b[31m[weakens security]\x1b[0m" in out
    assert set(COLOURS) == set(Risk)


def test_steps_that_are_left_out_are_counted() -> None:
    many = Remedy("T", tuple(Step(f"s{i}") for i in range(6)))
    assert "… 2 more steps (-v)" in "\n".join(remedy_lines(many, 80, Style(False), verbose=False))
    assert "more step" not in "\n".join(remedy_lines(many, 80, Style(False), verbose=True))


def test_narrow() -> None:
    lines = list(remedy_lines(R, 40, Style(False), verbose=True, mark="1. "))
    assert lines[:2] == ["1. Accept plaintext for a while", "   [weakens security]"]
    assert lines[lines.index("     $ kubectl -n prod get \\") + 1] == "         peerauthentications"


def test_what_is_left_to_fill_in() -> None:
    assert fill_in([R, Remedy("x", (Step("a <text>", "b '<pod>.<namespace>' <name>"),))]) == [
        "name",
        "pod",
        "namespace",
    ]


def test_hidden_characters_never_reach_the_terminal() -> None:
    evil = "\x1b[2J\u202e"
    r = Remedy(evil, (Step(evil, evil, evil),), evil, evil, evil, Risk.SAFE, evil, (evil,))
    for text in ("\n".join(remedy_lines(r, 80, Style(False), verbose=True)),):
        assert "\x1b" not in text and "\u202e" not in text


def test_a_note_keeps_no_secret(catalogue: Catalogue) -> None:
    cause = catalogue.causes[CAUSE]
    found = remedies.of(cause, {"pod": "?access_token=s3cr3tvalue99&x=1"})
    assert found[0].notes
    for text in (render(cause, found), markdown(cause, found)):
        assert "is not used" in text and "s3cr3tvalue99" not in text


_word = st.text("abc-./={}", min_size=1, max_size=12) | st.sampled_from(
    ["'a b'", '"c d"', "--x='y z'", "'<pod>'", "|", ">", "a\\ b"]
)


@given(st.lists(_word, min_size=1, max_size=14), st.integers(20, 80))
def test_a_broken_command_is_the_same_command(words: list[str], width: int) -> None:
    command = " ".join(words)
    lines = list(command_lines(command, width))
    joined = "\n".join(lines).replace("\\\n", "")  # as a shell does it
    assert shlex.split(joined) == shlex.split(command)
    for line in lines:
        assert len(line) <= width or len(line.strip("\\ ").split(" ")) <= 3
