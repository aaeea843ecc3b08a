"""Measures `meshdiag.frame` beside `pandas.read_csv` on the same access log: `python benchmarks/frames.py`.

Each is a fresh process, pinned to one core, with the file in the page cache; imports are not counted. Both are measured in turns, so
that other work on the machine hits both alike. The output is Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

import generate  # noqa: E402
from measure import peak_memory, run, table  # noqa: E402

DATA = HERE / "data"
MB = 1e6

_TIMED = """
import json, os, sys, time
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
%s
begin, cpu = time.perf_counter(), time.process_time()
df = %s
print(json.dumps([time.perf_counter() - begin, time.process_time() - cpu, len(df), int(df.memory_usage(deep=True).sum())]))
"""
_READ_CSV = """pandas.read_csv(sys.argv[1], sep=" ", quotechar='"')"""
_WITHOUT = "sys.modules['pyarrow'] = None\nimport pandas"

WAYS: dict[str, tuple[str, str]] = {
    "`pandas.read_csv`": ("import pandas, pyarrow", _READ_CSV),
    "`pandas.read_csv`, no pyarrow": (_WITHOUT, _READ_CSV),
    "`meshdiag.frame`": ("import meshdiag.framing", "meshdiag.framing.frame(sys.argv[1])"),
    "`meshdiag.frame`, no patterns": (
        "import meshdiag.framing\n"
        "some = [c.name for c in meshdiag.framing.COLUMNS if c.name not in ('cause', 'pattern', 'confidence', 'text')]",
        "meshdiag.framing.frame(sys.argv[1], columns=some)",
    ),
    "`meshdiag.frame`, 5 columns": (
        "import meshdiag.framing",
        "meshdiag.framing.frame(sys.argv[1], columns=['time', 'response_code', 'duration', 'destination_host', 'flags'])",
    ),
    "`meshdiag.frame(failures=True)`": (
        "import meshdiag.framing",
        "meshdiag.framing.frame(sys.argv[1], failures=True)",
    ),
    "`meshdiag.frames`": (
        "import meshdiag.framing, pandas\ndef last(it):\n    for df in it: pass\n    return df",
        "last(meshdiag.framing.frames(sys.argv[1], rows=100_000))",
    ),
}
OURS, BASE, BARE = "`meshdiag.frame`", "`pandas.read_csv`", "`pandas.read_csv`, no pyarrow"


def command(way: str, path: Path) -> list[str | Path]:
    """A program that reads the file this way and prints wall and CPU seconds, rows, and bytes of the frame."""
    return [sys.executable, "-c", _TIMED % WAYS[way], path]


def measure(path: Path, runs: int) -> None:
    """Prints the table and the ratios."""
    size = path.stat().st_size
    path.read_bytes()
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    shapes: dict[str, Sequence[float]] = {}
    for _ in range(runs):
        for way in WAYS:
            done = run(command(way, path), ROOT)
            if done.code:
                raise SystemExit(f"{way}: {done.output}")
            wall, _, *shapes[way] = json.loads(done.output.splitlines()[-1])
            seconds[way].append(wall)
    rows: list[list[object]] = []
    for way, times in seconds.items():
        held = peak_memory(command(way, path), ROOT)
        best, bytes_ = min(times), shapes[way][1]
        rows.append([way, best, statistics.median(times), size / best / MB, bytes_ / MB, held / MB if held else None])
    head = ["what", "best s", "median s", "MB/s", "MB of the frame", "peak MB of the process"]
    table(f"Frames: {shapes[OURS][0]:,} lines, {size / MB:.1f} MB, one core", head, rows)
    for base in (BASE, BARE):
        best = min(seconds[base]) / min(seconds[OURS])
        median = statistics.median(seconds[base]) / statistics.median(seconds[OURS])
        print(f"{OURS} is **{best:.2f} times** as fast as {base} (by the medians {median:.2f} times).")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--lines", type=int, default=1_000_000, metavar="N", help="access log lines (default 1,000,000)"
    )
    parser.add_argument("--failing", type=float, default=1.0, metavar="PERCENT", help="of them that fail (default 1)")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs of each (default 5)")
    options = parser.parse_args()
    path = DATA / f"access-{options.lines}-{options.failing:g}.log"
    generate.write(path, options.lines, options.failing / 100)
    print(f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}", end="")
    for name in ("pandas", "pyarrow", "numpy"):
        print(f", {name} {__import__(name).__version__}", end="")
    print()
    measure(path, max(1, options.runs))


if __name__ == "__main__":
    main()
