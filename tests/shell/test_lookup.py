"""Lines of a finding, and lines in which an expression is found."""

from __future__ import annotations

import bz2
import gzip
import io
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import regex
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import Finding
from meshdiag.model import MeshdiagError
from meshdiag.shell import lookup
from meshdiag.shell.lookup import LogLine, Looked, lines_of, search
from tests.conftest import HEALTHY, NO_HOST, REFUSED, access_line
from tests.shell.states import Shell, no_host, sample, write


def texts(looked: Looked) -> list[str]:
    """The lines that were found."""
    return [line.text for line in looked.lines]


def found(expression: str, *paths: Path, limit: int = 1000, around: int = 0) -> Looked:
    """A search that is not stopped."""
    return search(expression, [str(p) for p in paths], limit, Looked(), around)


def of(shell: Shell, finding: Finding, limit: int = 1000, around: int = 0) -> Looked:
    """The lines of a finding."""
    return lines_of(finding, shell.work.diagnosis(), shell.work.paths(), limit, Looked(), around)


# --- expressions


def test_lines_as_grep_finds_them(tmp_path: Path) -> None:
    """Each line counts once, in order, with its offset and without its end; anchors are those of the line."""
    path = write(tmp_path / "a.log", ["one two two", "two", "", "three", "two one"])
    looked = found("two", path)
    assert looked.lines == [
        LogLine(str(path), 0, "one two two"),
        LogLine(str(path), 12, "two"),
        LogLine(str(path), 23, "two one"),
    ]
    assert looked.total == 3
    assert texts(found("^two$", path)) == texts(found(r"\Atwo\Z", path)) == ["two"]
    assert texts(found("^$", path)) == [""]
    assert found("nothing", path).total == 0


def test_an_expression_stays_in_its_line(tmp_path: Path) -> None:
    """What could match line ends finds the line that has it, not one far above; nothing is found across two lines."""
    path = write(tmp_path / "a.log", ["first", 'b "x" UF', "last"])
    assert texts(found('[^"]*"x"[^"]*UF', path)) == ['b "x" UF']
    assert texts(found(r"\s+UF", path)) == ['b "x" UF']
    assert texts(found(r"(?s)x.*", path)) == ['b "x" UF']
    assert found("first\\s+b", path).total == 0
    assert found("[^z]+", path).total == 3


def test_line_ends_of_windows(tmp_path: Path) -> None:
    """CR LF is a line's end: anchors hold before it, and it is not shown; nor is it in the lines around."""
    path = write(tmp_path / "a.log", ["one", "two", "three"], end="\r\n")
    looked = found("two$", path, around=1)
    assert looked.lines == [LogLine(str(path), 5, "two", ("one",), ("three",))]


def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    """A last line without line feed is found, and is shown behind others."""
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntwo")
    assert texts(found("two", path)) == ["two"]
    assert found("one", path, around=5).lines[0].after == ("two",)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 16, 1 << 20])
def test_blocks_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Lines, offsets and the lines around are the same, wherever a block ends."""
    monkeypatch.setattr(lookup, "BLOCK", block)
    path = write(tmp_path / "a.log", ["ab", "xx ab", "", "b", "aab"])
    assert found("ab", path, around=1).lines == [
        LogLine(str(path), 0, "ab"),
        LogLine(str(path), 3, "xx ab", (), ("",), joined=True),
        LogLine(str(path), 12, "aab", ("b",), (), joined=True),
    ]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    lines=st.lists(st.text(st.sampled_from("ab \té"), max_size=5), max_size=12),
    expression=st.sampled_from(["a", "b$", "^a", "é", "ab?", "[^a]", r"\s"]),
    end=st.sampled_from(["\n", "\r\n"]),
    block=st.integers(1, 9),
    around=st.integers(0, 3),
    limit=st.integers(0, 4),
)
def test_search_is_a_search_of_each_line(
    tmp_path: Path, lines: list[str], expression: str, end: str, block: int, around: int, limit: int
) -> None:
    """It finds the lines in which the expression is found; shown with those around them, no line stands twice, none is left out."""
    path = write(tmp_path / "a.log", lines, end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookup, "BLOCK", block)
        looked = found(expression, path, limit=limit, around=around)
    hits = [i for i, line in enumerate(lines) if regex.search(expression, line)]
    assert looked.total == len(hits)
    assert texts(looked) == [lines[i] for i in hits[:limit]]
    near = {j for i in hits[:limit] for j in range(i - around, i + around + 1) if 0 <= j < len(lines)}
    assert [t for one in looked.lines for t in (*one.before, one.text, *one.after)] == [lines[j] for j in sorted(near)]
    if around:
        gaps = [i for i, j in zip(sorted(near), sorted(near)[1:], strict=False) if j - i > 1]
        assert sum(not one.joined for one in looked.lines) == (1 + len(gaps) if looked.lines else 0)


@pytest.mark.parametrize(
    "expression",
    ["(", "[a", "a{2", "*", "(?P<", r"\L<x>", "(?<=a+", "\ud800(", "(" * 5000, "a{99999999999999999999}", "(?P=x)"],
)
def test_what_is_no_expression(tmp_path: Path, expression: str) -> None:
    """A broken expression is an error that shows it; one that `regex` takes is searched."""
    path = write(tmp_path / "a.log", ["a"])
    try:
        looked = found(expression, path)
    except MeshdiagError as e:
        assert "is no regular expression" in str(e)
        assert len(str(e)) < 400
    else:
        assert looked.total <= 1


@given(st.text(max_size=20))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_expression(tmp_path: Path, expression: str) -> None:
    """Any text is an expression, or an error."""
    path = write(tmp_path / "a.log", ["a (b) [c]", "é"])
    try:
        assert found(expression, path).total <= 2
    except MeshdiagError as e:
        assert "is no regular expression" in str(e)


@pytest.mark.parametrize("expression", ["(a+)+$", "(a|aa)+$", "(a*)*b", "(.*)*(.*)*(.*)*x$", "(é|a+)+$"])
def test_a_catastrophe_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expression: str) -> None:
    """An expression that would work for ever is ended, and the error names what to do."""
    monkeypatch.setattr(lookup, "SEARCH_SECONDS", 0.2)
    path = write(tmp_path / "a.log", ["a" * 5000 + "!" + "b" * 50] * 3)
    begin = time.monotonic()
    try:
        found(expression, path)
    except MeshdiagError as e:
        assert "make it simpler" in str(e)
    assert time.monotonic() - begin < 3


def test_many_slow_lines_end_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expression that is slow, but not too slow, on each line of many is ended as well."""
    monkeypatch.setattr(lookup, "SEARCH_SECONDS", 0.2)
    path = write(tmp_path / "a.log", ["a" * 20 + "!"] * 20_000)
    begin = time.monotonic()
    with pytest.raises(MeshdiagError, match="make it simpler"):
        found("(a|b|ab)*(a|b|ab)*(a|b|ab)*(a|b|ab)*c|(a+a+a+)+$", path)
    assert time.monotonic() - begin < 3


# --- inputs


def test_packed_inputs(tmp_path: Path) -> None:
    """Compressed files, archives and archives in archives are searched; lines name the member."""
    text = b"one\nneedle here\nthree\n"
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(text))
    (tmp_path / "b.log.bz2").write_bytes(bz2.compress(text))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("in/x.log", text)
    with tarfile.open(tmp_path / "d.tar.gz", "w:gz") as tar:
        for name, data in (("y.log", text), ("z.log.gz", gzip.compress(text))):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    looked = found("needle", *sorted(tmp_path.iterdir()), around=1)
    assert [line.path.removeprefix(f"{tmp_path}/") for line in looked.lines] == [
        "a.log.gz", "b.log.bz2", "c.zip!in/x.log", "d.tar.gz!y.log", "d.tar.gz!z.log.gz"
    ]  # fmt: skip
    assert {(line.offset, line.before, line.after) for line in looked.lines} == {(4, ("one",), ("three",))}


def test_binary_and_strange_bytes(tmp_path: Path) -> None:
    """Binary files are passed over; bytes that are no UTF-8 in a log are shown as a stand-in."""
    (tmp_path / "core").write_bytes(bytes(range(256)) * 50 + b"\nneedle\n")
    (tmp_path / "a.log").write_bytes("one\nneedle \udcff\udcfe\ntwo\n".encode("utf-8", "surrogateescape"))
    assert texts(found("needle", tmp_path)) == ["needle ��"]
    (tmp_path / "b.log").write_bytes("needle b\n".encode("utf-16"))
    assert "needle b" in texts(found("needle", tmp_path))


def test_not_ascii(tmp_path: Path) -> None:
    """An expression with other letters than ASCII is one of characters, not of bytes."""
    path = write(tmp_path / "a.log", ["caf\u00e9", "cafe", "CAF\u00c9", "日志 x"])
    assert texts(found("caf[é]$", path)) == ["café"]
    assert texts(found("(?i)CAFÉ", path)) == ["café", "CAFÉ"]
    assert texts(found("日.\\sx", path)) == ["日志 x"]


def test_a_dump_of_several_logs(tmp_path: Path) -> None:
    """Logs that stand in one file keep its path; each line is found once, with the lines around it."""
    path = tmp_path / "dump.txt"
    path.write_text(
        "==== START logs for container istio-proxy of pod shop/a-1 ====\nzero\nneedle 1\nx\n"
        "==== END logs for container istio-proxy of pod shop/a-1 ====\n"
        "==== START logs for container istio-proxy of pod shop/b-1 ====\ny\nneedle 2\nlast\n"
        "==== END logs for container istio-proxy of pod shop/b-1 ====\n"
    )
    looked = found("needle", path, around=1)
    assert [(line.before, line.text, line.after) for line in looked.lines] == [
        (("zero",), "needle 1", ("x",)), (("y",), "needle 2", ("last",))
    ]  # fmt: skip
    assert [path.read_bytes()[line.offset :].startswith(line.text.encode()) for line in looked.lines] == [True, True]


def test_long_lines_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is shown up to a bound; one without end is looked through in parts."""
    path = write(tmp_path / "a.log", ["x" * 200_000 + "needle", "short"])
    looked = found("needle", path, around=1)
    assert looked.total == 1
    assert len(looked.lines[0].text) == lookup.LINE_BYTES
    assert looked.lines[0].after == ("short",)
    monkeypatch.setattr(lookup, "BLOCK", 1000)
    monkeypatch.setattr(lookup, "LONGEST", 4000)
    assert found("needle", path).total == 1
    assert found("short", path).lines[0].offset == 200_007


def test_limit_and_memory(tmp_path: Path) -> None:
    """200 MB are searched in a few, and no more lines are kept than asked for, however many there are."""
    path = tmp_path / "big.log"
    chunk = (b"needle " + b"x" * 65_000 + b"\n") * 16
    with path.open("wb") as file:
        for _ in range(200_000_000 // len(chunk) + 1):
            file.write(chunk)
    tracemalloc.start()
    try:
        looked = found("needle", path, limit=3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = path.stat().st_size
    path.unlink()
    assert looked.total == size // 65_008
    assert len(looked.lines) == 3
    assert peak < 12_000_000


def test_long_lines_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the limit is, no more text is kept than is good for us; all lines are counted."""
    monkeypatch.setattr(lookup, "KEPT_CHARS", 1000)
    looked = found("x", write(tmp_path / "a.log", ["x" * 400] * 10))
    assert (len(looked.lines), looked.total) == (3, 10)


def test_lines_of_a_finding_have_a_limit(catalogue: Catalogue, tmp_path: Path) -> None:
    """Of many lines of a finding only so many are kept, all are counted."""
    with Shell(catalogue, write(tmp_path / "a.log", no_host(50) * 20)) as shell:
        looked = of(shell, shell.state.finding("1"), limit=5)
    assert (len(looked.lines), looked.total) == (5, 1000)


@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_look_can_be_stopped(catalogue: Catalogue, tmp_path: Path, after: int) -> None:
    """A look that is to stop ends at the next file or block with what it has, and says so."""
    for name in "abcdef":
        write(tmp_path / f"{name}.log", [NO_HOST])
    with Shell(catalogue, tmp_path) as shell:
        for look in ("lines", "search"):
            asked = iter(range(100))
            looked = Looked(stop=lambda asked=asked: next(asked) >= after)  # type: ignore[misc]
            if look == "lines":
                lines_of(shell.state.finding("1"), shell.work.diagnosis(), shell.work.paths(), 10, looked)
            else:
                search("UH", shell.work.paths(), 10, looked)
            assert looked.stopped
            assert looked.total < 6


# --- lines of a finding


SAMPLES = ("03", "07", "08", "09", "13", "14", "17", "20", "bug-report")


@pytest.mark.parametrize("number", SAMPLES)
def test_all_lines_of_every_finding(catalogue: Catalogue, number: str) -> None:
    """Every finding of a sample has as many lines as it says, each of which stands where it is said to."""
    with Shell(catalogue, sample(number)) as shell:
        findings = shell.work.diagnosis().findings
        assert findings
        for f in findings:
            looked = of(shell, f)
            assert looked.total == len(looked.lines) == f.count, (f.cause, f.subject)
            assert {(s.path, s.offset) for s in f.samples} <= {(line.path, line.offset) for line in looked.lines}
            for line in looked.lines[:3]:
                if "!" not in line.path and not line.path.endswith(".gz"):
                    there = Path(line.path).read_bytes()[line.offset :].partition(b"\n")[0].decode("utf-8", "replace")
                    assert line.text.partition("\n")[0] in there or there in line.text or '"message"' in there


def test_packed_samples_have_the_same_lines(catalogue: Catalogue, tmp_path: Path) -> None:
    """A folder and its archive have the same lines of each finding."""
    folder = sample("bug-report")
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as tar:
        tar.add(folder, "bug-report")
    with Shell(catalogue, folder) as plain, Shell(catalogue, tmp_path / "b.tar.gz") as packed:
        for f, g in zip(plain.work.diagnosis().findings, packed.work.diagnosis().findings, strict=True):
            assert sorted(texts(of(plain, f, around=2))) == sorted(texts(of(packed, g, around=2)))


def clients(folder: Path, n: int) -> Path:
    """Logs of several clients that cannot reach one service."""
    for i in range(n):
        write(folder / f"shop_web{i}-5f9c8d7b64-k2x8{'abcdefghij'[i]}_istio-proxy.log", no_host(2, client=f"c{i}"))
    return folder


def test_lines_of_all_clients_of_a_service(catalogue: Catalogue, tmp_path: Path) -> None:
    """A finding about a service has the lines of all clients that were put together under it, and no others."""
    clients(tmp_path, 3)
    write(tmp_path / "shop_other-5f9c8d7b64-k2x8w_istio-proxy.log",
          [access_line("503", "UH", "no_healthy_upstream", host="-", cluster="outbound|80||x.y.svc.cluster.local")])  # fmt: skip
    with Shell(catalogue, tmp_path) as shell:
        service = next(f for f in shell.work.diagnosis().failures if f.subject.kind == "service")
        assert (of(shell, service).total, service.count) == (6, 6)
        edge = next(f for f in shell.work.diagnosis().failures if f.subject.kind == "edge")
        assert (of(shell, edge).total, edge.count) == (1, 1)


def test_lines_of_the_many_others(catalogue: Catalogue, tmp_path: Path) -> None:
    """Of a cause with more subjects than are told apart, the finding about the rest has their lines."""
    lines = [
        access_line(
            "503",
            "UH",
            "no_healthy_upstream",
            host="-",
            request_id=str(i),
            cluster=f"outbound|80||s{i % 700}.x.svc.cluster.local",
        )
        for i in range(1400)
    ]
    with Shell(catalogue, write(tmp_path / "a.log", lines)) as shell:
        failures = shell.work.diagnosis().failures
        rest = next(f for f in failures if "others" in f.subject.name)
        assert rest.count > 500
        assert of(shell, rest).total == rest.count
        named = next(f for f in failures if "others" not in f.subject.name)
        assert of(shell, named).total == named.count == 2


def test_what_a_sequence_tells(catalogue: Catalogue, tmp_path: Path) -> None:
    """A finding that no line has by itself is shown with the line from which it was told, of as many as it counts."""
    lines = [
        "2026-11-22T10:00:00.000000Z\tinfo\tStarting proxy agent",
        "2026-11-22T10:00:01.000000Z\tinfo\txdsproxy\tconnected to delta upstream XDS server: istiod.istio-system.svc:15012\tid=1",
        "2026-11-22T10:02:31.000000Z\tinfo\tEnvoy proxy is alive",
    ]
    with Shell(catalogue, write(tmp_path / "a.log", lines)) as shell:
        f = next(f for f in shell.work.diagnosis().failures if f.cause == "proxy-not-ready")
        assert of(shell, f).total == 0
        shown = shell.run(f"lines {f.rank}")[0]
        assert [line.text for line in shown.lines] == [s.line for s in f.samples]  # type: ignore[union-attr]
        assert shown.total == f.count  # type: ignore[union-attr]


def test_the_same_file_twice(catalogue: Catalogue, tmp_path: Path) -> None:
    """A file that is named twice, linked, or in a folder that is opened later counts once, in findings and in lines."""
    path = write(tmp_path / "logs" / "a.log", [NO_HOST] * 3)
    (tmp_path / "link.log").symlink_to(path)
    with Shell(catalogue, path, path) as shell:
        for again in (path, tmp_path / "link.log", tmp_path / "logs" / ".." / "logs" / "a.log"):
            with pytest.raises(MeshdiagError, match="is open already"):
                shell.work.open([str(again)])
        shell.open(tmp_path / "logs")
        f = shell.work.diagnosis().failures[0]
        assert f.count == of(shell, f).total == 3
        with pytest.raises(MeshdiagError, match="is open already"):
            shell.work.open([str(path)])


RECORD = [
    "2026-11-22T10:00:00.000000Z\terror\tads\tInternal error: something panicked",
    "goroutine 1 [running]:",
    "main.main()",
]


def test_around_a_finding(catalogue: Catalogue, tmp_path: Path) -> None:
    """Lines around stand right at the begin and the end of a file, in order, and none twice where they meet."""
    path = write(tmp_path / "a.log", [NO_HOST, HEALTHY, "x", REFUSED, NO_HOST, HEALTHY])
    with Shell(catalogue, path) as shell:
        f = next(f for f in shell.work.diagnosis().failures if f.cause == "no-healthy-upstream")
        first, second = of(shell, f, around=2).lines
        assert (first.before, first.after, first.joined) == ((), (HEALTHY, "x"), False)
        assert (second.before, second.after, second.joined) == ((REFUSED,), (HEALTHY,), True)
        first, second = of(shell, f, around=1).lines
        assert (first.after, second.before, second.joined) == ((HEALTHY,), (REFUSED,), False)


def test_around_a_record_of_several_lines(catalogue: Catalogue, tmp_path: Path) -> None:
    """The further lines of a record are part of it, not lines around it."""
    answer = ["HTTP/1.1 503 Service Unavailable", "server: envoy", "", "no healthy upstream"]
    for lines in (answer, RECORD):
        path = write(tmp_path / f"{len(lines)}.log", ["before", *lines, "after", "further"])
        with Shell(catalogue, path) as shell:
            for f in shell.work.diagnosis().findings:
                for line in of(shell, f, around=1).lines:
                    n = line.text.count("\n") + 1
                    whole = path.read_text()[: line.offset].count("\n")
                    every = path.read_text().split("\n")
                    assert line.after == (every[whole + n],)
                    assert line.before == (every[whole - 1],)


def test_only_of_what_is_open(catalogue: Catalogue, tmp_path: Path) -> None:
    """Without inputs there are no lines; a file that has gone is passed over with the others read."""
    assert search("x", [], 10, Looked()).total == 0
    a, b = write(tmp_path / "a.log", [NO_HOST]), write(tmp_path / "b.log", [NO_HOST])
    with Shell(catalogue, tmp_path) as shell:
        a.unlink()
        assert of(shell, shell.state.finding("1")).total == 1
        assert [line.path for line in found("UH", tmp_path).lines] == [str(b)]


@pytest.fixture(autouse=True)
def _no_left_over_blocks() -> Iterator[None]:
    """Tests change the block; each begins with the usual one."""
    assert lookup.BLOCK == 1 << 20
    yield
