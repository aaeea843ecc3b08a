"""What a file is, from its first bytes; names decide only where bytes cannot."""

from __future__ import annotations

import codecs
import re

from meshdiag.sources import sections, tar
from meshdiag.sources.layers import CODECS, ZSTD_SKIPPABLE

HEAD = 8192
_ZEROS = re.compile(rb"\0{8,}")
_TEXT_BYTES = bytes(range(0x20, 0x7F)) + b"\t\r\n\x1b" + bytes(range(0x80, 0x100))

QUIET_FOLDERS = frozenset(
    {".git", ".hg", ".svn", "__pycache__", ".ipynb_checkpoints", ".venv", "node_modules", "__MACOSX"}
)
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".ico", ".webp", ".bmp", ".pdf", ".mp3", ".mp4", ".mov")
_FONTS = (".woff", ".woff2", ".ttf", ".otf")
_PROGRAMS = (".pyc", ".pyo", ".so", ".o", ".a", ".dll", ".dylib", ".exe", ".class", ".jar", ".whl")
_SOURCES = (".py", ".go", ".rs", ".c", ".h", ".cc", ".cpp", ".java", ".js", ".mjs", ".ts", ".lock", ".toml")
_PAGES = (".css", ".html", ".htm", ".md", ".rst", ".ipynb")
QUIET_SUFFIXES = frozenset((*_IMAGES, *_FONTS, *_PROGRAMS, *_SOURCES, *_PAGES))
_DATA = (".pcap", ".pcapng", ".db", ".sqlite", ".sqlite3", ".bin", ".wasm", ".parquet", ".p12", ".jks")
_DUMPS = (".core", ".heap", ".pprof", ".prof")
_FOREIGN_ARCHIVES = (".7z", ".rar")
BINARY_SUFFIXES = frozenset((*_DATA, *_DUMPS, *_FOREIGN_ARCHIVES))
_TEXT = (".log", ".txt", ".json", ".jsonl", ".ndjson", ".out", ".err")
LOG_SUFFIXES = frozenset((*_TEXT, ".gz", ".zst", ".bz2", ".xz", ".zip", ".tar", ".tgz"))


def suffix(name: str) -> str:
    """The last suffix, in lower case: `.log` of `0.LOG`, "" of `events`."""
    base = name.replace("\\", "/").rpartition("/")[2].lower()
    return base[base.rindex(".") :] if "." in base[1:] else ""


def is_core(name: str) -> bool:
    """`core`, `core.123`, `0.core`: a memory image."""
    base = name.rpartition("/")[2]
    return base == "core" or (base.startswith("core.") and base[5:].isdigit()) or suffix(name) == ".core"


BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")
NAMES = {"gzip": (".gz", ".tgz"), "zstd": (".zst", ".zstd", ".tzst"), "bzip2": (".bz2", ".tbz2"), "xz": (".xz", ".txz")}


def sniff(head: bytes, name: str = "") -> str:
    """A compression of `CODECS`, `tar`, `zip`, `dump`, `previous`, a text encoding, `binary` or `text`.

    The name helps where the bytes are too few.

    >>> sniff(b"2024-01-01T00:00:00Z info ok\\n")
    'text'
    """
    for codec in CODECS.values():
        if codec.magic and head.startswith(codec.magic):
            if codec.name == "bzip2" and not any(b.startswith(head[4:10]) for b in BZIP2_BLOCKS):
                continue  # words can begin with BZh
            return codec.name
        if head and codec.magic.startswith(head) and suffix(name) in NAMES.get(codec.name, ()):
            return codec.name  # cut within its first bytes
    # A skippable frame in front (pzstd, seekable format): 0x184D2A50 to 0x184D2A5F.
    if head[1:4] == ZSTD_SKIPPABLE and head[0] >> 4 == 5:
        return "zstd"
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06") or head[:8] == b"PK\x07\x08PK\x03\x04":
        return "zip"
    if head[257:262] == b"ustar" or (len(head) >= tar.BLOCK and head[0] and tar.header(head[: tar.BLOCK])):
        return "tar"
    if head and len(head) < tar.BLOCK and _is_archive_name(name) and not head.isspace():
        # cut within its first bytes
        return "zip" if b"PK\x03\x04".startswith(head[:4]) else "tar"
    encoding = _encoding(head)
    if encoding == "text":
        if sections.is_dump(head):
            return "dump"
        if sections.has_previous(head):
            return "previous"
    return encoding


# an object or a List of kubectl get -o yaml or -o json; a person's comments and --- may stand first
_YAML_OBJECT = re.compile(
    rb"(?:#[^\n]*\n|---[^\n]*\n|\s)*(?:apiVersion|kind):[ \t]*[\"']?[A-Za-z][\w./-]*[\"']?[ \t]*\r?\n"
)
_JSON_OBJECT = re.compile(
    rb'\s*\{\s*"(?:apiVersion|kind)":\s?"[A-Za-z][\w./-]*",\s*"(?:items|kind|metadata|apiVersion|data|spec)":'
)
_KIND = re.compile(rb"""["']?kind["']?:[ \t]?["']?([A-Z]\w*)""")
# What no object has: a line at the left that is neither a key, a list item, a mark nor a comment; of JSON something behind its end.
_NO_YAML = re.compile(rb"""^(?!\s|#|---|\.\.\.|-[ \t\r\n]|["']?[a-z]\w{0,80}["']?:[ \t\r\n]).""", re.MULTILINE)
_NO_JSON = re.compile(rb"^\}\s*\n\s*[^\s{}\],]", re.MULTILINE)


def is_manifest(head: bytes) -> bool:
    """Whether it is objects of Kubernetes, which are state and no log. Events are a log, in whatever form; so is what someone pasted
    below an object.

    >>> is_manifest(b"apiVersion: v1\\nkind: Service\\nmetadata:\\n  name: reviews\\n")
    True
    >>> is_manifest(b"apiVersion: v1\\nitems:\\n- apiVersion: v1\\n  kind: Event\\n")
    False
    >>> is_manifest(b"kind: Service\\nmetadata:\\n  name: reviews\\n\\n$ kubectl logs reviews-0\\n")
    False
    """
    whole = head[: head.rfind(b"\n") + 1]
    if _YAML_OBJECT.match(head):
        if _NO_YAML.search(whole):
            return False
    elif not _JSON_OBJECT.match(head) or _NO_JSON.search(whole):
        return False
    kinds = [k for k in _KIND.findall(head) if k != b"List"]
    return bool(kinds) and kinds[0] not in (b"Event", b"EventList")


def _is_archive_name(name: str) -> bool:
    base = name.replace("!", "/").rpartition("/")[2].lower()
    return base.endswith((".zip", ".tar", ".tgz", ".txz", ".tzst", ".tbz2")) or ".tar." in base


def _encoding(head: bytes) -> str:
    if head.startswith(codecs.BOM_UTF8):
        return "binary" if b"\0" in head else "bom"
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "binary"
    if head.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if head.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    if b"\0" not in head:
        return "text"
    # UTF-16 without a mark: mostly ASCII, so most of every other byte is zero and nearly none of the rest.
    even, odd = head[0::2], head[1::2]
    if len(head) >= 8 and 20 * even.count(0) < len(even) and odd.count(0) > 0.7 * len(odd):
        return "utf-16-le"
    if len(head) >= 8 and 20 * odd.count(0) < len(odd) and even.count(0) > 0.7 * len(even):
        return "utf-16-be"
    if _is_zeroed(head):
        return "text"
    return "binary"


def _is_zeroed(head: bytes) -> bool:
    """Whether it is text with a few runs of zeros: a file system writes them when a node loses its power."""
    parts = _ZEROS.split(head)
    rest = b"".join(parts)
    odd = len(rest.translate(None, _TEXT_BYTES))
    return len(parts) <= 4 and b"\0" not in rest and len(rest) >= 32 and odd <= len(rest) // 20
