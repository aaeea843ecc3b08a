"""Every compression and archive, whole: the right bytes under the right names."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ProcessPoolExecutor

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshdiag.sources import Limits, Stream, open_inputs


def unexpected(problem):
    pytest.fail(str(problem))


TEXT = b"2024-01-01T00:00:00.000000Z\tinfo\tline\n" * 5000
MEMBERS = [("a/one.log", TEXT), ("a/two.log", b""), ("three.log", b"no newline at the end")]
PACK = {
    "gz": gzip.compress,
    "zst": zstandard.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("name", ["x.log.{}", "misnamed.log"])
def test_a_compressed_file_is_known_by_its_bytes(read, write, suffix, name):
    path = write(name.format(suffix), PACK[suffix](TEXT))
    got = read(path)
    assert got.streams[0][1] == TEXT
    assert got.streams[0][0].path == str(path)
    assert got.problems == []


@pytest.mark.parametrize("suffix", PACK)
def test_all_members_of_a_concatenation_are_read(read, write, suffix):
    pack = PACK[suffix]
    got = read(write(f"x.{suffix}", pack(b"one\n") + pack(b"") + pack(TEXT) + pack(b"three\n")))
    assert got.streams[0][1] == b"one\n" + TEXT + b"three\n"
    assert got.problems == []


def test_zero_padding_behind_gzip_is_nothing(read, write):
    got = read(write("x.gz", gzip.compress(b"one\n") + b"\0" * 200_000))
    assert (got.streams[0][1], got.problems) == (b"one\n", [])


def test_zstd_without_content_size_and_with_skippable_frame(read, write):
    packer = zstandard.ZstdCompressor().compressobj()
    frame = packer.compress(TEXT) + packer.flush()
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"12345"
    got = read(write("x.zst", skippable + frame + skippable + frame))
    assert (got.streams[0][1], got.problems) == (TEXT * 2, [])


@pytest.mark.parametrize("suffix", ["", *PACK])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar(read, write, make_tar, suffix, form):
    long_name = "d" * 60 + "/" + "e" * 90 + "/" + "long.log"
    members = [*MEMBERS, (long_name, b"long\n")]
    data = make_tar(members, form)
    path = write(f"x.tar.{suffix}".rstrip("."), PACK[suffix](data) if suffix else data)
    got = read(path)
    assert got.data == {f"{path}!{name}": text for name, text in members}
    assert got.problems == []


def test_tar_with_names_that_only_pax_can_hold(read, write, make_tar):
    name = "ünïcode/" + "x" * 300 + ".log"
    path = write("x.tar", make_tar([(name, b"1\n")]))
    assert read(path).data == {f"{path}!{name}": b"1\n"}


def test_old_tar_without_magic(read, write):
    info = tarfile.TarInfo("old.log")
    info.size = 4
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[257:512] = b"\0" * 255
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path = write("x.tar", bytes(block) + b"old\n".ljust(512, b"\0") + b"\0" * 1024)
    assert read(path).data == {f"{path}!old.log": b"old\n"}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_zip(read, write, make_zip, method, streamed):
    path = write("x.zip", make_zip([("folder/", b""), *MEMBERS], method, streamed))
    got = read(path)
    assert got.data == {f"{path}!{name}": text for name, text in MEMBERS}
    assert got.problems == []


def test_stored_zip_of_unknown_length_that_contains_descriptor_marks(read, write, make_zip):
    data = b"PK\x07\x08" * 40_000 + b"tail\n"
    path = write("x.zip", make_zip([("a.log", data), ("b.log", b"b\n")], zipfile.ZIP_STORED, streamed=True))
    got = read(path)
    assert list(got.data.values()) == [data.replace(b"\0", b""), b"b\n"] and not got.problems


def test_zip64_member(read, write):
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("big.log", "w", force_zip64=True) as member,
    ):
        member.write(TEXT)
    path = write("x.zip", out.getvalue())
    got = read(path)
    assert got.data == {f"{path}!big.log": TEXT} and not got.problems


def test_empty_archives_say_so(read, write, make_tar, make_zip):
    for name, data in (("e.zip", make_zip([])), ("e.tar.gz", gzip.compress(make_tar([("d/x.png", b"")])))):
        got = read(write(name, data))
        assert got.streams == [] and got.whats == ["nothing to read in it"]


def test_archives_in_archives(read, write, make_tar, make_zip):
    inner = make_zip([("deep.log.gz", gzip.compress(TEXT)), ("flat.log", b"flat\n")], streamed=True)
    path = write("x.tar.gz", gzip.compress(make_tar([("a.zip", inner), ("b.log.zst", zstandard.compress(b"b\n"))])))
    got = read(path)
    assert got.data == {
        f"{path}!a.zip!deep.log.gz": TEXT,
        f"{path}!a.zip!flat.log": b"flat\n",
        f"{path}!b.log.zst": b"b\n",
    }
    assert got.problems == []


def test_four_deep_is_too_deep(read, write, make_zip):
    data = b"deep\n"
    for level in range(4):
        data = make_zip([(f"{level}.{'zip' if level else 'log'}", data), ("beside.log", b"beside\n")])
    got = read(write("x.zip", data))
    assert [d for _, d in got.streams] == [b"beside\n"] * 3
    assert got.whats == ["skipped: archives nested more than 3 deep"]


def test_a_member_named_twice_is_read_twice(read, write, make_tar):
    path = write("x.tar", make_tar([("a.log", b"1\n"), ("a.log", b"2\n")]))
    assert sorted(read(path).data.values()) == [b"1\n", b"2\n"]


def test_the_number_of_members_is_bounded(read, write, make_tar):
    path = write("x.tar", make_tar([(f"{i}.log", b"x\n") for i in range(20)]))
    got = read(path, limits=Limits(members=7))
    assert len(got.streams) == 7
    assert got.whats == ["has more than 7 members: the rest is not read"]


def _work(stream: Stream) -> tuple[bytes, list[str]]:
    with stream.open() as file:
        return file.read(), [p.what for p in file.problems]


def test_streams_travel_to_other_processes_and_open_in_any_order(write, make_tar, make_zip):
    numbered = [(f"{i}.log", b"%d\n" % i * 40_000) for i in range(12)]
    tar = write("x.tar.gz", gzip.compress(make_tar([*numbered, ("z.zip", make_zip(numbered))])))
    problems: list[object] = []
    streams = list(open_inputs([tar], problems.append))
    wanted = [(data, []) for _, data in numbered] * 2
    assert [_work(pickle.loads(pickle.dumps(s))) for s in reversed(streams)] == wanted[::-1]
    assert [_work(s) for s in streams] == wanted
    with ProcessPoolExecutor(2) as pool:
        assert list(pool.map(_work, streams)) == wanted
    assert problems == []


def test_what_another_process_meets_waits_in_the_opened_object(write):
    path = write("x.gz", gzip.compress(os.urandom(300_000).hex().encode())[:200_000])
    problems: list[object] = []
    (stream,) = open_inputs([path], problems.append)
    data, whats = _work(pickle.loads(pickle.dumps(stream)))
    assert len(data) > 100_000
    assert whats == [f"truncated gzip after {len(data):,} bytes"]
    assert problems == []


def test_opening_while_another_member_is_open(write, make_tar):
    path = write("x.tar.gz", gzip.compress(make_tar([(f"{i}.log", b"%d\n" % i * 500_000) for i in range(4)])))
    streams = list(open_inputs([path], unexpected))
    files = [s.open() for s in streams]
    for i, file in enumerate(files):
        assert file.readline() == b"%d\n" % i
    for i, file in enumerate(files):
        with file:
            assert file.read() == b"%d\n" % i * 499_999


def test_reading_a_compressed_archive_in_order_decompresses_it_once(write, make_tar, monkeypatch):
    from meshdiag.sources.opener import FileRoot

    opened = []
    layer = FileRoot.layer
    monkeypatch.setattr(FileRoot, "layer", lambda self, *a: opened.append(1) or layer(self, *a))
    path = write("x.tar.gz", gzip.compress(make_tar([(f"{i}.log", TEXT) for i in range(50)])))
    for stream in open_inputs([path], unexpected):
        with stream.open() as file:
            assert file.read() == TEXT
    assert len(opened) <= 3  # the look at the file, the look into the gzip, the walk


def test_one_pass_over_a_pipe(make_tar, make_zip):
    inner = make_zip([("i.log", b"i\n"), ("j.log", TEXT)])
    data = gzip.compress(make_tar([("a.log", TEXT), ("in.zip", inner), ("b.log.gz", gzip.compress(b"b\n"))]))
    code = (
        "import sys\nfrom meshdiag.sources import open_inputs\n"
        "for s in open_inputs(['-'], lambda p: print('PROBLEM', p)):\n"
        "    with s.open() as f: print(s.origin.path, len(f.read()))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, timeout=60, check=True)
    assert run.stdout.decode().split("\n") == [
        f"-!a.log {len(TEXT)}",
        "-!in.zip!i.log 2",
        f"-!in.zip!j.log {len(TEXT)}",
        "-!b.log.gz 2",
        "",
    ]


def test_a_pipe_that_was_not_read_in_order_is_a_problem_and_not_wrong_data(make_tar):
    problems: list[object] = []
    archive = io.BytesIO(make_tar([("a.log", b"a\n" * 900_000), ("b.log", b"b\n")]))
    streams = list(open_inputs([archive], problems.append))
    with streams[0].open() as file:
        assert file.read() == b""
    assert "read only once" in str(problems[0])


# zipfile warns of names that come twice, which is the point here
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
contents = st.binary(max_size=2000).map(lambda b: b.replace(b"\0", b" "))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(names, contents), max_size=6), st.sampled_from(["tar", "zip", "zip-streamed"]))
def test_whatever_the_names_nothing_escapes_and_nothing_crashes(read, make_tar, make_zip, tmp_path, members, form):
    data = make_tar(members) if form == "tar" else make_zip(members, streamed=form == "zip-streamed")
    path = tmp_path / "h"
    path.write_bytes(data)
    for origin, _ in read(path).streams:
        inside = origin.path.removeprefix(f"{path}!")
        assert inside.isprintable() and not inside.startswith("/") and ".." not in inside.split("/")
    assert list(tmp_path.iterdir()) == [path]
