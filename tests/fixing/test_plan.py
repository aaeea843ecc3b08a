"""What is sent: the right kind of request, whose fields it changes, and differences that go both ways."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshdiag.cluster import Ref
from meshdiag.cluster.edits import patched
from meshdiag.fixing.journal import Entry, Journal, Saved, State
from meshdiag.fixing.plan import Change, Owner, Verb, collection, diff, difference, edition, owners, path
from meshdiag.fixing.undo import undone
from meshdiag.model import MeshdiagError

KEYS = st.sampled_from("abc")
JSON = st.recursive(
    st.one_of(st.integers(0, 3), st.booleans(), st.text("xy", max_size=2)),
    lambda inner: st.one_of(st.dictionaries(KEYS, inner, max_size=3), st.lists(inner, max_size=2)),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=3)


@given(OBJECTS, OBJECTS)
def test_a_difference_makes_one_of_the_other(a: Any, b: Any) -> None:
    assert patched(a, difference(a, b)) == b
    assert (difference(a, b) == {}) == (a == b)


@given(OBJECTS, OBJECTS, OBJECTS)
def test_the_way_back_touches_nothing_else(a: Any, b: Any, later: Any) -> None:
    """What somebody adds beside it stays."""
    beside = {"later": later}
    assert patched({**b, **beside}, difference(b, a)) == {**a, **beside}


SERVICE = Ref("Service", "shop", "cart")


def live(*managed: tuple[str, str, Any]) -> dict[str, Any]:
    fields = [
        {"manager": m, "operation": o, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": f}
        for m, o, f in managed
    ]
    return {
        "metadata": {"name": "cart", "namespace": "shop", "labels": {"app": "cart"}, "managedFields": fields},
        "spec": {"selector": {"app": "card"}, "ports": [{"port": 80}]},
    }


KUBECTL = (
    "kubectl",
    "Update",
    {
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {"f:selector": {}, "f:ports": {".": {}, 'k:{"port":80}': {}}},
    },
)


@pytest.mark.parametrize(
    ("patch", "verb"),
    [
        ({"metadata": {"labels": {"new": "x"}}}, Verb.APPLY),
        ({"metadata": {"annotations": {"new": "x"}}}, Verb.APPLY),
        ({"metadata": {"labels": {"app": "x"}}}, Verb.PATCH),
        ({"metadata": {"labels": {"app": None}}}, Verb.PATCH),
        ({"spec": {"ports": [{"port": 81}]}}, Verb.PATCH),
        ({"spec": {"selector": {"tier": "web"}}}, Verb.PATCH),
    ],
    ids=["a key of a map", "a new map", "another value", "a removal", "a list", "a key of a map that is one value"],
)
def test_only_additions_are_applied(patch: dict[str, Any], verb: Verb) -> None:
    assert edition(SERVICE, live(KUBECTL), patch).verb is verb


def test_after_an_apply_of_ours_it_is_a_patch() -> None:
    ours = ("meshdiag", "Apply", {"f:metadata": {"f:annotations": {"f:note": {}}}})
    assert edition(SERVICE, live(KUBECTL, ours), {"metadata": {"labels": {"new": "x"}}}).verb is Verb.PATCH


def test_without_managed_fields_it_is_a_patch() -> None:
    assert edition(SERVICE, live(), {"metadata": {"labels": {"new": "x"}}}).verb is Verb.PATCH


def test_owners() -> None:
    """A value that another one owns and that becomes another value; not one that stays, not our own, not a new one."""
    ours = ("meshdiag", "Update", {"f:spec": {"f:type": {}}})
    them = live(KUBECTL, ours)
    assert owners(them, {"spec": {"selector": {"app": "cart"}}}) == (Owner("kubectl", "spec.selector"),)
    assert owners(them, {"spec": {"ports": []}}) == (Owner("kubectl", "spec.ports"),)
    assert owners(them, {"metadata": {"labels": {"app": None}}}) == (Owner("kubectl", "metadata.labels.app"),)
    for free in ({"metadata": {"labels": {"app": "cart", "new": "x"}}}, {"spec": {"type": "NodePort"}}):
        assert owners(them, free) == ()


def test_paths() -> None:
    assert path(SERVICE) == "/api/v1/namespaces/shop/services/cart"
    gateway = Ref("KubernetesGateway", "shop", "g", "gateway.networking.k8s.io/v1")
    assert path(gateway) == "/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/g"
    assert edition(gateway, live(KUBECTL), {"metadata": {"labels": {"a": "b"}}}).body["kind"] == "Gateway"
    assert collection(Ref("Namespace", "", "shop")) == "/api/v1/namespaces"
    for bad in ("../x", "a b", "a?b", "a#b", "a%2f", ".", "-"):
        with pytest.raises(MeshdiagError):
            path(Ref("Service", "shop", bad))
        with pytest.raises(MeshdiagError):
            path(Ref("Service", bad, "x"))
        with pytest.raises(MeshdiagError):
            path(Ref("Service", "shop", "x", f"v1/{bad}"))


def test_a_difference_shows_no_secret_and_no_escape() -> None:
    secret = Ref("Secret", "shop", "tls")
    shown = diff(secret, {"data": {"key": "aHVudGVyMg=="}}, {"data": {"key": "b3RoZXI="}, "x": "\x1b]0;evil\x07\u202e"})
    assert "aHVudGVyMg" not in shown and "b3RoZXI" not in shown
    assert shown.count("<secret:") == 2
    assert "\x1b" not in shown and "\u202e" not in shown
    assert diff(secret, {"a": 1}, {"a": 1, "status": {"x": 1}}) == ""


# the journal


def entry(**more: Any) -> Entry:
    step = Saved(Change(Verb.PATCH, SERVICE, {"spec": {}}), {"a": 1}, None, State.DONE)
    return Entry("title", "prod", "https://api", (step,), **more)


def test_the_journal_is_private_and_keeps_all(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    first, second = journal.begin(entry()), journal.begin(entry(undoes=1))
    assert (first.id, second.id) == (1, 2)
    assert journal.get(2) == second
    assert journal.entries() == ([first, second], [])
    assert {stat.S_IMODE(p.stat().st_mode) for p in journal.folder.iterdir()} == {0o600}
    assert stat.S_IMODE(journal.folder.stat().st_mode) == 0o700
    assert undone(first, [first, second]) == 2


def test_a_broken_entry_loses_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for _ in range(3):
        journal.begin(entry())
    (tmp_path / "1.json").write_text('{"torn')
    (tmp_path / "2.json").write_text(json.dumps({"steps": 5}))
    (tmp_path / ".x.tmp").write_text("left behind")
    found, broken = journal.entries()
    assert [e.id for e in found] == [3]
    assert len(broken) == 2 and all("no entry" in b for b in broken)
    with pytest.raises(MeshdiagError, match="no entry 9: the latest are 1, 2, 3"):
        journal.get(9)


def test_the_roles_are_narrow() -> None:
    """The roles in deploy/ have no wildcard, and no right to secrets or roles."""
    from tests.conftest import ROOT

    rules = [
        r for d in yaml.safe_load_all((ROOT / "deploy" / "rbac-fix.yaml").read_text()) if d for r in d.get("rules", ())
    ]
    assert not any("*" in r[k] for r in rules for k in ("apiGroups", "resources", "verbs"))
    assert rules and not any({"secrets", "roles", "clusterroles"} & set(r["resources"]) for r in rules)
