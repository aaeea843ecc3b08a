"""`apply` and `undo` in the shell, on a cluster over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshdiag.catalogue import Catalogue
from meshdiag.fixing import Journal
from meshdiag.shell import results as r
from tests.conftest import access_line
from tests.live import pods
from tests.live.apiserver import ApiServer
from tests.live.cluster import Cluster
from tests.shell.states import Shell, until, write

CART = "outbound|80||cart.shop.svc.cluster.local"


@pytest.fixture
def shell(
    server: ApiServer, cluster: Cluster, kubeconfig: Path, journal: Journal, catalogue: Catalogue, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shell]:  # fmt: skip
    """A shell with the log of a client of a service that selects nothing, and the state of its cluster."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.setenv("MESHDIAG_STATE_DIR", str(journal.folder))
    pods.sidecar_pod(cluster, "shop", "cart-7d6c5f9b84-z6r4p", app="cart")
    now = datetime.now(UTC)
    lines = [
        access_line(
            "503", "UH", "no_healthy_upstream", cluster=CART, host="-", local="-", request_id=f"r-{n}",
            time=(now - timedelta(seconds=60 - n)).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        )
        for n in range(20)
    ]  # fmt: skip
    with Shell(catalogue, write(tmp_path / "shop_web-7d6c5f9b84-abcde_istio-proxy.log", lines).parent) as shell:
        yield shell


def selector(server: ApiServer) -> object:
    return server.store.get("", "services", "shop/cart")["spec"]["selector"]


def look(shell: Shell) -> None:
    shell.run("cluster live")
    until(lambda: shell.work.snapshot is not None, "the state of the cluster")


def test_nothing_is_changed_without_a_live_state_and_a_look(shell: Shell) -> None:
    assert "cluster live looks at it first" in shell.error("apply no-healthy-upstream")
    assert "nothing was shown" in shell.error("apply yes")
    assert "nothing was shown" in shell.error("undo yes")
    assert "nothing was changed so far" in shell.say("undo")


def test_apply_and_undo(shell: Shell, server: ApiServer) -> None:
    before = selector(server)
    look(shell)
    shown = shell.shown("apply no-healthy-upstream")
    assert "+    app: cart" in shown and "risk: changes traffic" in shown
    assert selector(server) == before, "only shown"
    assert "conflict:" in shown and "kubectl-client-side-apply" in shown
    assert "others manage these fields" in shell.error("apply yes")
    assert selector(server) == before
    assert "done" in shell.say("apply force") and selector(server) != before
    assert "nothing was shown" in shell.error("apply yes"), "once"
    table = shell.one("undo", r.Table)
    assert len(table.rows) == 1
    assert "-    app: cart" in shell.shown(f"undo {table.rows[0][0]}")
    assert "nothing was shown" in shell.error("apply yes"), "what undoes is no apply"
    shell.run(f"undo {table.rows[0][0]}")
    assert "done" in shell.say("undo yes")
    assert selector(server) == before
