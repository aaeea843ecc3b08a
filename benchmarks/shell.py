"""Measures the interactive shell on a pseudo-terminal: how soon one can type, and how soon a key is echoed.

    python benchmarks/shell.py [--lines 1000000] [--rate 5000] [--keys 300]

A capture of a million lines is opened while a mesh of 50 containers, served by another process, writes 5,000 lines a second. Keys are
typed while the capture is read, and again when it has been; each is timed from its being written to the terminal until it is drawn.
The output is Markdown.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

from live import kubeconfig, server, told  # noqa: E402

from tests.shell.terminals import SHELL, Pty  # noqa: E402

PROMPT = "meshdiag> "
LINES = ("note ", "filter pod ", "explain ", "show ", "")
"""What stands before the keys that are timed: with and without something to complete."""

KEYS = "QZJXKV"
"""Letters that nothing else on the screen has."""

PAUSE = 0.07
"""Seconds between keys: a quick typist."""


def first_prompt(environment: Mapping[str, str], runs: int) -> list[tuple[float, float]]:
    """(seconds to the prompt, seconds to the first key's echo) of new processes."""
    out = []
    for _ in range(runs):
        with Pty(environment=environment) as shell:
            shell.until(PROMPT)
            prompt = time.perf_counter() - shell.began
            echoed = typed(shell, "Q")
            out.append((prompt, prompt + echoed))
    return out


def typed(shell: Pty, key: str) -> float:
    """Seconds until a key is drawn."""
    start = len(shell.output)
    began = shell.send(key)
    shell.until(key, start)
    return time.perf_counter() - began


def keys(shell: Pty, count: int, seconds: float = 600) -> Iterator[float]:
    """Types lines; how long each key took. Ends after so many keys, or seconds."""
    end = time.perf_counter() + seconds
    done = 0
    while done < count:
        for before in LINES:
            pause(shell, 0.1)
            shell.send(before)
            pause(shell, 0.2)
            for key in KEYS:
                yield typed(shell, key)
                done += 1
                if done >= count or time.perf_counter() > end:
                    return
                pause(shell, PAUSE)
            shell.send("\x03")


def pause(shell: Pty, seconds: float) -> None:
    """Reads on for a while."""
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0:
        shell.read(left)


def row(name: str, times: list[float]) -> str:
    """A row of the table."""
    some = sorted(times)
    at = min(len(some) - 1, int(len(some) * 0.99))
    return (
        f"| {name} | {len(some)} | {statistics.median(some) * 1e3:.0f} | {some[at] * 1e3:.0f} | {some[-1] * 1e3:.0f} |"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--keys", type=int, default=300)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {**os.environ, "HOME": name, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
        environment.setdefault("MESHDIAG_CACHE_DIR", str(folder / "cache"))
        subprocess.run(
            [*SHELL, "-c", "patterns"], env=environment, stdout=subprocess.DEVNULL, check=True
        )  # fills the cache
        times = first_prompt(environment, options.runs)
        print("### Time to the first prompt\n\n| what | best | median | worst |\n| --- | --- | --- | --- |")
        for what, some in (("prompt (ms)", [t[0] for t in times]), ("first key echoed (ms)", [t[1] for t in times])):
            print(f"| {what} | {min(some) * 1e3:.0f} | {statistics.median(some) * 1e3:.0f} | {max(some) * 1e3:.0f} |")
        capture = folder / "million.log"
        generate = [sys.executable, str(HERE / "generate.py"), "--lines", str(options.lines), "--mixed", str(capture)]
        subprocess.run(generate, stdout=subprocess.DEVNULL, check=True)
        load = ["-m", "tests.live.load", "--containers", "50", "--rate", str(options.rate), "--seconds", "600"]
        with server(*load) as api:
            config = kubeconfig(folder, told(api)["url"])
            command = [*SHELL, str(capture), "-A", "--kubeconfig", str(config)]
            with Pty(command, environment, folder=ROOT) as shell:
                shell.until(PROMPT)
                reading = list(keys(shell, options.keys, 8))
                shell.until(f"read {capture}"[:40], seconds=120)
                pause(shell, 6)
                loaded = list(keys(shell, options.keys))
        print("\n### Keys (ms)\n\n| while | keys | median | 99 % | max |\n| --- | --- | --- | --- | --- |")
        print(row(f"{options.lines:,} lines are read, {options.rate:,} lines/s begin", reading))
        print(row(f"{options.lines:,} lines are loaded, {options.rate:,} lines/s come", loaded))


if __name__ == "__main__":
    main()
