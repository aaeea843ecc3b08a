"""A bar only for people who wait."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from meshdiag.sources import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("file", "options", "shown"),
    [
        (Terminal(), {"total": 1000}, True),
        (Terminal(), {}, True),
        (Terminal(), {"total": 1000, "enabled": False}, False),
        (Terminal(), {"total": 1000, "worth": 5000}, False),
        (io.StringIO(), {"total": 1000}, False),
    ],
)
def test_when_there_is_a_bar(file, options, shown):
    with Progress(file=file, **{"worth": 100, **options}) as bar:
        for _ in range(10):
            bar.advance(50)
        assert bool(file.getvalue()) is shown
    assert bar.read == 500
    bar.advance(1)  # late news does not bring it back
    assert bar.read == 501


def test_the_total_adds_up_while_listing():
    file = Terminal()
    with Progress(file=file, worth=100) as bar:
        bar.expect(50)
        bar.advance(50)
        assert not file.getvalue()
        bar.expect(1950)
        bar.advance(950)
        assert "1.95k" in file.getvalue()
        bar.expect(None)
        bar.advance(1)
    assert bar.read == 1001


def test_a_closed_stderr_is_no_terminal():
    file = io.StringIO()
    file.close()
    with Progress(10**9, file=file) as bar:
        bar.advance(10**9)


def test_tqdm_is_not_loaded_without_need():
    code = "import sys, meshdiag.sources as s\nb = s.Progress(5)\nb.advance(5)\nprint('tqdm' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
