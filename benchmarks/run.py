"""Measures meshdiag, beside ripgrep, grep and per-line loops with the same expressions on the same file.

    python benchmarks/run.py                 all parts, under three minutes
    python benchmarks/run.py --full          with the sizes of docs/performance.md (2 GB of disk)
    python benchmarks/run.py --part cold     one part; --help lists them
    python benchmarks/run.py --into FILE     puts the tables into a document, between its two marks
    python benchmarks/run.py --clean         deletes benchmarks/data/

The output is Markdown. Times are the best of several runs with the file in the page cache.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

import ere  # noqa: E402
import generate  # noqa: E402
from measure import best, peak_memory, quickest, run, table  # noqa: E402

from meshdiag.catalogue import Catalogue  # noqa: E402
from meshdiag.engine import prefilter  # noqa: E402

DATA = HERE / "data"
BLOCK = 4 << 20
SHARES = (0, 1, 10, 50)
MB = 1e6


@dataclass(slots=True)
class Bench:
    """What the parts share: options, expressions, and the measures that the targets ask for."""

    lines: int
    runs: int
    full: bool
    budget: float
    expressions: tuple[str, ...]
    reached: dict[str, float] = field(default_factory=dict)

    def log(self, lines: int, failing: float, *, as_json: bool = False, mixed: bool = False) -> Path:
        """A generated file, made when it is not there, and read once so that it is in the page cache."""
        kind = ("-json" if as_json else "") + ("-mixed" if mixed else "")
        path = DATA / f"access{kind}-{lines}-{failing:g}.log"
        room(lines * (1_000 if as_json else 450))
        generate.write(path, lines, failing / 100, as_json=as_json, mixed=mixed)
        warm(path)
        return path


def room(wanted: int) -> None:
    """Raises SystemExit when the disk has no room for so many more bytes, and half a gigabyte."""
    DATA.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(DATA).free
    if free < wanted + 500 * MB:
        raise SystemExit(
            f"{DATA}: {free / MB:,.0f} MB are free and {wanted / MB:,.0f} MB are needed: try smaller --lines"
        )


def warm(path: Path) -> None:
    """Read the file once."""
    with path.open("rb") as f:
        while f.read(BLOCK):
            pass


def meshdiag(*arguments: str | Path) -> list[str | Path]:
    """The command line: the installed script, or the module."""
    script = Path(sys.executable).with_name("meshdiag")
    return [script, *arguments] if script.exists() else [sys.executable, "-m", "meshdiag", *arguments]


# --- the whole process beside others ------------------------------------------------------------------------------


def part_compare(bench: Bench) -> None:
    """meshdiag, ripgrep, grep and per-line loops on one file with 1 % failing lines."""
    path = bench.log(bench.lines, 1)
    size = path.stat().st_size
    rows: list[list[object]] = []
    notes = [
        f"The file: {bench.lines:,} lines, {size / MB:.1f} MB. Each program has the same {len(bench.expressions)} expressions."
    ]
    with tempfile.TemporaryDirectory() as folder:
        plain, extended = Path(folder, "patterns"), Path(folder, "patterns.ere")
        plain.write_text("".join(f"{ere.for_ripgrep(e)}\n" for e in bench.expressions))
        translated, left_out = _extended(bench.expressions)
        extended.write_text("".join(f"{e}\n" for e in translated))
        if left_out:
            notes.append(f"`grep` does without {len(left_out)} expressions that have no extended form: {left_out}.")
        programs: list[tuple[str, list[str | Path], dict[str, str]]] = [
            ("`meshdiag diagnose`", meshdiag("diagnose", path), {}),
            ("`meshdiag diagnose -j 1`", meshdiag("diagnose", "-j", "1", path), {}),
        ]
        if shutil.which("rg"):
            programs += [
                ("`rg -c -f`", ["rg", "-c", "-f", plain, path], {}),
                ("`rg -c --no-unicode -f`", ["rg", "-c", "--no-unicode", "-f", plain, path], {}),
            ]
        else:
            notes.append("ripgrep is not installed: left out.")
        if shutil.which("grep"):
            programs.append(("`LC_ALL=C grep -c -E -f`", ["grep", "-c", "-E", "-f", extended, path], {"LC_ALL": "C"}))
        else:
            notes.append("grep is not installed: left out.")
        for name, command, extra in programs:
            try:
                timing = best(command, ROOT, bench.runs, extra)
            except RuntimeError as e:
                notes.append(f"{name} is left out: {e}")
                continue
            memory = peak_memory(command, ROOT, extra)
            hits = int(timing.output) if timing.output.strip().isdigit() else None
            rows.append(_row(name, timing.wall, timing.cpu, size, bench.lines, memory, hits))
    hyper = prefilter.make(bench.expressions)
    data = path.read_bytes()
    wall = quickest(partial(scan, hyper, data), bench.runs)
    rows.append(_row(f"block scan alone ({hyper.name})", wall, wall, size, bench.lines, None, hit_lines(hyper, data)))
    for name, make in _loops(bench.expressions):
        seconds, looked = per_line(make(), data, bench.budget)
        wall = seconds * bench.lines / looked
        rows.append(_row(name, wall, wall, size, bench.lines, None, None))
        notes.append(f"{name}: measured on the first {looked:,} lines ({seconds:.1f} s), the rest is reckoned.")
    whole = rows[0][1]
    for row in rows:
        row.append(float(row[1]) / float(whole))  # type: ignore[arg-type]
    seconds_of = {str(row[0]): float(row[1]) for row in rows}  # type: ignore[arg-type]
    for key, mine, other in (
        ("rg", "`meshdiag diagnose`", "`rg -c -f`"),
        ("rg1", "`meshdiag diagnose -j 1`", "`rg -c -f`"),
        ("rgbytes", "`meshdiag diagnose`", "`rg -c --no-unicode -f`"),
        ("regex", "`meshdiag diagnose -j 1`", "per-line `regex` loop"),
    ):
        if other in seconds_of:
            bench.reached[key] = seconds_of[other] / seconds_of[mine]
    notes.append(
        "Memory is of the whole process tree. ripgrep maps the file, so its figure has pages of the file in it. Only meshdiag "
        "reads fields, classifies, groups, ranks and explains; the others count lines."
    )
    head = ["what", "wall s", "CPU s", "MB/s", "lines/s", "peak MB", "hit lines", "time / meshdiag's"]
    table("Whole process, 1 % of the lines failing", head, rows, notes)


def _row(
    name: str, wall: float, cpu: float, size: int, lines: int, memory: int | None, hits: int | None
) -> list[object]:
    held = memory / MB if memory else None
    return [name, wall, cpu, size / wall / MB, round(lines / wall), held, hits]


def _extended(expressions: Iterable[str]) -> tuple[list[str], list[str]]:
    translated, left_out = [], []
    for expression in expressions:
        try:
            translated.append(ere.translate(expression))
        except ere.Untranslatable:
            left_out.append(expression)
    return translated, left_out


Search = Callable[[bytes], object]


def _loops(expressions: Sequence[str]) -> list[tuple[str, Callable[[], Search]]]:
    parts = (re.sub(r"^\(\?i\)(.*)$", r"(?i:\1)", e) for e in expressions)
    union = "|".join(f"(?:{p})" for p in parts).encode()

    def with_re() -> Search:
        return re.compile(union).search

    def with_regex() -> Search:
        import regex

        return regex.compile(union).search

    return [("per-line `re` loop", with_re), ("per-line `regex` loop", with_regex)]


def per_line(search: Search, data: bytes, budget: float) -> tuple[float, int]:
    """Search line by line for about `budget` seconds; (seconds, lines looked at)."""
    begin = time.perf_counter()
    done = 0
    for line in data[: 64 << 20].splitlines():
        search(line)
        done += 1
        if time.perf_counter() - begin > budget:
            break
    return time.perf_counter() - begin, done


# --- the block scan -----------------------------------------------------------------------------------------------


def scan(finder: prefilter.Prefilter, data: bytes) -> int:
    """Scan in blocks as the engine does; the number of hits."""
    view = memoryview(data)
    return sum(len(finder.ends(view[i : i + BLOCK])) for i in range(0, len(view), BLOCK))


def hit_lines(finder: prefilter.Prefilter, data: bytes) -> int:
    """Lines with a hit."""
    found = 0
    for i in range(0, len(data), BLOCK):
        block = data[i : i + BLOCK]
        found += len({block.rfind(b"\n", 0, end - 1) for end in finder.ends(block)})
    return found


def part_scan(bench: Bench) -> None:
    """The block scan alone, and what it hits in healthy lines."""
    finder = prefilter.make(bench.expressions)
    lines = bench.lines if bench.full else bench.lines // 3
    rows: list[list[object]] = []
    for kind, as_json in (("text", False), ("JSON", True)):
        for share in SHARES if not as_json else SHARES[:2]:
            data = bench.log(lines // (2 if as_json else 1), share, as_json=as_json).read_bytes()
            wall = quickest(partial(scan, finder, data), bench.runs + 2)
            count = data.count(b"\n")
            rows.append(
                [kind, float(share), len(data) / wall / MB, count / wall, 100 * hit_lines(finder, data) / count]
            )
            if not as_json:
                bench.reached[f"scan{share}"] = len(data) / wall / MB
    head = ["format", "failing %", "MB/s", "lines/s", "lines hit %"]
    notes = [f"`{finder.name}`, one core, blocks of 4 MiB, {len(bench.expressions)} expressions."]
    notes += [f"Healthy {kind} lines are hit by: {_who(bench, kind == 'JSON', lines)}." for kind in ("text", "JSON")]
    table("Block scan alone", head, rows, notes)


def _who(bench: Bench, as_json: bool, lines: int) -> str:
    """Which expressions hit healthy lines, in how many of a thousand: a new pattern that does is dear."""
    path = bench.log(lines // (2 if as_json else 1), 0, as_json=as_json)
    with path.open("rb") as f:
        sample = f.read(BLOCK).splitlines()
    counts: Counter[str] = Counter()
    for expression in bench.expressions:
        found = re.compile(re.sub(r"^\(\?i\)(.*)$", r"(?i:\1)", expression).encode()).search
        if n := sum(1 for line in sample if found(line)):
            counts[expression] = n
    if not counts:
        return "none"
    return ", ".join(f"`{e}` {1000 * n / len(sample):.1f} ‰" for e, n in counts.most_common(4))


# --- dense failures -----------------------------------------------------------------------------------------------


def part_dense(bench: Bench) -> None:
    """The whole process at rising shares of failing lines."""
    rows: list[list[object]] = []
    kinds = [("text", False, False), ("JSON", True, False), ("mixed", False, True)]
    for kind, as_json, mixed in kinds if bench.full else kinds[:1]:
        healthy, runs = 0.0, max(bench.runs // 2, 2)
        lines = bench.lines if kind == "text" else bench.lines // 4
        for share in SHARES if kind == "text" else (0, 50):
            path = bench.log(lines, share, as_json=as_json, mixed=mixed)
            size = path.stat().st_size
            one = best(meshdiag("diagnose", "-j", "1", path), ROOT, runs)
            all_ = best(meshdiag("diagnose", "-j", "0", path), ROOT, runs)
            each = 1e6 * (one.wall - healthy) / (lines * share / 100) if share >= 10 else None  # else noise
            healthy = healthy or one.wall
            rows.append(
                [kind, size / MB, float(share), one.wall, size / one.wall / MB, all_.wall, size / all_.wall / MB, each]
            )
            if kind == "text":
                bench.reached[f"whole{share}"] = size / all_.wall / MB
    head = [
        "format",
        "MB",
        "failing %",
        "-j 1: s",
        "MB/s",
        f"-j 0 ({os.cpu_count()} CPUs): s",
        "MB/s",
        "µs per failing line",
    ]
    notes = [
        "The last column: what `-j 1` takes longer than for a healthy file of as many records, for each failing one."
    ]
    table("Whole process by share of failing lines", head, rows, notes)


# --- cold start ---------------------------------------------------------------------------------------------------


def part_cold(bench: Bench) -> None:
    """Start times of fresh processes with a warm disk."""
    small = bench.log(100, 10)
    times = 10 if not bench.full else 25
    rows: list[list[object]] = []

    def row(name: str, command: list[str | Path], key: str = "", extra: dict[str, str] | None = None) -> None:
        timings = [run(command, ROOT, extra) for _ in range(times)]
        walls = [t.wall for t in timings]
        rows.append([name, min(walls), statistics.median(walls)])
        if key:
            bench.reached[key] = min(walls)

    run(meshdiag("diagnose", small), ROOT)  # byte code and caches are there
    row("`python -c pass` (the interpreter)", [sys.executable, "-c", "pass"])
    row('`python -c "import meshdiag"`', [sys.executable, "-c", "import meshdiag"])
    row("`meshdiag --help`", meshdiag("--help"), "help")
    row("`meshdiag diagnose` of 100 lines", meshdiag("diagnose", small), "small")
    row("`meshdiag explain UF`", meshdiag("explain", "UF"))
    with tempfile.TemporaryDirectory() as folder:
        first = run(meshdiag("diagnose", small), ROOT, {"MESHDIAG_CACHE_DIR": folder})
    rows.append(["`meshdiag diagnose` of 100 lines, the very first time (empty cache)", first.wall, first.wall])
    notes = [f"{times} fresh processes each, disk warm, byte code cached as in an installed package."]
    table("Cold start", ["what", "best s", "median s"], rows, notes)


# --- memory -------------------------------------------------------------------------------------------------------


def part_memory(bench: Bench) -> None:
    """Peak memory against the input's size."""
    base = bench.log(300_000, 1)
    unit = base.stat().st_size
    rows: list[list[object]] = []
    for times in (1, 3, 10, 20) if bench.full else (1, 3):
        path = base if times == 1 else DATA / f"repeated-{times}.log"
        if times > 1:
            room(unit * times)
            with path.open("wb") as out:
                for _ in range(times):
                    with base.open("rb") as f:
                        shutil.copyfileobj(f, out, BLOCK)
        row: list[object] = [unit * times / MB]
        for jobs in ("1", "0"):
            command = meshdiag("diagnose", "-j", jobs, path)
            held = peak_memory(command, ROOT)
            timing = run(command, ROOT)
            row += [held / MB if held else None, timing.wall, unit * times / MB / timing.wall]
            if held:
                bench.reached["memory"] = max(bench.reached.get("memory", 0), held / MB)
        rows.append(row)
        if times > 1:
            path.unlink()
    head = ["MB", "-j 1: peak MB", "s", "MB/s", f"-j 0 ({os.cpu_count()} CPUs): peak MB", "s", "MB/s"]
    notes = ["1 % of the lines failing. Larger files are the first one several times over."]
    table("Memory by size of the input", head, rows, notes)


# --- without Hyperscan --------------------------------------------------------------------------------------------


def part_pure(bench: Bench) -> None:
    """Hyperscan against the pure fallback."""
    lines = 10_000 if bench.full else 1_000
    rows: list[list[object]] = []
    for share in (1, 50):
        path = bench.log(lines, share)
        data = path.read_bytes()
        row: list[object] = [float(share)]
        for pure in (False, True):
            finder = prefilter.make(bench.expressions, pure=pure)
            wall = quickest(partial(scan, finder, data), 1 if pure else bench.runs)
            code = f"import meshdiag, sys; meshdiag.diagnose(sys.argv[1], pure={pure})"
            whole = best([sys.executable, "-c", code, path], ROOT, 1 if pure else bench.runs)
            row += [len(data) / wall / MB, whole.wall]
        rows.append([*row, float(row[1]) / float(row[3])])  # type: ignore[arg-type]
    head = ["failing %", "hyperscan: MB/s", "whole s", "re: MB/s", "whole s", "scan ratio"]
    table("Without Hyperscan", head, rows, [f"Files of {lines:,} lines; `whole` is a whole process, one CPU."])


# --- all ----------------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Bench], None]] = {
    "compare": part_compare,
    "scan": part_scan,
    "dense": part_dense,
    "cold": part_cold,
    "memory": part_memory,
    "pure": part_pure,
}


def targets(bench: Bench) -> None:
    """What was wanted beside what was measured, of the parts that ran."""
    wanted: list[tuple[str, str, str, Callable[[float], bool]]] = [
        ("rg", "whole process at least as fast as `rg -c -f`", "{:.2f} times as fast", lambda v: v >= 1),
        ("rg1", "(one process, `-j 1`, beside `rg -c -f`)", "{:.2f} times as fast", lambda v: v >= 1),
        ("rgbytes", "(beside `rg -c --no-unicode -f`)", "{:.2f} times as fast", lambda v: v >= 1),
        ("regex", "at least 100 times a per-line `regex` loop", "{:,.0f} times", lambda v: v >= 100),
        ("memory", "peak memory under 200 MB at every size", "{:.0f} MB", lambda v: v < 200),
        ("help", "`meshdiag --help` under 0.15 s", "{:.3f} s", lambda v: v < 0.15),
        ("small", "a small file under 0.5 s", "{:.3f} s", lambda v: v < 0.5),
        ("scan1", "block scan 1,000 MB/s per core at 1 % failing", "{:,.0f} MB/s", lambda v: v >= 1000),
        ("scan50", "block scan 150 MB/s at 50 % failing", "{:,.0f} MB/s", lambda v: v >= 150),
        ("whole50", "(whole process, all CPUs, at 50 % failing: 150 MB/s)", "{:,.0f} MB/s", lambda v: v >= 150),
    ]
    rows = []
    for key, text, shape, met in wanted:
        if key in bench.reached:
            value = bench.reached[key]
            rows.append([text, shape.format(value), "met" if met(value) else "**not met**"])
    if rows:
        table("Targets", ["target", "measured", ""], rows)


def machine() -> str:
    """What it was measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*: (.+)", info.read_text())):
        cpu = found[1]
    versions = [f"Python {platform.python_version()}"]
    for name in ("hyperscan", "regex"):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    for tool in ("rg", "grep"):
        if shutil.which(tool):
            versions.append(run([tool, "--version"], ROOT).output.splitlines()[0])
    if shutil.which("git") and (ROOT / ".git").exists():
        revision = run(["git", "describe", "--always", "--dirty", "--exclude", "*"], ROOT)
        if revision.code == 0:
            versions.insert(0, f"meshdiag at {revision.output.strip()}")
    return f"{os.cpu_count()} CPUs ({cpu}), {platform.system()} {platform.release()}; {'; '.join(versions)}."


def load() -> str:
    """The load of the last minute: other work on the machine makes the times longer."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"


BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def insert(path: Path, measured: str) -> None:
    """Put the measured text between the marks of a document. Raises SystemExit when it has no marks."""
    text = path.read_text(encoding="utf-8")
    head, found, rest = text.partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not (found and closed):
        raise SystemExit(f"{path} has no lines {BEGIN} and {END}")
    path.write_text(f"{head}{BEGIN}\n{measured.rstrip()}\n\n{END}{tail}", encoding="utf-8")


def measure(bench: Bench, parts: Iterable[str]) -> None:
    """Run the parts and print their tables."""
    print(f"{time.strftime('%Y-%m-%d', time.gmtime())}. {machine()} Load at the beginning: {load()}.", flush=True)
    begin = time.perf_counter()
    for name in parts:
        print(f"{name} …", file=sys.stderr, flush=True)
        PARTS[name](bench)
    targets(bench)
    print(f"Load at the end: {load()}; {time.perf_counter() - begin:.0f} s.")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", action="append", choices=PARTS, metavar="PART", help=f"only: {', '.join(PARTS)}")
    parser.add_argument(
        "--lines", type=int, metavar="N", help="lines of the large file (default 300,000; --full 1,000,000)"
    )
    parser.add_argument("--runs", type=int, metavar="N", help="runs of which the best counts (default 3; --full 7)")
    parser.add_argument("--full", action="store_true", help="large files up to 2 GB, more runs: some ten minutes")
    parser.add_argument("--into", type=Path, metavar="FILE", help="put the output between the marks of this document")
    parser.add_argument(
        "--clean", action="store_true", help="delete benchmarks/data/ (at the end, or alone: only that)"
    )
    options = parser.parse_args()
    if options.clean and not (options.part or options.full or options.into):
        shutil.rmtree(DATA, ignore_errors=True)
        return
    bench = Bench(
        lines=options.lines or (1_000_000 if options.full else 300_000),
        runs=max(options.runs or (7 if options.full else 3), 2),
        full=options.full,
        budget=10.0 if options.full else 4.0,
        expressions=prefilter.expressions(Catalogue.load()),
    )
    if options.into:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            measure(bench, options.part or PARTS)
        insert(options.into, out.getvalue())
    else:
        measure(bench, options.part or PARTS)
    if options.clean:
        shutil.rmtree(DATA, ignore_errors=True)


if __name__ == "__main__":
    main()
