"""Edits as remedies, and the laws of merge patches."""

from __future__ import annotations

import shlex
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st
from snapshots import obj, service, snapshot

from meshdiag.cluster import Edit, Ref
from meshdiag.cluster.edits import inverse, patched, remedy_of

# of an object in a cluster no value is null
values = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3),
    lambda v: st.lists(v, max_size=2) | st.dictionaries(st.sampled_from("abc"), v, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)
patches = st.recursive(
    st.none() | st.booleans() | st.integers() | st.lists(st.integers(), max_size=2),
    lambda v: st.dictionaries(st.sampled_from("abc"), v, max_size=3),
    max_leaves=6,
)


def kept(value: Any) -> Any:
    """Without empty objects, which a merge patch leaves behind."""
    if not isinstance(value, dict):
        return value
    return {k: w for k, v in value.items() if (w := kept(v)) != {}}


@given(objects, st.dictionaries(st.sampled_from("abcd"), patches, max_size=4))
def test_the_inverse_takes_a_patch_back(raw: dict[str, Any], patch: dict[str, Any]) -> None:
    assert kept(patched(patched(raw, patch), inverse(raw, patch))) == kept(raw)


def test_merge_patch_as_in_rfc_7386() -> None:
    raw = {
        "title": "Goodbye!",
        "author": {"givenName": "John", "familyName": "Doe"},
        "tags": ["a", "b"],
        "content": "x",
    }
    patch = {"title": "Hello!", "phone": "1", "author": {"familyName": None}, "tags": ["c"]}
    wanted = {"title": "Hello!", "author": {"givenName": "John"}, "tags": ["c"], "content": "x", "phone": "1"}
    assert patched(raw, patch) == wanted


def test_commands_are_quoted_and_the_manifest_is_the_real_object() -> None:
    real = service("reviews", annotations={"note": "it's; $(reboot)"}, spec={"clusterIP": "10.0.0.1"})
    edit = Edit(real.ref, "Select the pods", {"spec": {"selector": {"app": "o'hare; $(reboot)"}}})
    remedy = remedy_of(edit, snapshot(real))
    step = remedy.steps[0]
    assert shlex.split(step.command)[-1] == '{"spec": {"selector": {"app": "o\'hare; $(reboot)"}}}'
    shown = yaml.safe_load(step.manifest)
    assert shown["metadata"]["annotations"] == {"note": "it's; $(reboot)"} and shown["spec"]["clusterIP"] == "10.0.0.1"
    assert "creationTimestamp" not in shown["metadata"]
    assert shlex.split(remedy.undo)[-1] == '{"spec": {"selector": {"app": "reviews"}}}'


def test_what_is_created_is_deleted_to_undo() -> None:
    new = obj("ServiceEntry", "external-api", "shop", spec={"hosts": ["api.example.com"]})
    remedy = remedy_of(
        Edit(new.ref, "Allow it", new.raw, create=True, restart=(Ref("Deployment", "shop", "web", "apps/v1"),)),
        snapshot(),
    )
    assert yaml.safe_load(remedy.steps[0].manifest)["spec"] == {"hosts": ["api.example.com"]}
    assert remedy.steps[1].command == "kubectl -n shop rollout restart deployment/web"
    assert remedy.undo == "kubectl -n shop delete serviceentries.networking.istio.io external-api"


def test_what_was_taken_out_is_never_written_back() -> None:
    env = [{"name": "PASSWORD", "value": "meshdiag:removed"}]
    real = obj(
        "Deployment", "web", spec={"replicas": 0, "template": {"spec": {"containers": [{"name": "app", "env": env}]}}}
    )
    (step,) = remedy_of(Edit(real.ref, "Scale", {"spec": {"replicas": 1}}), snapshot(real)).steps
    assert step.command and not step.manifest
    whole = Edit(
        real.ref, "Ports", {"spec": {"template": {"spec": {"containers": [{"name": "app", "env": env, "ports": []}]}}}}
    )
    remedy = remedy_of(whole, snapshot(real))
    assert not remedy.steps[0].command and not remedy.undo and "by hand" in remedy.steps[0].text


def test_what_is_only_restarted() -> None:
    web = Ref("Deployment", "shop", "web", "apps/v1")
    remedy = remedy_of(Edit(web, "Restart web", {}, restart=(web,)), snapshot())
    assert [s.command for s in remedy.steps] == ["kubectl -n shop rollout restart deployment/web"] and not remedy.undo
