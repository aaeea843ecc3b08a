"""Time and memory of other programs, and a small table printer."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL = 0.01
"""Seconds between two looks at the memory of a process tree."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The quickest of several runs: wall and CPU seconds (user and system, of the process and its children), its output."""

    wall: float
    cpu: float
    output: str = ""
    code: int = 0


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of measured programs: byte code is cached on disk, as it is for an installed package."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return env | dict(extra or {})


def run(command: Sequence[str | Path], cwd: Path, extra: Mapping[str, str] | None = None) -> Timing:
    """Run once. The output goes to a file: grep stops at the first hit when it writes to /dev/null."""
    with tempfile.TemporaryFile("w+") as out:
        begin = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, env=environment(extra), stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        return Timing(wall, usage.ru_utime + usage.ru_stime, out.read(), process.returncode)


def best(
    command: Sequence[str | Path],
    cwd: Path,
    runs: int,
    extra: Mapping[str, str] | None = None,
    codes: tuple[int, ...] = (0, 1),
) -> Timing:
    """The quickest of `runs` runs. Raises RuntimeError with the program's output when it fails."""
    timings = []
    for _ in range(runs):
        timing = run(command, cwd, extra)
        if timing.code not in codes:
            raise RuntimeError(f"{command[0]} ended with {timing.code}: {timing.output[-500:]}")
        timings.append(timing)
    return min(timings, key=lambda t: t.wall)


def quickest(call: Callable[[], object], runs: int) -> float:
    """Seconds of the quickest of `runs` calls in this process."""
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def peak_memory(command: Sequence[str | Path], cwd: Path, extra: Mapping[str, str] | None = None) -> int | None:
    """The most bytes that the process and its children held together; None where the system does not tell (no Linux).

    The sum of the proportional set sizes: a page that several processes share counts once. (`ru_maxrss` will not do: it is of
    the largest process alone and starts from what the parent held when it forked.) It is looked at every 10 ms.
    """
    if not Path("/proc/self/smaps_rollup").exists():
        return None
    process = subprocess.Popen(
        command, cwd=cwd, env=environment(extra), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    most = 0
    while process.poll() is None:
        most = max(most, sum(map(_held, _tree(process.pid))))
        time.sleep(POLL)
    return most


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            tasks = list(Path(f"/proc/{parent}/task").iterdir())
            for task in tasks:
                found += map(int, (task / "children").read_text().split())
        except OSError:
            pass  # it has ended meanwhile
    return found


def _held(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str] = ()) -> None:
    """Print a Markdown table; numbers stand right. None is shown as a dash."""
    shown = [["–" if cell is None else cell if isinstance(cell, str) else number(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(head), *shown]) for i in range(len(head))]
    right = [all(not isinstance(row[i], str) for row in rows) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        parts = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True)]
        return "| " + " | ".join(parts) + " |"

    print(f"\n### {title}\n")
    print(line(head))
    print("| " + " | ".join("-" * (w - 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)) + " |")
    for row in shown:
        print(line(row))
    for note in notes:
        print(f"\n{note}")
    print(flush=True)


def number(value: object) -> str:
    """Three digits that count: 0.123, 1.23, 12.3, 1,234."""
    if not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
