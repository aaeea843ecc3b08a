"""Pack the folder bug-report/ beside this file as `istioctl bug-report` does.

    python sample_logs/make_bug_report.py [ARCHIVE]

The layout is that of tools/bug-report/pkg/archive/archive.go (Istio 1.9 to 1.31): regular files only, below
`bug-report/`, in the order of their names. Times and owners are fixed, so the same text gives the same bytes with
any Python on the same zlib, and the same members with every other.
"""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "bug-report"
ARCHIVE = HERE / "10-rejected-envoyfilter" / "bug-report.tar.gz"
TIME = int(datetime(2026, 11, 22, 9, 31, tzinfo=UTC).timestamp())


def pack(source: Path = SOURCE) -> bytes:
    """The archive of `source`, a folder named as its members are to begin. Raises OSError when it cannot be read."""
    packed = io.BytesIO()
    # An explicit mtime and no file name: gzip would write the current time.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=9, mtime=TIME) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            data = path.read_bytes()
            member = tarfile.TarInfo(path.relative_to(source.parent).as_posix())
            member.size, member.mtime, member.mode = len(data), TIME, 0o644
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def main(arguments: list[str]) -> None:
    """Write the archive to the path given, or to its place among the samples."""
    archive = Path(arguments[0]) if arguments else ARCHIVE
    archive.parent.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(pack())


if __name__ == "__main__":
    main(sys.argv[1:])
