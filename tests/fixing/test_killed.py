"""kill -9 at every step: what was changed is in the journal, the next look finds out, and undo restores."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshdiag.cluster.edits import bare
from meshdiag.fixing import Entry, Journal, State, apply, applying, prepare_undo, settle
from tests.conftest import ROOT
from tests.fixing.conftest import Run
from tests.live.apiserver import ApiServer

MOMENTS = 40


class Victim:
    def __init__(self, kubeconfig: Path, journal: Journal) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fixing.victim", str(kubeconfig), str(journal.folder)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, what: str, at: int) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(what, at, file=self.process.stdin, flush=True)
        return self.process.stdout.readline().strip()


@pytest.fixture
def victim(kubeconfig: Path, journal: Journal) -> Iterator[Victim]:
    victim = Victim(kubeconfig, journal)
    yield victim
    assert victim.process.stdin is not None and victim.process.stdout is not None
    victim.process.stdin.close()
    assert victim.process.wait(10) == 0
    victim.process.stdout.close()


def content(server: ApiServer) -> Any:
    """All objects without what the server writes; a restart is none of their content."""
    out = {}
    for kind, objects in server.store.objects.items():
        for key in list(objects):
            raw = bare(server.store.get(*kind, key))
            if kind[1] == "deployments":
                raw["spec"]["template"]["metadata"].pop("annotations", None)
            out[(*kind, key)] = raw
    return out


@pytest.mark.parametrize("edit", ["INJECT", "SELECT", "ALLOW"])
def test_killed_at_every_moment_of_a_fix(
    edit: str, server: ApiServer, run: Run, journal: Journal, victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "IN_FLIGHT", -1.0)  # the process is dead and the server idle
    before = content(server)
    done = set()
    for at in range(MOMENTS):
        count = len(journal.entries()[0])
        end = victim.run(edit, at)
        assert end in ("killed", "ended")
        entries, broken = journal.entries()
        assert broken == []
        new = entries[count:]
        if content(server) != before:
            assert len(new) == 1, "changed, and the journal does not know"
        for entry in new:
            changed = content(server) != before

            async def look_and_restore(api: Any, entry: Entry = entry, changed: bool = changed) -> State:
                settled = await settle(api, entry, journal)
                assert (settled.standing is State.DONE) == changed
                prepared = await prepare_undo(api, settled, journal)
                if prepared.steps:
                    await apply(api, prepared, journal, force=True)
                return settled.standing

            done.add(run(look_and_restore))
        assert content(server) == before
        if end == "ended":
            break
    else:
        raise AssertionError("more moments than thought")
    assert done == {State.DONE, State.NOT_DONE}


@pytest.mark.parametrize("edit", ["SELECT", "ALLOW"])
def test_killed_at_every_moment_of_an_undo(
    edit: str, server: ApiServer, run: Run, journal: Journal, victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another undo of the same entry completes it."""
    monkeypatch.setattr(applying, "IN_FLIGHT", -1.0)
    before = content(server)
    for at in range(MOMENTS):
        assert victim.run(edit, MOMENTS) == "ended"
        id = journal.entries()[0][-1].id
        end = victim.run(f"undo:{id}", at)
        assert end in ("killed", "ended")

        async def complete(api: Any, id: int = id) -> None:
            for entry in journal.entries()[0][id:]:
                await settle(api, entry, journal)
            prepared = await prepare_undo(api, journal.get(id), journal)
            if prepared.steps:
                await apply(api, prepared, journal, force=True)

        run(complete)
        assert content(server) == before
        if end == "ended":
            return
    raise AssertionError("more moments than thought")
