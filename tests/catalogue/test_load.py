"""Strict loading: every fault is found and named by file and line; packs override; the cache is only a cache."""

from pathlib import Path

import pytest

from meshdiag import cache
from meshdiag.catalogue import Catalogue
from meshdiag.catalogue.load import CatalogueError
from meshdiag.model import MeshdiagError

GOOD = """\
format: istio-log
patterns:
  - id: my-own
    cause: app-error
    when:
      message: {contains: 'my very own failure'}
    captures: {message: 'failure (?P<number>[0-9]+)'}
    examples:
      - message: 'my very own failure 42'
        captures: {number: '42'}
    near_misses:
      - message: 'my very own success'
"""

CAUSE = """\
causes:
  - {id: app-error, kind: failure, severity: error, title: 'A title', explanation: 'Long enough to be one.'}
"""


def pack(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder


def alone(folder: Path, text: str) -> Catalogue:
    """A pack without the built-in one, whose many patterns need a second to be validated."""
    pack(folder, CAUSE, "causes.yaml")
    return Catalogue.load(pack(folder, text), builtin=False, user=False)


def test_a_pack_alone(tmp_path: Path) -> None:
    book = alone(tmp_path / "p", GOOD)
    assert [p.id for p in book.patterns] == ["my-own"]
    assert [*book.causes] == ["app-error"]


def test_a_pack_is_added(tmp_path: Path) -> None:
    book = Catalogue.load(pack(tmp_path / "p", GOOD), user=False)
    assert book.by_id["my-own"].cause == "app-error"
    assert len(book.patterns) > 500


def test_a_pack_overrides_and_disables(tmp_path: Path) -> None:
    builtin = Catalogue.load(user=False)
    first, second = (p.id for p in builtin.patterns[:2])
    text = f"disable: [{second}]\n" + GOOD.replace("my-own", first)
    book = Catalogue.load(pack(tmp_path / "p", text), user=False)
    assert book.by_id[first].cause == "app-error"
    assert second not in book.by_id


def test_packs_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHDIAG_PATTERNS", str(pack(tmp_path / "p", GOOD)))
    assert "my-own" in Catalogue.load().by_id
    monkeypatch.setenv("MESHDIAG_PATTERNS", str(tmp_path / "absent"))
    with pytest.raises(MeshdiagError, match="absent"):
        Catalogue.load()


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        (("cause: app-error", "cause: no-such-cause"), 3, "no cause is named 'no-such-cause'"),
        (("    examples:", "    exemples:"), 3, "exemples"),
        (("contains: 'my very own failure'", "contians: 'x'"), 6, "contians"),
        (("(?P<number>[0-9]+)", "(?P<number>[0-9]+"), 7, "bad regular expression"),
        (("contains: 'my very own failure'", "contains: 'oops'"), 3, "no necessary text"),
        (("format: istio-log", "format: istio"), 1, "istio"),
        (("  - id: my-own", "  - id: my-own\n    id: twice"), 4, "stands twice"),
        (("cause: app-error", "cause: app-error\n    cause_by: no-such-list"), 3, "no list is named"),
        (("near_misses:", "near_misses: []\n    note:"), 11, "near_misses"),
        (("when:", "when: ["), 7, "did not find"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, change: tuple[str, str], line: int, says: str) -> None:
    with pytest.raises(CatalogueError) as e:
        alone(tmp_path / "p", GOOD.replace(*change))
    hit = [f for f in e.value.faults if says in f.text]
    assert hit, e.value.faults
    assert hit[0].file.endswith("mine.yaml")
    assert abs(hit[0].line - line) <= 2


def test_all_faults_at_once(tmp_path: Path) -> None:
    folder = pack(tmp_path / "p", GOOD.replace("cause: app-error", "cause: nope"))
    pack(folder, GOOD.replace("my-own", "other").replace("format: istio-log", ""), "other.yaml")
    with pytest.raises(CatalogueError) as e:
        Catalogue.load(folder, user=False)
    assert {Path(f.file).name for f in e.value.faults} == {"mine.yaml", "other.yaml"}


def test_yaml_is_safe(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    with pytest.raises(CatalogueError):
        alone(tmp_path / "p", f"patterns: !!python/object/apply:os.system ['touch {marker}']\n")
    assert not marker.exists()


def test_a_circle_of_explanations_is_a_fault(tmp_path: Path) -> None:
    text = "causes:\n" + "".join(
        f"  - {{id: {a}, kind: failure, severity: error, title: 'A title', explanation: 'Long enough to be one.',"
        f" explains: [{{cause: {b}, scope: same-pod}}]}}\n"
        for a, b in (("one-a", "one-b"), ("one-b", "one-a"))
    )
    with pytest.raises(CatalogueError, match="circle"):
        alone(tmp_path / "p", text)


def test_a_broken_cache_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from meshdiag.catalogue import catalogue

    monkeypatch.setenv(cache.ENV, str(tmp_path / "cache"))
    catalogue._load.cache_clear()
    first = alone(tmp_path / "p", GOOD)
    assert first.patterns
    (stored,) = (tmp_path / "cache").glob("catalogue-*.json")
    whole = stored.read_bytes()
    for broken in (b"", whole[:100], whole[:-1], b"x" * len(whole), whole[:16] + b"{}"):
        stored.write_bytes(broken)
        catalogue._load.cache_clear()
        again = alone(tmp_path / "p", GOOD)
        assert [p.id for p in again.patterns] == [p.id for p in first.patterns]
    assert stored.read_bytes() == whole


def test_no_cache_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from meshdiag.catalogue import catalogue

    (tmp_path / "file").write_text("")
    for place in ("", str(tmp_path / "file" / "below"), "/proc/nowhere"):
        monkeypatch.setenv(cache.ENV, place)
        catalogue._load.cache_clear()
        assert len(alone(tmp_path / "p", GOOD).patterns) == 1
    assert len(Catalogue.load(user=False).patterns) > 500
    catalogue._load.cache_clear()
