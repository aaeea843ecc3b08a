"""Reports and captures that are written to files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

import meshdiag
from meshdiag.catalogue import Catalogue
from meshdiag.model import MeshdiagError
from meshdiag.shell.saving import KINDS, path_of, write
from meshdiag.testing import Script, lines
from tests.conftest import HEALTHY, NO_HOST, REFUSED
from tests.shell.states import Shell, sample, until
from tests.shell.states import write as file

SCHEMA = json.loads((Path(meshdiag.__file__).parent / "diagnosis" / "diagnosis.schema.json").read_text())
SECRET = 'password=hunter2hunter2 token="abcdefgh12345678"'
LEAKY = NO_HOST.replace('"GET / HTTP', f'"GET /?{SECRET.split()[0]} HTTP')


@pytest.fixture
def shell(catalogue: Catalogue, tmp_path: Path) -> Iterator[Shell]:
    """A shell with three failing lines, one of which has a password."""
    with Shell(
        catalogue, file(tmp_path / "in" / "a.log", [LEAKY, NO_HOST, REFUSED.replace("reviews", "details")])
    ) as shell:
        yield shell


def saved(shell: Shell, kind: str, path: Path) -> str:
    """What a report says."""
    assert shell.say(f"save {kind} '{path}'").startswith(f"saved to {path}")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("number", ["03", "08", "17", "bug-report"])
def test_json_is_of_the_schema(catalogue: Catalogue, tmp_path: Path, number: str) -> None:
    """save json writes the diagnosis as `diagnose -o json` does: valid, and ASCII only."""
    with Shell(catalogue, sample(number)) as shell:
        text = saved(shell, "json", tmp_path / "a.json")
        assert text.isascii()
        assert json.loads(text) == json.loads(shell.state.diagnosis().to_json())
    jsonschema.validate(json.loads(text), SCHEMA)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "capture"])
def test_reports(shell: Shell, tmp_path: Path, kind: str) -> None:
    """Every kind of report has every failure; secrets are pseudonyms unless redaction is off."""
    text = saved(shell, kind, tmp_path / "a")
    for f in shell.state.diagnosis().failures:
        assert f.cause in text
    assert "hunter2" not in text
    shell.run("set redact off")
    assert "hunter2" in saved(shell, kind, tmp_path / "b")


@pytest.mark.parametrize("kind", ["html", "markdown", "text"])
def test_notes_are_in_reports(shell: Shell, tmp_path: Path, kind: str) -> None:
    """Reports for persons have the notes, with nothing in them that a reader would act on."""
    shell.run("note fixed by <b>restart</b>")
    shell.run("note \x1b[31mred")
    text = saved(shell, kind, tmp_path / "a")
    assert "restart" in text
    assert "\x1b" not in text
    assert kind != "html" or "<b>restart" not in text


def test_filters_apply(shell: Shell, tmp_path: Path) -> None:
    """A report has only what the filters leave, and the sentence says which they were."""
    shell.run("filter cause no-healthy-upstream")
    path = tmp_path / "a.json"
    assert shell.say(f"save json {path}") == f"saved to {path} (only cause=no-healthy-upstream)"
    assert {f["cause"] for f in json.loads(path.read_text())["findings"]} == {"no-healthy-upstream"}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_written_over(shell: Shell, tmp_path: Path, kind: str) -> None:
    """A file, folder or link that is there stays as it is."""
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_text("mine")
    link.symlink_to(tmp_path / "nowhere")
    for path in (there, link, tmp_path):
        assert "is there already: name another path" in shell.error(f"save {kind} {path}")
    assert there.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_wrong_uses(shell: Shell, tmp_path: Path) -> None:
    """What cannot be saved, or not there, is an error that says why."""
    for text, hint in (
        ("save", "save html|markdown|json|text|capture PATH"),
        ("save json", "takes a kind and a path"),
        ("save yaml x", "html, markdown"),
        ("save jsno x", "did you mean json"),
        ("save json ''", "is no path"),
        (f"save json {tmp_path}/none/a.json", "No such file"),
        (f"save json {tmp_path / ('x' * 300)}", "name too long"),
        (f"save capture {tmp_path}/c", "nothing was followed"),
    ):
        assert hint in shell.error(text), text
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        assert "Permission denied" in shell.error(f"save json {tmp_path}/closed/a")


def test_home(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """~ is the home folder, of an unknown user a name like any other."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert shell.say("save text ~/report.txt") == f"saved to {tmp_path}/report.txt"
    assert "No such file" in shell.error("save text ~nobody-of-that-name/x")
    assert path_of("~") == tmp_path


def test_while_still_reading(shell: Shell, tmp_path: Path) -> None:
    """A report of what was read so far says that it is not all."""
    shell.work.readings[-1].finished = False
    assert shell.say(f"save text {tmp_path}/a").endswith("; still reading")
    shell.work.readings[-1].finished = True


def test_write(tmp_path: Path) -> None:
    """Output goes into a new file, or to the end of one; text that is no Unicode is written all the same."""
    path = tmp_path / "a"
    write(path, "one\n")
    write(path, "two \udcff é\n", append=True)
    assert path.read_text(encoding="utf-8") == "one\ntwo \\udcff é\n"
    for wrong, append in ((path, False), (tmp_path, True), (tmp_path / "none" / "a", False)):
        with pytest.raises(MeshdiagError):
            write(wrong, "x", append)


def test_a_live_session_reads_back(shell: Shell, tmp_path: Path, catalogue: Catalogue) -> None:
    """save capture writes the lines of a live mesh, during and after it, and they give the same findings when they are read."""
    events = [
        lines("shop", "cart-5f9c8d7b64-k2x8w", "istio-proxy", HEALTHY, NO_HOST, NO_HOST),
        lines("shop", "web-6f7c9d8b5d-q7t2c", "istio-proxy", NO_HOST),
        lines(
            "istio-system",
            "istiod-6f8b9d7c54-w4k2m",
            "discovery",
            "2026-11-22T10:00:00.000000Z\terror\tunknown\tto all",
        ),
    ]
    with Shell(catalogue) as live:
        live.work.follow("shop", inputs=[Script(events, ends=False)])
        until(lambda: live.work.diagnosis().seen.lines == 5, "all lines come")
        until(lambda: len(list(live.work.live_folder.rglob("*.log"))) == 3, "they are kept")  # type: ignore[union-attr]
        until(lambda: sum(p.stat().st_size for p in live.work.live_folder.rglob("*.log")) > 1000, "to the end")  # type: ignore[union-attr]
        assert "meshdiag diagnose" in live.say(f"save capture {tmp_path / 'during'}")
        live.run("stop")
        until(lambda: not live.work.is_live, "it ends")
        assert "meshdiag diagnose" in live.say(f"save capture {tmp_path / 'after'}")
        wanted = [(f.cause, f.subject, f.count, f.state) for f in live.work.diagnosis().findings]
        assert wanted
    for name in ("during", "after"):
        again = meshdiag.diagnose(tmp_path / name, catalogue=catalogue)
        assert [(f.cause, f.subject, f.count, f.state) for f in again.findings] == wanted
        assert again.seen.unrecognised == 1
        assert not again.problems
