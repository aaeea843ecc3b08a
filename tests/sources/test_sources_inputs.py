"""What a user may name: paths, folders, globs, stdin, open files, lines, URLs; and what goes wrong with them."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import ClassVar

import pytest

from meshdiag.model import MeshdiagError
from meshdiag.sources import open_inputs, total_size


def unexpected(problem):
    pytest.fail(str(problem))


def test_a_file_by_str_and_path(read, write):
    path = write("a.log", b"a\nb")
    assert read(path).data == read(str(path)).data == {str(path): b"a\nb"}


def test_an_empty_file_is_a_stream(read, write):
    path = write("a.log", b"")
    assert read(path).streams[0][1] == b"" and not read(path).problems
    (stream,) = open_inputs([path], unexpected)
    assert stream.size == 0 and stream.splittable


def test_a_folder_is_read_in_order_and_only_its_logs(read, write, tmp_path):
    for name in ("b.log", "a.log", "sub/c.txt", "a/z", "events.json", "state.yaml"):
        write(name, name.encode())
    for name in ("pic.png", "m.pyc", "README.md", ".git/HEAD", "__pycache__/x.log", "deep/.git/y.log"):
        write(name, b"no log")
    got = read(tmp_path)
    assert [o.path.removeprefix(f"{tmp_path}/") for o, _ in got.streams] == [
        "a.log",
        "b.log",
        "events.json",
        "state.yaml",
        "a/z",
        "sub/c.txt",
    ]
    assert got.problems == []


def test_binaries_are_skipped_aloud(read, write, tmp_path):
    write("a.log", b"text\n")
    for name, data in (("x.pcap", b"text"), ("y.log", b"ELF\0\1\2"), ("core.123", b"x"), ("s.db", b"")):
        write(name, data)
    got = read(tmp_path)
    assert [d for _, d in got.streams] == [b"text\n"]
    assert {(Path(p.where).name, p.what) for p in got.problems} == {
        (n, "skipped: not text") for n in ("x.pcap", "y.log", "core.123", "s.db")
    }


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_text_of_windows_becomes_utf8(read, write, encoding):
    text = "2024-01-01 Fehler: nicht verfügbar\r\nzweite Zeile 😀\r\n" * 5000
    for data in (text.encode(encoding), b"\xff\xfe" + text.encode("utf-16-le")):
        assert read(write("a.log", data)).streams[0][1].decode() == text
        assert read(io.BytesIO(gzip.compress(data))).streams[0][1].decode() == text


def test_a_byte_order_mark_leaves_offsets_right(write):
    path = write("a.log", b"\xef\xbb\xbfone\ntwo\n")
    (stream,) = open_inputs([path], unexpected)
    assert (stream.start, stream.size, stream.splittable) == (3, 8, True)
    with stream.open() as file:
        assert file.read() == b"one\ntwo\n"


def test_globs(read, write, tmp_path):
    for name in ("a/1.log", "a/b/2.log", "a/b/3.txt", "[x].log", "a/b/p.png"):
        write(name, name.encode())
    values = lambda *i: sorted(d.decode() for _, d in read(*i).streams)  # noqa: E731
    assert values(f"{tmp_path}/a/*.log") == ["a/1.log"]
    assert values(f"{tmp_path}/**/*.log") == ["[x].log", "a/1.log", "a/b/2.log"]
    assert values(f"{tmp_path}/a/**") == ["a/1.log", "a/b/2.log", "a/b/3.txt"]
    assert values(f"{tmp_path}/[x].log") == ["[x].log"]
    assert values(f"{tmp_path}/*/b") == ["a/b/2.log", "a/b/3.txt"]


def test_a_file_counts_once(read, write, tmp_path):
    path = write("a.log", b"a\n")
    (tmp_path / "link.log").symlink_to(path)
    os.link(path, tmp_path / "hard.log")
    assert len(read(tmp_path, path, f"{tmp_path}/*.log").streams) == 1
    assert read(tmp_path, path).problems == []


def test_links_to_folders_are_not_followed(read, write, tmp_path):
    write("in/a.log", b"a\n")
    (tmp_path / "in" / "loop").symlink_to(tmp_path)
    (tmp_path / "in" / "gone.log").symlink_to(tmp_path / "nowhere")
    got = read(tmp_path)
    assert [d for _, d in got.streams] == [b"a\n"]
    assert sorted(got.whats) == ["cannot be read: No such file or directory", "skipped: a link to a folder"]
    assert [d for _, d in read(f"{tmp_path}/**/*.log").streams] == [b"a\n"]


def test_a_pipe_in_a_folder_does_not_hang(read, write, tmp_path):
    write("a.log", b"a\n")
    os.mkfifo(tmp_path / "pipe.log")
    got = read(tmp_path)
    assert len(got.streams) == 1 and got.whats == ["skipped: not a regular file"]


def test_a_named_pipe_is_read():
    code = (
        "import sys\nfrom meshdiag.sources import open_inputs\n"
        "for s in open_inputs(sys.argv[1:], print):\n"
        "    with s.open() as f: print(f.read())\n"
    )
    script = f'"{sys.executable}" -c "$0" <(printf "one\\ntwo\\n") <(printf "x\\n" | gzip)'
    run = subprocess.run(["bash", "-c", script, code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "b'one\\ntwo\\n'\nb'x\\n'\n"


@contextlib.contextmanager
def _not_root():
    """As an ordinary user: root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_permission_denied(read):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "ok.log").write_bytes(b"ok\n")
        (root / "no.log").write_bytes(b"no\n")
        (root / "shut").mkdir()
        (root / "shut" / "x.log").write_bytes(b"x\n")
        (root / "no.log").chmod(0)
        (root / "shut").chmod(0)
        with _not_root():
            got = read(root)
            assert [d for _, d in got.streams] == [b"ok\n"]
            assert sorted((Path(p.where).name, "ermission denied" in p.what) for p in got.problems) == [
                ("no.log", True),
                ("shut", True),
            ]
            for name in ("no.log", "shut"):
                with pytest.raises(MeshdiagError, match=f"{name}: permission denied: run as"):
                    open_inputs([root / name], unexpected)
        (root / "shut").chmod(0o755)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "no input: give a file"),
        (["/no/such/file.log"], "/no/such/file.log: no such file or folder: check the path"),
        (["/no/such/*.log"], "nothing matches: check the pattern"),
        ([""], "is no path"),
        (["a\0b"], "NUL"),
        ([b"bytes"], "io.BytesIO"),
        (b"bytes", "io.BytesIO"),
        ([7], "int is no input"),
        ([None], "NoneType is no input"),
    ],
)
def test_mistakes_are_told_at_once(inputs, message):
    with pytest.raises(MeshdiagError, match=message.replace("*", r"\*")):
        open_inputs(inputs, unexpected)


def test_a_dangling_link_and_a_closed_file(write, tmp_path):
    (tmp_path / "l").symlink_to("nowhere")
    with pytest.raises(MeshdiagError, match="points nowhere"):
        open_inputs([tmp_path / "l"], unexpected)
    with (tmp_path / "x").open("w") as file:
        pass
    with pytest.raises(MeshdiagError, match="closed"):
        open_inputs([file], unexpected)


def test_every_mistake_says_so_before_anything_is_read(write):
    good = write("a.log", b"a\n")
    with pytest.raises(MeshdiagError):
        open_inputs([good, "/no/such"], unexpected)


def test_control_characters_of_names_do_not_reach_messages(read, write, tmp_path):
    path = write("a\x1b[31m.log", b"a\n")
    assert read(path).streams[0][0].path == f"{tmp_path}/a?[31m.log"
    (stream,) = open_inputs([path], unexpected)
    assert not stream.splittable  # the label is not the path
    with pytest.raises(MeshdiagError) as error:
        open_inputs(["no\x1b[31m"], unexpected)
    assert "\x1b" not in str(error.value)


def test_a_folder_without_anything(read, tmp_path):
    got = read(tmp_path)
    assert got.streams == [] and got.whats == ["nothing to read in it"]


def test_a_file_that_vanishes_is_a_problem(write):
    path = write("a.log", b"a\n")
    problems = []
    streams = list(open_inputs([path], problems.append))
    path.unlink()
    with streams[0].open() as file:
        assert file.read() == b""
    assert "cannot be opened: No such file" in problems[0].what


def test_open_files(read, write):
    path = write("a.log", "ä\nb\n".encode())
    with path.open("rb") as file:
        assert read(file).data == {str(path): "ä\nb\n".encode()}
        assert not file.closed
    with path.open(encoding="utf-8") as file:
        assert file.readline() == "ä\n"
        assert read(file).data == {str(path): b"b\n"}
    with path.open(encoding="latin-1") as file:
        assert read(file).streams[0][1].decode() == "Ã¤\nb\n"
    assert read(io.StringIO("a\nb")).data == {"<stream>": b"a\nb"}
    assert read(io.BytesIO(gzip.compress(b"a\n"))).data == {"<stream>": b"a\n"}


def test_a_file_object_that_breaks(read):
    class Broken(io.RawIOBase):
        count = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            self.count += 1
            if self.count > 2:
                raise OSError(5, "Input/output error")
            buffer[:3] = b"ab\n"
            return 3

    got = read(Broken())
    assert got.streams[0][1] == b"ab\nab\n"
    assert "Input/output error" in got.whats[0]


def test_lines(read):
    assert read(["a", b"b\n", "ä"]).data == {"<lines>": "a\nb\nä\n".encode()}
    assert read(f"{i}" for i in range(1000)).streams[0][1].count(b"\n") == 1000
    assert read([["a\n"], ("b",)][0]).streams[0][1] == b"a\n"

    def broken():
        yield "a"
        raise RuntimeError("connection reset")

    got = read(broken())
    assert got.streams[0][1] == b"a\n" and "connection reset" in got.whats[0]
    got = read(["a", 7, "b"])
    assert got.streams[0][1] == b"a\n" and got.whats == ["is not a line: int"]


def test_a_list_of_lines_opens_again_an_iterator_does_not():
    problems = []
    (stream,) = open_inputs([["a", "b"]], problems.append)
    assert [stream.open().read() for _ in range(2)] == [b"a\nb\n"] * 2
    (stream,) = open_inputs([iter(["a" * 400_000, "b" * 400_000])], problems.append)
    assert len(stream.open().read()) == 800_002
    assert stream.open().read() == b"" and "read only once" in problems[0].what


def test_one_path_instead_of_a_list(write):
    path = write("a.log", b"a\n")
    assert len(list(open_inputs(str(path), unexpected))) == 1


def test_stdin_gives_what_is_there_without_waiting_for_the_end():
    code = (
        "import sys\nfrom meshdiag.sources import open_inputs\n"
        "for s in open_inputs(['-'], print):\n"
        "    with s.open() as f:\n"
        "        while part := f.read1(1000): print(len(part), flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"one line\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"9\n"
        process.stdin.write(b"more\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"5\n"
        process.stdin.close()
        assert process.stdout.read() == b""


def test_total_size(write, tmp_path):
    write("a.log", b"12345")
    write("b.log", b"123")
    assert total_size(open_inputs([tmp_path], unexpected)) == 8
    write("c.log", gzip.compress(b"x"))
    assert total_size(open_inputs([tmp_path], unexpected)) is None


# --- URLs ----------------------------------------------------------------------------------------------------------


class _Remote:
    """As much of an fsspec file system as is used."""

    files: ClassVar = {"bucket/a.log": b"a\n", "bucket/d/b.log.gz": gzip.compress(b"b\n"), "bucket/d/c.png": b""}

    def exists(self, path):
        return self.isdir(path) or path in self.files

    def isdir(self, path):
        return any(f.startswith(path.rstrip("/") + "/") for f in self.files)

    def glob(self, pattern):
        import fnmatch

        return [f for f in self.files if fnmatch.fnmatch(f, pattern)]

    def find(self, path):
        return [f for f in self.files if f.startswith(path.rstrip("/") + "/")]

    def size(self, path):
        return len(self.files[path])

    def unstrip_protocol(self, path):
        return f"s3://{path}"


@pytest.fixture
def fsspec(monkeypatch):
    module = types.ModuleType("fsspec")
    remote = _Remote()
    module.core = types.SimpleNamespace(url_to_fs=lambda url: (remote, url.removeprefix("s3://")))
    module.open = lambda url, mode: types.SimpleNamespace(
        open=lambda: io.BytesIO(remote.files[url.removeprefix("s3://")])
    )
    monkeypatch.setitem(sys.modules, "fsspec", module)


@pytest.mark.usefixtures("fsspec")
def test_urls(read):
    assert read("s3://bucket/a.log").data == {"s3://bucket/a.log": b"a\n"}
    assert read("s3://bucket").data == {"s3://bucket/a.log": b"a\n", "s3://bucket/d/b.log.gz": b"b\n"}
    assert read("s3://bucket/*.gz").data == {"s3://bucket/d/b.log.gz": b"b\n"}
    with pytest.raises(MeshdiagError, match="s3://bucket/none: no such file"):
        read("s3://bucket/none")


def test_urls_without_fsspec(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MeshdiagError, match="s3://b/x: needs fsspec: pip install fsspec s3fs"):
        open_inputs(["s3://b/x"], unexpected)


def test_file_urls_need_nothing(read, write, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    path = write("a b.log", b"a\n")
    assert read(path.as_uri()).streams[0][1] == b"a\n"
