"""Undo puts back what was changed and nothing else, and refuses where somebody has been since."""

from __future__ import annotations

from typing import Any

import pytest

from meshdiag.cluster import Edit
from meshdiag.fixing import Entry, Journal, Refused, State, apply, applying, prepare, prepare_undo
from meshdiag.fixing.plan import Verb
from meshdiag.fixing.undo import undone
from tests.fixing.conftest import Run
from tests.fixing.objects import ALLOW, DEPLOYMENT, INJECT, NAME, SELECT, service
from tests.live.apiserver import ApiServer

Undo = Any


def fixed(run: Run, journal: Journal, edit: Edit) -> Entry:
    async def steps(api: Any) -> Entry:
        return await apply(api, await prepare(api, edit), journal, force=True)

    return run(steps)


def taken_back(run: Run, journal: Journal, id: int) -> Entry:
    async def steps(api: Any) -> Entry:
        prepared = await prepare_undo(api, journal.get(id), journal)
        return await apply(api, prepared, journal, force=True, kind="undo")

    return run(steps)


def spec(server: ApiServer) -> Any:
    return server.store.get("", "services", "shop/cart")


def content(server: ApiServer) -> Any:
    """All objects without what the server writes."""
    from meshdiag.cluster.edits import bare

    return {
        (*kind, key): bare(server.store.get(*kind, key))
        for kind, objects in server.store.objects.items()
        for key in objects
    }


@pytest.mark.parametrize("edit", [SELECT, NAME, ALLOW], ids=["changed", "added", "created"])
def test_back_and_forth(server: ApiServer, run: Run, journal: Journal, edit: Edit) -> None:
    """Undo restores exactly, and an undo can be undone."""
    before = content(server)
    fixed(run, journal, edit)
    after = content(server)
    assert after != before
    back = taken_back(run, journal, 1)
    assert content(server) == before
    assert (back.undoes, back.kind) == (1, "undo")
    assert undone(journal.get(1), journal.entries()[0]) == 2
    taken_back(run, journal, 2)
    assert content(server) == after
    assert undone(journal.get(1), journal.entries()[0]) == 0


def test_other_fields_that_were_changed_since_stay(server: ApiServer, run: Run, journal: Journal) -> None:
    fixed(run, journal, SELECT)
    server.store.add(
        {**service("cart"), "metadata": {"name": "cart", "namespace": "shop", "labels": {"later": "yes"}}},
        "kubectl-label",
    )
    taken_back(run, journal, 1)
    assert spec(server)["spec"]["selector"] == {"app": "card"}
    assert spec(server)["metadata"]["labels"] == {"app": "cart", "later": "yes"}


def test_the_same_fields_changed_since_are_left_alone(server: ApiServer, run: Run, journal: Journal) -> None:
    fixed(run, journal, SELECT)
    server.store.add(service("basket"), "kubectl-edit")
    with pytest.raises(Refused, match="changed since in the same fields") as e:
        taken_back(run, journal, 1)
    assert "-    app: cart\n+    app: basket" in e.value.diff
    assert spec(server)["spec"]["selector"] == {"app": "basket"}


def test_it_was_put_back_by_hand(server: ApiServer, run: Run, journal: Journal) -> None:
    fixed(run, journal, SELECT)
    server.store.add(service("card"), "argocd-controller")
    assert run(lambda api: prepare_undo(api, journal.get(1), journal)).steps == ()


def test_deleted_since_and_made_anew(server: ApiServer, run: Run, journal: Journal) -> None:
    fixed(run, journal, SELECT)
    services = server.store.objects["", "services"]
    old = services.pop("shop/cart")
    with pytest.raises(Refused, match="has been deleted since"):
        taken_back(run, journal, 1)
    server.store.add(service("cart"))
    assert services["shop/cart"].data["metadata"]["uid"] != old.data["metadata"]["uid"]
    with pytest.raises(Refused, match="another object than the one that was changed"):
        taken_back(run, journal, 1)


def test_what_was_created_is_deleted_only_as_it_was(server: ApiServer, run: Run, journal: Journal) -> None:
    fixed(run, journal, ALLOW)
    prepared = run(lambda api: prepare_undo(api, journal.get(1), journal))
    assert [s.change.verb for s in prepared.steps] == [Verb.DELETE]
    assert "-  - api.example.com" in prepared.diff
    made = server.store.get("networking.istio.io", "serviceentries", "shop/external-api")
    server.store.add(
        {**made, "spec": {**made["spec"], "hosts": ["api.example.com", "other.example.com"]}}, "kubectl-edit"
    )

    async def late(api: Any) -> None:
        await apply(api, prepared, journal)

    with pytest.raises(Refused, match="changed since it was shown"):
        run(late)
    with pytest.raises(Refused, match="changed since, so it is left alone"):
        taken_back(run, journal, 1)
    assert "shop/external-api" in server.store.objects["networking.istio.io", "serviceentries"]


def test_workloads_are_restarted_again(server: ApiServer, run: Run, journal: Journal) -> None:
    fixed(run, journal, INJECT)
    back = taken_back(run, journal, 1)
    assert [(s.change.verb, s.ref == DEPLOYMENT) for s in back.steps] == [(Verb.PATCH, False), (Verb.PATCH, True)]
    assert "istio-injection" not in server.store.get("", "namespaces", "shop")["metadata"]["labels"]


def test_what_may_still_arrive_is_waited_for(server: ApiServer, run: Run, journal: Journal, monkeypatch: Any) -> None:
    entry = fixed(run, journal, SELECT)
    server.store.add(service("card"))
    journal.save(entry.with_step(0, state=State.SENT))
    with pytest.raises(Refused, match="may still be on its way"):
        taken_back(run, journal, 1)
    monkeypatch.setattr(applying, "IN_FLIGHT", -1.0)
    assert run(lambda api: prepare_undo(api, journal.get(1), journal)).steps == ()
