"""Damaged and hostile input: what can be read is read, the rest is a Problem, nothing crashes or grows."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import resource
import subprocess
import sys
import tarfile
import zipfile

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshdiag.sources import Limits, open_inputs

RANDOM = random.Random(7)
# hardly compressible, so that every byte of a compressed file matters
TEXT = b"".join(b"%032x\n" % RANDOM.getrandbits(128) for _ in range(4000))
PACK = {"gz": gzip.compress, "zst": zstandard.compress, "bz2": bz2.compress, "xz": lzma.compress}


def cuts(size: int) -> list[int]:
    return sorted({1, 2, 3, 5, 9, 12, 17, 100, size - 1, size - 4, size - 9, *(size * i // 11 for i in range(1, 11))})


@pytest.mark.parametrize("suffix", PACK)
def test_truncated_compression_gives_a_prefix(read, write, suffix):
    packed = PACK[suffix](TEXT)
    for cut in cuts(len(packed)):
        path = write(f"x.log.{suffix}", packed[:cut])
        got = read(path)
        assert got.problems, cut
        assert all(p.where == str(path) for p in got.problems)
        data = b"".join(d for _, d in got.streams)
        assert TEXT.startswith(data)
        assert any("truncated" in w or "not text" in w for w in got.whats), (cut, got.whats)
        if suffix == "gz" and cut > len(packed) // 2:  # the others decode whole blocks
            assert len(data) > len(TEXT) // 4


@pytest.mark.parametrize("suffix", PACK)
def test_flipped_bytes_never_crash(read, write, suffix):
    packed = PACK[suffix](TEXT)
    for position in cuts(len(packed) - 1):
        damaged = bytearray(packed)
        damaged[position] ^= 0x55
        got = read(write(f"x.log.{suffix}", bytes(damaged)))
        data = b"".join(d for _, d in got.streams)
        assert got.problems or data == TEXT or suffix in ("zst", "gz"), position


def test_a_wrong_checksum_is_told(read, write):
    packed = bytearray(gzip.compress(TEXT))
    packed[-5] ^= 1
    got = read(write("x.gz", bytes(packed)))
    assert TEXT.startswith(got.streams[0][1]) and "damaged gzip" in got.whats[0]


def test_bytes_behind_the_end_are_told(read, write):
    got = read(write("x.gz", gzip.compress(b"a\n") + b"garbage"))
    assert got.streams[0][1] == b"a\n" and "other bytes follow" in got.whats[0]


MEMBERS = [(f"{i}.log", TEXT[i * 30_000 : (i + 1) * 30_000]) for i in range(4)]


@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip", "zip-streamed", "zip-stored"])
def test_truncated_archives_give_whole_members_and_a_prefix(read, write, make_tar, make_zip, form):
    if form.startswith("tar"):
        packed = make_tar(MEMBERS)
        packed = gzip.compress(packed) if form == "tar.gz" else packed.rstrip(b"\0")
    else:
        method = zipfile.ZIP_STORED if form == "zip-stored" else zipfile.ZIP_DEFLATED
        packed = make_zip(MEMBERS, method, form == "zip-streamed")
    directory = 600 if "zip" in form else 0  # a zip is whole when only its directory is cut
    for cut in cuts(len(packed) - directory):
        path = write(f"x.{form.partition('-')[0]}", packed[:cut])
        got = read(path)
        assert got.problems, cut
        for name, data in MEMBERS:
            assert data.startswith(got.data.get(f"{path}!{name}", b"")), (cut, name)
        if cut > len(packed) // 2:
            assert got.data[f"{path}!0.log"] == MEMBERS[0][1]
            assert any("truncated" in w for w in got.whats)


def test_the_problem_names_the_member(read, write, make_tar):
    packed = make_tar([("a.log", b"a\n"), ("b.log", TEXT)])
    path = write("x.tar", packed[:20_000])
    got = read(path)
    assert f"{path}!b.log" in {p.where for p in got.problems}
    assert got.data[f"{path}!a.log"] == b"a\n"


def test_a_damaged_member_does_not_cost_the_others(read, write, make_zip, make_tar):
    packed = bytearray(make_zip(MEMBERS))
    packed[packed.index(b"1.log") + 200] ^= 0xFF
    path = write("x.zip", bytes(packed))
    got = read(path)
    assert got.data[f"{path}!2.log"] == MEMBERS[2][1]
    assert [p.where for p in got.problems] == [f"{path}!1.log"]

    path = write("x.tar", make_tar([("a.gz", gzip.compress(TEXT)[:9000]), ("b.log", b"b\n")]))
    got = read(path)
    assert got.data[f"{path}!b.log"] == b"b\n"
    assert TEXT.startswith(got.data[f"{path}!a.gz"])
    assert [p.where for p in got.problems] == [f"{path}!a.gz"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_random_damage(read, write, make_tar, make_zip, data):
    small = [(n, d[:3000]) for n, d in MEMBERS]
    packed = bytearray(data.draw(st.sampled_from([make_tar(small), make_zip(small), make_zip(small, streamed=True)])))
    for _ in range(data.draw(st.integers(1, 8))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    read(write("x", bytes(packed[: data.draw(st.integers(1, len(packed)))])))


@given(st.binary(max_size=3000), st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b\x08", b"(\xb5/\xfd", b"\xfd7zXZ\0"]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(read, write, data, magic):
    read(write("x", magic + data))


# --- hostile archives ----------------------------------------------------------------------------------------------


def test_tar_members_that_are_no_files(read, write, make_tar, tmp_path):
    def entry(name: str, kind: bytes, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        return info, b""

    secret = tmp_path / "secret.log"
    secret.write_bytes(b"secret\n")
    path = write(
        "x.tar",
        make_tar(
            [
                entry("link.log", tarfile.SYMTYPE, str(secret)),
                entry("hard.log", tarfile.LNKTYPE, str(secret)),
                entry("null", tarfile.CHRTYPE),
                entry("disk.log", tarfile.BLKTYPE),
                entry("pipe", tarfile.FIFOTYPE),
                entry("folder", tarfile.DIRTYPE),
                ("../../../escape.log", b"1\n"),
                ("/etc/absolute.log", b"2\n"),
                ("..\\..\\windows.log", b"3\n"),
                ("C:\\drive.log", b"4\n"),
                ("esc\x1b[31m\n.log", b"5\n"),
                ("..", b"6\n"),
            ]
        ),
    )
    before = sorted(tmp_path.iterdir())
    got = read(path)
    inside = {p.removeprefix(f"{path}!"): d for p, d in got.data.items()}
    assert inside == {
        "escape.log": b"1\n",
        "etc/absolute.log": b"2\n",
        "windows.log": b"3\n",
        "drive.log": b"4\n",
        "esc?[31m?.log": b"5\n",
        "unnamed": b"6\n",
    }
    assert sorted(got.whats) == sorted(
        ["skipped: a link, not a file", "skipped: a link, not a file", "skipped: a device, not a file"]
    )
    assert sorted(tmp_path.iterdir()) == before


def test_sparse_members_are_told_not_misread(read, write, make_tar):
    info = tarfile.TarInfo("holes.log")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.name": "holes.log", "GNU.sparse.realsize": "9999"}
    path = write("x.tar", make_tar([(info, b"1\n0\n" * 100), ("a.log", b"a\n")]))
    got = read(path)
    assert got.data == {f"{path}!a.log": b"a\n"}
    assert got.whats == ["skipped: a sparse file, not a file"]


def test_a_pax_header_of_gigabytes_is_not_held(read, write, make_tar):
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 8 << 30
    path = write(
        "x.tar", make_tar([("a.log", b"a\n")]).rstrip(b"\0").ljust(1024, b"\0") + info.tobuf(tarfile.GNU_FORMAT)
    )
    got = read(path)
    assert got.data == {f"{path}!a.log": b"a\n"} and "truncated tar" in got.whats[0]


def test_pax_records_that_lie(read, write):
    for records in (b"999999999999999999999 path=x\n", b"0 path=x\n", b"-1 path=x\n", b" path=x\n", b"5 pa\n", b"\xff"):
        info = tarfile.TarInfo("pax")
        info.type, info.size = tarfile.XHDTYPE, len(records)
        file = tarfile.TarInfo("a.log")
        file.size = 2
        data = info.tobuf() + records.ljust(512, b"\0") + file.tobuf() + b"a\n".ljust(512, b"\0") + b"\0" * 1024
        path = write("x.tar", data)
        assert read(path).data == {f"{path}!a.log": b"a\n"}


def _encrypted(make_zip, streamed: bool) -> bytes:
    packed = bytearray(make_zip([("s.log", TEXT[:5000]), ("b.log", b"b\n")], streamed=streamed))
    packed[6] |= 1
    return bytes(packed)


@pytest.mark.parametrize("streamed", [False, True])
def test_encrypted_zip_member(read, write, make_zip, streamed):
    path = write("x.zip", _encrypted(make_zip, streamed))
    got = read(path)
    assert got.data == {f"{path}!b.log": b"b\n"}
    assert [(p.where, p.what) for p in got.problems] == [(f"{path}!s.log", "skipped: encrypted")]


def test_unknown_zip_method(read, write, make_zip):
    packed = bytearray(make_zip([("s.log", TEXT[:5000]), ("b.log", b"b\n")]))
    packed[8] = 97
    path = write("x.zip", bytes(packed))
    got = read(path)
    assert got.data == {f"{path}!b.log": b"b\n"}
    assert got.whats == ["skipped: compressed by method 97"]


LOW = Limits(free=1 << 20, ratio=100)


@pytest.mark.parametrize("suffix", PACK)
def test_a_bomb_is_stopped(read, write, suffix):
    path = write(f"x.log.{suffix}", PACK[suffix](b"0" * (50 << 20)))
    got = read(path, limits=LOW)
    assert 1 << 20 <= len(got.streams[0][1]) < 8 << 20
    assert "expands more than 100 times" in got.whats[0] and got.problems[0].hint


def test_bombs_in_archives_are_stopped(read, write, make_tar, make_zip):
    bomb = b"0" * (20 << 20)
    for data in (
        make_zip([("a.log", bomb), ("b.log", bomb)]),
        gzip.compress(make_tar([("a.log", bomb), ("b.log", bomb)])),
        make_tar([("a.log.xz", lzma.compress(bomb)), ("b.log.xz", lzma.compress(bomb))]),
        # each layer alone stays under the ratio, both together do not
        make_zip([("a.gz", gzip.compress(bomb))]),
    ):
        got = read(write("x", data), limits=LOW)
        assert sum(len(d) for _, d in got.streams) < 8 << 20
        assert any("expands more than 100 times" in w for w in got.whats)


def test_what_only_compresses_well_is_read(read, write):
    text = b"the same line again and again\n" * 200_000
    got = read(write("x.gz", gzip.compress(text)))
    assert got.streams[0][1] == text and not got.problems


def test_memory_stays_flat(write, tmp_path):
    path = tmp_path / "zeros.log.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"first line\n")
        for _ in range(300):
            file.write(b"0" * (1 << 20))
    code = (
        "import resource, sys\nfrom meshdiag.sources import open_inputs\n"
        "total = 0\nbuffer = bytearray(1 << 20)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for stream in open_inputs(sys.argv[1:], print):\n"
        "    with stream.open() as file:\n"
        "        while n := file.readinto(buffer): total += n\n"
        "print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=120
    )
    total, grown = map(int, run.stdout.split())
    assert total == 11 + (300 << 20)
    unit = 1 if sys.platform == "darwin" else 1024
    assert grown * unit < 24 << 20


def test_zstd_that_expands_thousandfold_keeps_memory_flat(write, tmp_path):
    packer = zstandard.ZstdCompressor().compressobj()
    with (tmp_path / "x.zst").open("wb") as file:
        file.write(packer.compress(b"line\n"))
        for _ in range(400):
            file.write(packer.compress(b"0" * (1 << 20)))
        file.write(packer.flush())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    problems = []
    total = 0
    for stream in open_inputs([tmp_path / "x.zst"], problems.append):
        with stream.open() as data:
            while part := data.read(1 << 16):
                total += len(part)
    assert total == 5 + (400 << 20) and not problems
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 128 << 20


def test_many_tiny_gzip_members_are_not_quadratic(read):
    tiny = gzip.compress(b"x\n")
    got = read(io.BytesIO(tiny * 20_000))
    assert got.streams[0][1] == b"x\n" * 20_000 and not got.problems
