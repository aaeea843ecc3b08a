"""The compiled reader: whatever stands in a block, it stays within its room; and what happens where there is none that can be used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

import meshdiag
from meshdiag.framing import native
from tests.conftest import HEALTHY, REFUSED, ROOT

sys.path.append(str(ROOT))
import hatch_build

FUZZ = Path(__file__).with_name("fuzz_kernel.py")
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


def fuzz(folder: Path, rounds: int, **environment: str) -> str:
    """Runs the fuzzer on the library of a folder; what it said when it failed."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, FUZZ, folder, str(rounds)],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
    )
    return "" if done.returncode == 0 else done.stderr[-4000:] or str(done.returncode)


LEVELS = pytest.mark.parametrize("level", [0, 1, 2])
"""Of the instructions that may be used: all machines have those of 0."""


@needs_compiler
@LEVELS
def test_hostile_blocks(tmp_path: Path, level: int) -> None:
    assert hatch_build.build(tmp_path / "_kernel.so", ["-O3", "-Wall", "-Wextra", "-Werror", f"-DLEVEL={level}"])
    assert fuzz(tmp_path, 200) == ""


@needs_compiler
@LEVELS
def test_hostile_blocks_with_sanitizers(tmp_path: Path, level: int) -> None:
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-DLEVEL={level}"]
    runtimes = []
    for name in ("libasan.so", "libubsan.so"):
        found = subprocess.run(
            [COMPILER or "", f"-print-file-name={name}"], capture_output=True, text=True
        ).stdout.strip()
        if Path(found).is_absolute():
            runtimes.append(found)
    if len(runtimes) < 2 or hatch_build.build(tmp_path / "_kernel.so", flags) is None:
        pytest.skip("the compiler has no sanitizers")
    environment = {"LD_PRELOAD": " ".join(runtimes), "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}
    assert fuzz(tmp_path, 25, **environment) == ""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the library is looked for, anew."""
    monkeypatch.setattr(native, "FOLDER", tmp_path)
    native._library.cache_clear()
    yield tmp_path
    native._library.cache_clear()


@pytest.mark.parametrize("content", [None, b"", b"\x7fELF", b"no library at all" * 100, "version", "foreign"])
def test_a_library_that_cannot_be_used(folder: Path, content: bytes | str | None) -> None:
    if isinstance(content, bytes):
        (folder / "_kernel.so").write_bytes(content)
    elif content is not None:
        if COMPILER is None:
            pytest.skip("no C compiler")
        source = folder / "k.c"
        source.write_text(
            "int meshdiag_version(void) { return 999; }" if content == "version" else "int other(void) { return 1; }"
        )
        subprocess.run([COMPILER, "-shared", "-fPIC", "-o", folder / "_kernel.so", source], check=True)
    assert not native.is_there()
    frame = meshdiag.frame([HEALTHY, REFUSED, "x"])
    assert frame["cause"].tolist()[1] == "upstream-connection-refused"
    assert_frame_equal(frame, meshdiag.frame([HEALTHY, REFUSED, "x"], pure=True))


@needs_compiler
def test_the_library_that_is_built_is_used(folder: Path) -> None:
    assert hatch_build.build(folder / "_kernel.so")
    assert native.is_there()


@needs_compiler
def test_an_old_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not know AVX-512 builds the rest."""
    old = tmp_path / "old-cc"
    old.write_text(f'#!/bin/sh\ncase "$*" in *LEVEL*) exec {COMPILER} "$@";; esac\necho "unknown target" >&2; exit 1\n')
    old.chmod(0o755)
    monkeypatch.setenv("CC", str(old))
    assert hatch_build.build(tmp_path / "_kernel.so", ["-O1"])
    assert fuzz(tmp_path, 10) == ""


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler --flag")
    assert hatch_build.build(tmp_path / "_kernel.so") is None
    monkeypatch.setenv("CC", "false")
    assert hatch_build.build(tmp_path / "_kernel.so") is None
    assert not [*tmp_path.iterdir()]
