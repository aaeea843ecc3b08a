"""Reads inputs whole, and makes archives."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from meshdiag.model import Origin, Problem
from meshdiag.sources import open_inputs


class Got(NamedTuple):
    streams: list[tuple[Origin, bytes]]
    problems: list[Problem]

    @property
    def data(self) -> dict[str, bytes]:
        return {origin.path: data for origin, data in self.streams}

    @property
    def whats(self) -> list[str]:
        return [p.what for p in self.problems]


@pytest.fixture
def read() -> Callable[..., Got]:
    def _read(*inputs: Any, **options: Any) -> Got:
        problems: list[Problem] = []
        streams = []
        for stream in open_inputs(inputs, problems.append, **options):
            with stream.open() as file:
                streams.append((stream.origin, file.read()))
        return Got(streams, problems)

    return _read


@pytest.fixture
def make_tar() -> Callable[..., bytes]:
    def _make(members: Iterable[tuple[str | tarfile.TarInfo, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as archive:
            for name, data in members:
                info = tarfile.TarInfo(name) if isinstance(name, str) else name
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return out.getvalue()

    return _make


class _Pipe(io.RawIOBase):
    """A target that cannot seek: zipfile then writes sizes behind the data."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


@pytest.fixture
def make_zip() -> Callable[..., bytes]:
    def _make(
        members: Iterable[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED, streamed: bool = False
    ) -> bytes:
        out: Any = _Pipe() if streamed else io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, data in members:
                archive.writestr(name, data)
        return bytes(out.data) if streamed else out.getvalue()

    return _make


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def _write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return _write
