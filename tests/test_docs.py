"""The documentation: its examples run, its links lead somewhere, its lists are whole.

A fenced block says in its first line what is done with it:

    ```console            `$ command` lines are run in a shell; the output below a command must be in what it prints
    ```console fails      the same for a command that ends with exit code 2
    ```python             run, in one namespace a page
    ```text               right behind a python block: must be in what that printed
    ```yaml file=a/b.yaml written to this file, for the commands behind it (any language)
    ```sh, `no-run`       left alone

`…` in an expected output stands for any text.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import meshdiag
from meshdiag import cli, formats
from meshdiag.catalogue import Catalogue
from meshdiag.shell.state import FILTERS, Settings
from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
_FENCE = re.compile(r"```(\S*)(.*)")
_FILE = re.compile(r"\bfile=(\S+)")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: `options` is what stands behind the language."""

    where: str
    line: int
    language: str
    options: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    fence: re.Match[str] | None = None
    start, lines = 0, list[str]()
    for n, line in enumerate(page.read_text(encoding="utf-8").split("\n"), 1):
        if fence is None and (fence := _FENCE.match(line)):
            start, lines = n, []
        elif fence is not None and line == "```":
            yield Block(f"{page.name}:{start}", start, fence[1], fence[2].strip(), "\n".join(lines))
            fence = None
        else:
            lines.append(line)
    assert fence is None, f"{page.name}:{start}: a block without an end"


def commands(text: str) -> Iterator[tuple[str, str]]:
    """(command, expected output) of a console block."""
    command, output = "", list[str]()
    for line in text.split("\n"):
        if line.startswith("$ "):
            if command:
                yield command, "\n".join(output)
            command, output = line[2:], []
        elif command.endswith("\\"):
            command = f"{command[:-1]}{line.strip()}"
        else:
            output.append(line)
    assert command, "a console block without a command"
    yield command, "\n".join(output)


def missing(expected: str, printed: str) -> str | None:
    """The first part of `expected` (parts are what `…` separates) that `printed` has not, in order; None for none."""
    at = 0
    for part in plain(expected).split("…"):
        found = plain(printed).find(part, at)
        if found < 0:
            return part
        at = found + len(part)
    return None


def plain(text: str) -> str:
    """Without blanks at the ends of lines; with a line end before and behind."""
    return "\n" + "\n".join(line.rstrip() for line in text.strip("\n").split("\n")) + "\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like the repository root, in which examples may write files, with `meshdiag` on the PATH."""
    for name in ("sample_logs", "patterns", "README.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    own = tmp_path / ".own"
    own.mkdir()
    tool = own / "meshdiag"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m meshdiag "$@"\n')
    tool.chmod(0o755)
    package = str(Path(meshdiag.__file__).parents[1])
    monkeypatch.setenv("PATH", os.pathsep.join((str(own), os.environ.get("PATH", os.defpath))))
    monkeypatch.setenv("PYTHONPATH", package)
    for name in ("HOME", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(own))
    for name, value in {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONUTF8": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str, expected: str, codes: tuple[int, ...]) -> None:
    """Run an example in a shell, in the current folder."""
    assert "meshdiag" in command, "mark a block no-run when it is not about meshdiag"
    if (cut := re.search(r"\| *jq ", command)) and shutil.which("jq") is None:
        command, expected = command[: cut.start()], ""  # that part is jq's
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, encoding="utf-8", timeout=120, check=False
    )
    both = done.stdout + done.stderr
    assert "Traceback" not in both, both
    assert done.returncode in codes, f"exit code {done.returncode}:\n{both}"
    if expected.strip():
        lost = missing(expected, both)
        assert lost is None, f"not printed: {lost!r}\nbut:\n{both}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_examples_run(page: Path, here: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "example"}
    printed: str | None = None
    for block in blocks(page):
        before, printed = printed, None
        if named := _FILE.search(block.options):
            (here / named[1]).parent.mkdir(parents=True, exist_ok=True)
            (here / named[1]).write_text(block.text + "\n", encoding="utf-8")
        elif "no-run" in block.options:
            continue
        elif block.language == "console":
            for command, expected in commands(block.text):
                try:
                    run(command, expected, (2,) if "fails" in block.options else (0, 1))
                except (AssertionError, subprocess.TimeoutExpired) as e:
                    pytest.fail(f"{block.where}: $ {command}\n{e}", pytrace=False)
        elif block.language == "python":
            out = io.StringIO()
            code = compile("\n" * block.line + block.text, str(page), "exec")
            with contextlib.redirect_stdout(out):
                exec(code, namespace)
            printed = out.getvalue()
        elif block.language == "text" and before is not None:
            lost = missing(block.text, before)
            assert lost is None, f"{block.where}: not printed: {lost!r}\nbut:\n{before}"


def test_what_the_examples_are_tested_with() -> None:
    assert missing("a\n…\nd", "a\nb\nc\nd") is None
    assert missing("a … c", "x\na b c  \ny") is None
    assert missing("a … c", "c b a") is not None
    assert missing("b", "abc") is not None, "whole lines"
    assert list(commands("$ one \\\n  two\nout\n$ three")) == [("one two", "out"), ("three", "")]


# -- links


def _prose(page: Path) -> str:
    """The page without code."""
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    return re.sub(r"`[^`\n]*`", "", text)


def links(page: Path) -> list[str]:
    """Where a page's links lead."""
    return re.findall(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)", _prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    heads = re.findall(r"(?m)^#{1,6} (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", h.strip().lower()).replace(" ", "-") for h in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}: no such file"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}: no such heading"


def test_every_page_is_found_from_the_index() -> None:
    named = {link.partition("#")[0] for link in links(DOCS / "index.md")}
    assert {p.name for p in DOCS.glob("*.md")} - {"index.md"} <= named


# -- lists that must be whole


def _names(page: str, names: object) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert isinstance(names, set)
    lost = {n for n in names if not re.search(rf"(?<![\w-]){re.escape(n)}(?![\w-])", text)}
    assert not lost, f"docs/{page} does not name {sorted(lost)}"


def _schema(package: str, name: str) -> dict[str, Any]:
    text = resources.files(f"meshdiag.{package}").joinpath(f"{name}.schema.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def _options(command: str) -> set[str]:
    (group,) = (a for a in cli.parser()._actions if a.choices and command in a.choices)
    assert group.choices is not None
    chosen = dict(group.choices)[command]
    return {max(a.option_strings, key=len) for a in chosen._actions if a.option_strings} - {"--help"}


def test_diagnose_names_every_option_and_every_key_of_the_json() -> None:
    _names("diagnose.md", _options("diagnose"))
    finding = _schema("diagnosis", "diagnosis")
    _names("diagnose.md", set(finding["$defs"]["finding"]["properties"]))
    _names("diagnose.md", set(finding["properties"]["summary"]["properties"]))


def test_explain_names_every_option() -> None:
    _names("explain.md", _options("explain"))


def test_shell_names_every_option_setting_and_filter() -> None:
    _names("shell.md", _options("shell") | {f.name for f in dataclasses.fields(Settings)} | set(FILTERS))


def test_patterns_names_every_key() -> None:
    pattern, cause = _schema("catalogue", "pattern-file"), _schema("catalogue", "cause-file")
    parts = pattern["$defs"]
    _names("patterns.md", set(pattern["properties"]))
    for name in ("pattern", "example"):
        _names("patterns.md", set(parts[name]["properties"]))
    _names("patterns.md", set(parts["condition"]["anyOf"][1]["properties"]))
    _names("patterns.md", set(parts["component"]["enum"]))
    _names("patterns.md", set(cause["$defs"]["cause"]["properties"]))


def test_formats_names_every_format_and_wrapper() -> None:
    _names("formats.md", {f.name for f in formats.FORMATS})
    source = (Path(formats.__file__).parent / "wrappers.py").read_text()
    wrappers = set(re.findall(r'wrappers=\("([a-z-]+)",\)', source))
    wrappers |= set(re.findall(r'_described\([^"\n]*"([a-z]+)"', source))
    assert len(wrappers) > 10
    _names("formats.md", wrappers)


def test_python_names_all_that_is_public() -> None:
    _names("python.md", set(meshdiag.__all__))
    _names("python.md", {f.name for f in dataclasses.fields(meshdiag.Finding)})


# -- what is generated


def _generator(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_causes_page_is_up_to_date(catalogue: Catalogue) -> None:
    made: str = _generator("make_causes").render(catalogue)
    assert (DOCS / "causes.md").read_text(encoding="utf-8") == made, (
        "docs/causes.md is out of date: run `python docs/make_causes.py`"
    )
    assert set(re.findall(r"(?m)^### (\S+)$", made)) == set(catalogue.causes)


def test_commands_of_the_shell_are_up_to_date() -> None:
    page = (DOCS / "shell.md").read_text(encoding="utf-8")
    assert _generator("make_shell").render(page) == page, (
        "docs/shell.md is out of date: run `python docs/make_shell.py`"
    )
