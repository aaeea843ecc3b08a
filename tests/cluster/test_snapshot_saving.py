"""A snapshot that is saved is read back as it was."""

from __future__ import annotations

import copy
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from snapshots import NOW, deployment, obj, pod, service, snapshot

from meshdiag.cluster import Snapshot, load, save
from meshdiag.cluster.objects import RESOURCES, object_of
from meshdiag.cluster.secrets import strip
from meshdiag.cluster.wanted import wanted
from meshdiag.model import MeshdiagError, Problem

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        *[
            "on",
            "yes",
            "y",
            "1e10",
            "0o17",
            "017",
            "1_000",
            "1:30",
            "2026-11-22",
            "2026-11-22T10:00:00Z",
            "~",
            "null",
            "=",
            "<<",
            ".inf",
            "0x1f",
            "---",
            "...",
            "{",
            "[",
            "*a",
            "&a",
            "!x",
            "%a",
            "@",
            "`",
            "'",
        ],
        *["+1", "-.5", "1.", "12e03", "é😀", "meshdiag:removed", "-", "?", ":", '"', "\ufeffx"],
        *(
            "- a",
            "a: b",
            "# c",
            "---\nkind: Pod",
            "\u2028",
            "\x85",
            "\x00\x1b[31m",
            " lead",
            "trail ",
            "a\n\n b\n",
            "\t",
            "1e5\n",
        ),
    ]
)
KEY = TEXT.filter(lambda k: k != "managedFields")
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | FLOAT | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3),
    max_leaves=12,
)
NAME = TEXT.filter(lambda n: n and not n.startswith("-"))


@st.composite
def objects(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from(sorted(RESOURCES)))
    resource = RESOURCES[kind]
    raw = draw(st.dictionaries(KEY, JSON, max_size=4))
    metadata = draw(st.dictionaries(KEY, JSON, max_size=2)) | {"name": draw(NAME)}
    if draw(st.booleans()):
        metadata["namespace"] = draw(NAME)
    api = "/".join(filter(None, (resource.group, draw(st.sampled_from(resource.versions)))))
    raw |= {"apiVersion": api, "kind": kind.removeprefix("Kubernetes"), "metadata": metadata}
    strip(kind, raw)
    return object_of(raw)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    found = [o for o in draw(st.lists(objects(), max_size=5)) if wanted(o) and o.ref.kind != "Event"]
    unique = {(o.ref.kind, o.namespace, o.name): o for o in found}
    spare = sorted(set(RESOURCES) - {o.ref.kind for o in found})
    return Snapshot(
        source=draw(NAME),
        objects=tuple(unique.values()),
        unread=draw(st.dictionaries(st.sampled_from(spare), NAME, max_size=4)),
        namespaces=draw(st.none() | st.frozensets(NAME, max_size=3)),
        taken=draw(st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))),
        problems=tuple(draw(st.lists(st.builds(Problem, TEXT, TEXT, TEXT), max_size=2))),
        kubernetes=draw(TEXT),
        istio=draw(TEXT),
        ignored=draw(st.dictionaries(NAME, st.integers(1, 99), max_size=2)),
    )


def plain(s: Snapshot) -> dict[str, Any]:
    """All that a snapshot says."""
    objects_ = {str(k): [(o.ref, o.raw) for o in s.all(k)] for k in RESOURCES if s.all(k)}
    return {**{f: getattr(s, f) for f in s.__dataclass_fields__ if f != "objects"}, "objects": objects_}


@given(snapshots())
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@example(Snapshot("x", unread=dict.fromkeys(RESOURCES, "why")))
@example(snapshot(pod("a-1-b"), service("s"), deployment("d"), obj("Gateway", "g"), obj("KubernetesGateway", "g")))
def test_what_is_saved_is_what_is_read(before: Snapshot) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = save(before, Path(folder) / "state")
        after = load(path)
    assert plain(after) == plain(before)


def test_files_are_named_as_kubectl_names_resources(tmp_path: Path) -> None:
    path = save(snapshot(service("s"), obj("Gateway", "g"), obj("KubernetesGateway", "g")), tmp_path / "state")
    names = [
        "gateways.gateway.networking.k8s.io.yaml",
        "gateways.networking.istio.io.yaml",
        "services.yaml",
        "snapshot.yaml",
    ]
    assert sorted(p.name for p in path.iterdir()) == names
    about = (path / "snapshot.yaml").read_text()
    assert about.startswith("apiVersion: meshdiag/v1\nkind: Snapshot\n") and "taken: '2026-11-22T12:00:00Z'" in about
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state"], "nothing is left beside it"


def test_a_snapshot_takes_the_place_of_one_that_was_saved(tmp_path: Path) -> None:
    path = save(snapshot(service("s"), pod("a-1-b")), tmp_path / "state")
    save(snapshot(service("t")), path)
    assert [str(o.ref) for o in load(path).objects] == ["Service shop/t"]


def test_other_files_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MeshdiagError, match=r"holds other files, as notes.txt: name a new folder"):
        save(snapshot(), tmp_path)
    path = save(snapshot(), tmp_path / "state")
    (path / "services.yaml").write_text("x")
    (path / "mine.yaml").write_text("x")
    with pytest.raises(MeshdiagError, match=r"mine.yaml"):
        save(snapshot(), path)
    with pytest.raises(MeshdiagError, match="is no folder"):
        save(snapshot(), tmp_path / "notes.txt")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(MeshdiagError, match="is no folder"):
        save(snapshot(), tmp_path / "link")
    with pytest.raises(MeshdiagError, match="cannot save to"):
        save(snapshot(), tmp_path / "notes.txt" / "state")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(snapshot(service("old")), tmp_path / "state")

    def full(self: Path, text: str, **_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(MeshdiagError, match="No space left on device"):
        save(snapshot(service("new")), path)
    monkeypatch.undo()
    assert [o.name for o in load(path).objects] == ["old"] and sorted(p.name for p in tmp_path.iterdir()) == ["state"]


def test_half_a_character(tmp_path: Path) -> None:
    one = service("s", annotations={"a": "x\ud83d", "b": "😀"})
    after = load(save(snapshot(one), tmp_path / "state")).all("Service")[0]
    assert dict(after.annotations) == {"a": "x?", "b": "😀"}


def test_two_snapshots_in_one_folder(tmp_path: Path) -> None:
    save(snapshot(service("s")), tmp_path / "dev")
    save(snapshot(service("s")), tmp_path / "prod")
    with pytest.raises(MeshdiagError, match=r"holds two snapshots, .*dev/snapshot.yaml:1 and .*prod/snapshot.yaml:1"):
        load(tmp_path)
    both = load(tmp_path / "dev", tmp_path / "prod")
    assert [o.name for o in both.all("Service")] == ["s"] and both.taken == NOW


def test_a_snapshot_file_by_hand(tmp_path: Path) -> None:
    """What a person writes beside the output of kubectl: which kinds were read."""
    (tmp_path / "pods.yaml").write_text("apiVersion: v1\nkind: List\nitems: []\n")
    (tmp_path / "snapshot.yaml").write_text(
        "apiVersion: meshdiag/v1\nkind: Snapshot\nread: [Pod, Nonsense, 5]\ntaken: 2026-11-22T12:00:00Z\n"
        "unread: {Node: no right, X: y, Pod: 3}\n"
    )
    found = load(tmp_path)
    assert (
        "Pod" not in found.unread
        and found.unread["Node"] == "no right"
        and found.unread["Service"] == "not in the capture"
    )
    assert found.taken == NOW and found.namespaces is None and found.problems == ()


def test_saving_changes_nothing() -> None:
    one = pod("a-1-b")
    before = copy.deepcopy(one.raw)
    with tempfile.TemporaryDirectory() as folder:
        save(snapshot(one), Path(folder) / "x")
    assert one.raw == before
