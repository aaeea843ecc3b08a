"""Changes of a cluster over HTTP: tried out, shown, applied; refused with the reason; and known whatever becomes of the answer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from meshdiag.cluster import Edit, Ref
from meshdiag.fixing import Entry, Journal, Refused, State, apply, applying, prepare, settle
from meshdiag.fixing.applying import Uncertain
from meshdiag.fixing.plan import Owner, Verb
from meshdiag.model import MeshdiagError
from tests.fixing.conftest import Run
from tests.fixing.objects import ALLOW, DEPLOYMENT, INJECT, NAME, NAMESPACE, SELECT, service
from tests.live import apiserver
from tests.live.access import User
from tests.live.apiserver import ApiServer
from tests.live.store import Denial

P, D = State.PLANNED, State.DONE


def selector(server: ApiServer) -> Any:
    return server.store.get("", "services", "shop/cart")["spec"]["selector"]


def fixed(run: Run, journal: Journal, edit: Edit, **how: Any) -> Entry:
    async def steps(api: Any) -> Entry:
        return await apply(api, await prepare(api, edit), journal, **how)

    return run(steps)


def test_a_dry_run_shows_the_difference_and_changes_nothing(server: ApiServer, run: Run, journal: Journal) -> None:
    prepared = run(lambda api: prepare(api, SELECT))
    assert "-    app: card\n+    app: cart" in prepared.diff
    assert "managedFields" not in prepared.diff and "resourceVersion" not in prepared.diff
    assert selector(server) == {"app": "card"}
    assert {r.verb for r in server.requests} == {"get", "dry"}
    assert not journal.folder.exists()


def test_others_own_what_is_changed(server: ApiServer, run: Run, journal: Journal) -> None:
    """Who owns the field is told, and nothing is done unless forced."""
    prepared = run(lambda api: prepare(api, SELECT))
    assert prepared.owners == (Owner("kubectl-client-side-apply", "spec.selector.app"),)
    with pytest.raises(
        Refused, match=r"spec.selector.app \(owned by kubectl-client-side-apply\).*--force-conflicts"
    ) as e:
        fixed(run, journal, SELECT)
    assert "+    app: cart" in e.value.diff
    assert selector(server) == {"app": "card"}
    entry = fixed(run, journal, SELECT, force=True)
    assert selector(server) == {"app": "cart"}
    assert entry.standing is State.DONE and journal.get(entry.id) == entry
    (patch,) = [r for r in server.requests if r.verb == "patch"]
    assert patch.query["fieldManager"] == "meshdiag"


def test_what_only_adds_is_applied_server_side_with_a_restart(server: ApiServer, run: Run, journal: Journal) -> None:
    told: list[list[State]] = []
    assert "restartedAt" in run(lambda api: prepare(api, INJECT)).diff
    entry = fixed(run, journal, INJECT, told=lambda e: told.append([s.state for s in e.steps]))
    assert [s.change.verb for s in entry.steps] == [Verb.APPLY, Verb.PATCH]
    assert told == [[P, P], [D, P], [D, D]]
    assert [s.ref for s in entry.steps] == [NAMESPACE, DEPLOYMENT]
    labels = server.store.get("", "namespaces", "shop")["metadata"]["labels"]
    assert labels == {"istio-injection": "enabled", "kubernetes.io/metadata.name": "shop", "team": "web"}
    template = server.store.get("apps", "deployments", "shop/cart")["spec"]["template"]
    assert template["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].endswith("Z")
    assert template["metadata"]["labels"] == {"app": "cart"}


def test_only_a_restart(server: ApiServer, run: Run, journal: Journal) -> None:
    """As for pods that are older than the label of their namespace."""
    (step,) = fixed(run, journal, Edit(DEPLOYMENT, "Restart cart", {}, restart=(DEPLOYMENT,))).steps
    assert step.change.restart and step.state is State.DONE
    template = server.store.get("apps", "deployments", "shop/cart")["spec"]["template"]
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
    fixed(
        run,
        journal,
        Edit(DEPLOYMENT, "both", {"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}, restart=(DEPLOYMENT,)),
    )
    assert len(journal.get(2).steps) == 1


def test_a_second_edit_keeps_what_the_first_one_applied(server: ApiServer, run: Run, journal: Journal) -> None:
    """An apply takes back what the manager's last one set and this one does not name: so the second is a patch."""
    fixed(run, journal, NAME)
    second = Edit(NAME.ref, "another", {"metadata": {"annotations": {"more": "y"}}})
    assert fixed(run, journal, second).steps[0].change.verb is Verb.PATCH
    assert server.store.get("", "services", "shop/cart")["metadata"]["annotations"] == {
        "by": "hand",
        "note": "x",
        "more": "y",
    }


def test_created_and_there_already(server: ApiServer, run: Run, journal: Journal) -> None:
    entry = fixed(run, journal, ALLOW)
    made = server.store.get("networking.istio.io", "serviceentries", "shop/external-api")
    assert (
        made["spec"]["hosts"] == ["api.example.com"] and made["metadata"]["managedFields"][0]["manager"] == "meshdiag"
    )
    assert entry.steps[0].after == made and entry.steps[0].before is None
    with pytest.raises(Refused, match="is there already"):
        fixed(run, journal, ALLOW)


def test_nothing_to_do(server: ApiServer, run: Run, journal: Journal) -> None:
    assert (
        run(lambda api: prepare(api, Edit(SELECT.ref, "as it is", {"spec": {"selector": {"app": "card"}}}))).steps == ()
    )


def test_an_object_that_was_changed_since_is_left_alone(server: ApiServer, run: Run, journal: Journal) -> None:
    async def steps(api: Any) -> None:
        prepared = await prepare(api, SELECT)
        server.store.add({**service("cards")}, "kubectl-edit")
        await apply(api, prepared, journal, force=True)

    with pytest.raises(Refused, match="has been changed since it was shown") as e:
        run(steps)
    assert "+    app: cards" in e.value.diff
    assert selector(server) == {"app": "cards"}
    assert journal.get(1).standing is State.NOT_DONE


def test_a_status_that_was_written_since_does_not_matter(server: ApiServer, run: Run, journal: Journal) -> None:
    async def steps(api: Any) -> None:
        prepared = await prepare(api, SELECT)
        for n in range(2):
            key = ("", "services")
            old = server.store.objects[key]["shop/cart"]
            server.store._save(key, old, {**old.data, "status": {"n": n}}, False)
        await apply(api, prepared, journal, force=True)

    run(steps)
    assert selector(server) == {"app": "cart"}


@pytest.mark.parametrize(
    ("code", "reason", "says"),
    [
        (400, "configuration is invalid: host", "admission control refuses"),
        (403, "not on Fridays", "admission control refuses"),
    ],
)
def test_admission(server: ApiServer, run: Run, journal: Journal, code: int, reason: str, says: str) -> None:
    """A webhook refuses already the dry run."""
    server.store.webhooks.append(Denial("validation.istio.io", lambda verb, body: reason, code))
    with pytest.raises(Refused, match=f"{says}.*{reason}"):
        run(lambda api: prepare(api, ALLOW))
    assert server.store.objects["networking.istio.io", "serviceentries"] == {}


def test_admission_that_lets_only_the_dry_run_pass(server: ApiServer, run: Run, journal: Journal) -> None:
    verdicts = iter(["", "", "", "changed my mind"])
    server.store.webhooks.append(Denial("late.example.com", lambda verb, body: next(verdicts)))
    with pytest.raises(
        Refused, match=r"changed my mind. Already changed: Namespace shop; `meshdiag undo 1` takes that back"
    ):
        fixed(run, journal, INJECT)


def test_a_restart_that_may_not_be_is_found_before_anything_is_changed(
    server: ApiServer, run: Run, journal: Journal
) -> None:
    rules = [("get", "*", "*"), ("patch", "namespaces", "*")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apiserver, "ADMIN", User("half", tuple(rules)))
        with pytest.raises(
            Refused,
            match=r'cannot patch resource "deployments".*verb patch on resource deployments.apps in namespace shop; deploy',
        ):
            run(lambda api: prepare(api, INJECT))


def test_a_kind_that_is_not_installed(server: ApiServer, run: Run) -> None:
    edit = Edit(Ref("Telemetry", "shop", "x", "telemetry.istio.io/v1"), "x", {}, create=True)
    with pytest.raises(
        Refused, match=r"does not serve telemetries.telemetry.istio.io in version telemetry.istio.io/v1"
    ):
        run(lambda api: prepare(api, edit))


def test_an_object_that_is_gone(server: ApiServer, run: Run) -> None:
    with pytest.raises(Refused, match="Service shop/nope is no longer there"):
        run(lambda api: prepare(api, Edit(Ref("Service", "shop", "nope"), "x", {"spec": {}})))


@pytest.mark.parametrize("name", ["..", "a/b", "a%2fb", "", "x?y"])
def test_names_that_are_none_reach_no_url(server: ApiServer, run: Run, name: str) -> None:
    before = len(server.requests)
    with pytest.raises(MeshdiagError):
        run(lambda api: prepare(api, Edit(Ref("Service", "shop", name), "x", {"spec": {}})))
    assert len(server.requests) == before


# what becomes of a step whose answer does not come


def test_the_answer_is_lost_and_the_change_is_found(server: ApiServer, run: Run, journal: Journal) -> None:
    for verb, edit in (("patch", SELECT), ("create", ALLOW)):
        server.lose_answer(verb)
        entry = fixed(run, journal, edit, force=True)
        assert entry.standing is State.DONE
    assert entry.steps[0].after == server.store.get("networking.istio.io", "serviceentries", "shop/external-api")


def test_the_connection_cannot_be_made(server: ApiServer, run: Run, journal: Journal) -> None:
    """Then it is certain that nothing has happened."""
    prepared = run(lambda api: prepare(api, SELECT))
    server.down()
    with pytest.raises(Refused, match=r"cannot reach the cluster.*Service shop/cart was not changed"):
        run(lambda api: apply(api, prepared, journal, force=True))
    assert journal.get(1).standing is State.NOT_DONE


def test_the_request_is_lost_and_that_is_found_out_later(
    server: ApiServer, run: Run, journal: Journal, monkeypatch: Any
) -> None:
    async def steps(api: Any) -> None:
        prepared = await prepare(api, SELECT)
        server.hold("patch")
        applied = asyncio.create_task(apply(api, prepared, journal, force=True))
        await server.until(lambda: any(r.verb == "patch" for r in server.requests))
        await asyncio.to_thread(server.down)
        await applied

    with pytest.raises(Uncertain, match="`meshdiag undo 1` takes it back"):
        run(steps)
    assert journal.get(1).standing is State.SENT
    server.up()
    assert run(lambda api: settle(api, journal.get(1), journal)).standing is State.SENT  # it may still come
    monkeypatch.setattr(applying, "IN_FLIGHT", -1.0)
    assert run(lambda api: settle(api, journal.get(1), journal)).standing is State.NOT_DONE
    assert selector(server) == {"app": "card"}


def test_sent_long_ago_and_changed_by_somebody_since(server: ApiServer, run: Run, journal: Journal) -> None:
    entry = fixed(run, journal, SELECT, force=True)
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    entry = journal.save(entry.with_step(0, state=State.SENT, sent=long_ago))
    server.store.add(service("other"), "kubectl-edit")
    assert run(lambda api: settle(api, entry, journal)).standing is State.UNKNOWN


def test_the_journal_comes_before_the_change(server: ApiServer, run: Run, journal: Journal) -> None:
    """When the previous object cannot be saved nothing is sent."""
    journal.folder.parent.mkdir()
    journal.folder.write_text("no folder")
    with pytest.raises(MeshdiagError, match=r"so nothing was changed.*MESHDIAG_STATE_DIR"):
        fixed(run, journal, SELECT, force=True)
    assert selector(server) == {"app": "card"}


def test_what_a_snapshot_does_not_keep_is_never_written(server: ApiServer, run: Run) -> None:
    """A list that was taken over from a snapshot may hold what was removed from it."""
    edit = Edit(SELECT.ref, "x", {"spec": {"selector": {"app": "meshdiag:removed"}}})
    with pytest.raises(Refused, match="does not keep"):
        run(lambda api: prepare(api, edit))
    assert selector(server) == {"app": "card"} and not server.requests
