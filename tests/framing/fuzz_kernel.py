"""Reads hostile blocks through a library of `kernel.c` in the folder sys.argv[1] for sys.argv[2] rounds; run by test_kernel.py.

Every block is read into a slab that fits exactly, or is too small, and compared with numpy.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np

from meshdiag.framing import native

native.FOLDER = Path(sys.argv[1])

from meshdiag.framing.native import NUMBERS, PAD, STRETCHES, TEXTS, Combinations, Kernel, Part, take, used  # noqa: E402
from meshdiag.framing.plain import Plain, PlainCombinations  # noqa: E402
from meshdiag.framing.slab import Slab, most_rows  # noqa: E402

LINES = [
    b'[2026-11-22T10:00:00.000Z] "GET / HTTP/1.1" 200 - via_upstream - "-" 0 19 3 - "-" "curl/8.5.0" "41dbb472" "reviews:9080" '
    b'"10.0.0.7:9080" outbound|9080||reviews.default 10.1.1.1:54556 10.96.0.1:9080 10.1.1.1:55722 - default',
    b'[2026-11-22T23:59:59.999Z] "- - -" 0 NR filter_chain_not_found - "-" 0 0 0 - "-" "-" "-" "-" "-" - - 10.0.0.1:1 10.0.0.2:2 - -',
]
LINES.append(b"2026-11-22T10:00:00.123456789Z " + LINES[0])
PIECES = [
    b"",
    b" ",
    b'"',
    b'" "',
    b"-",
    b"0",
    b"123456789",
    b"\x00",
    b"\n",
    b"\r",
    b"\t",
    b"\xff",
    b"\x7f",
    b"!",
    b"[",
    b"  ",
    b"a" * 300,
    b'"' * 70,
]


def block_of(rng: random.Random) -> bytes:
    """Some lines, bent, cut, or made of anything."""
    lines = []
    for _ in range(rng.randrange(1, 12)):
        line = bytearray(rng.choice(LINES))
        for _ in range(rng.choice([0, 0, 0, 1, 2, 5])):
            at = rng.randrange(len(line) + 1)
            line[at : at + rng.randrange(3)] = rng.choice(PIECES)
        if rng.random() < 0.1:
            line = line[: rng.randrange(len(line) + 1)]
        if rng.random() < 0.1:
            line = bytearray(rng.randbytes(rng.randrange(400)))
        if rng.random() < 0.02:
            line[60:60] = b"x" * rng.choice([65_000, 66_000, 140_000])
        lines.append(bytes(line))
    return b"\n".join(lines) + b"\n"


def slab_of(rows: int, size: int, kind: type) -> Slab:
    """With every column, on numpy's own memory, whose borders a sanitizer knows."""
    slab = Slab(0, 0, NUMBERS, {}, TEXTS)
    slab.room = rows
    slab.offset, slab.time = np.empty(rows, np.int64), np.empty(rows, np.int64)
    slab.numbers = {n: (np.empty(rows, np.int64), np.empty(rows, bool)) for n in NUMBERS}
    slab.index = {s: np.empty(rows, kind) for s in STRETCHES}
    for text in slab.texts.values():
        text.offsets, text.data = np.zeros(rows + 1, np.int64), np.empty(size, np.uint8)
        text.valid = np.empty(rows // 8 + 1, np.uint8)
    return slab


def same(kernel: Kernel, plain: Plain, data: bytes, kind: type) -> None:
    """Both read the same out of a block."""
    results = []
    for reader in (kernel, plain):
        slab = slab_of(most_rows(len(data)), len(data) + PAD, kind)
        lines, others, before = reader.read(bytearray(data) + bytes(PAD), len(data), 7, slab, most_rows(len(data)))
        rows = slice(0, slab.rows)
        texts = {s: reader.new_texts(s, 0) for s in STRETCHES}
        results.append(
            [slab.offset[rows].tolist(), slab.time[rows].tolist(), *(a.tolist() for a in (*lines, *others, before))]
            + [[v[rows].tolist(), m[rows].tolist()] for v, m in slab.numbers.values()]
            + [[texts[s][i] for i in slab.index[s][rows].tolist()] for s in STRETCHES]
            + [t.arrow(rows).to_pylist() for t in slab.texts.values()]
        )
    assert results[0] == results[1], data


def main() -> None:
    """The rounds; a fault of memory ends the process."""
    assert native.is_there(), "no library"
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    for i in range(int(sys.argv[2])):
        if i % 1000 == 0:  # what is known grows from block to block, up to what two bytes can number
            kernel, plain = Kernel(), Plain()
        data, kind = block_of(rng), rng.choice((np.uint16, np.int32))
        same(kernel, plain, data, kind)
        # no room for all of it: nothing is written beyond, and every line is told of
        slab = slab_of(rng.randrange(4), rng.randrange(200), kind)
        _, others, _ = Kernel().read(bytearray(data) + bytes(PAD), len(data), 0, slab, most_rows(len(data)))
        assert slab.rows + len(others[0]) == data.count(b"\n")
        rows, numbers = rng.randrange(50), np.random.default_rng(rng.randrange(1 << 30))
        index, table = numbers.integers(0, 5, rows).astype(kind), numbers.integers(0, 3, 5).astype(np.int32)
        missing = numbers.integers(0, 2, rows).astype(bool)
        parts = [
            Part(table=table, index=index),
            Part(index=index),
            Part(values=numbers.integers(0, 9, rows), missing=missing, breaks=np.array([2, 5])),
            Part(values=numbers.integers(0, 2, rows)),
            Part(bits=np.packbits(missing, bitorder="little")),
        ]
        some = slice(rows // 3, rows)
        needed = numbers.integers(0, 1 << len(parts), 5).astype(np.uint64)
        found = [np.zeros(rows, kind) for _ in range(2)]
        first = Combinations().of(index, needed, parts, found[0], some)
        assert first == PlainCombinations().of(index, needed, parts, found[1], some)
        assert found[0].tolist() == found[1].tolist()
        for type_ in (bool, np.int8, np.int16, np.int32, np.int64):
            values = table.astype(type_)
            assert take(values, index).tolist() == values[index].tolist()
        assert used(index, 5).tolist() == sorted({*index.tolist()})


if __name__ == "__main__":
    main()
