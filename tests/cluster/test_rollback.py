"""The way back."""

from __future__ import annotations

import shlex

from snapshots import deployment, istiod, obj, pod, snapshot

from meshdiag.cluster.rollback import Stage, notes, plan
from meshdiag.views.rollback import markdown, render


def commands(stage: Stage) -> list[str]:
    return [s.command for s in stage.steps if s.command]


MESH = (
    *istiod(),
    obj("Namespace", "shop", labels={"istio-injection": "enabled"}),
    obj("Namespace", "plain"),
    obj("Namespace", "istio-system"),
    deployment("web"),
    pod("web-6c9dbf6b45-s2fnt"),
    pod("db-0", labels={"app": "db"}, ownerReferences=[
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": True}]),
    pod("api-6c9dbf6b45-s2fnt", "plain", proxied=False),
    obj("VirtualService", "web", spec={"hosts": ["web"]}),
    obj("VirtualService", "in", spec={"hosts": ["shop.example.com"], "gateways": ["istio-system/public"]}),
    obj("DestinationRule", "web", spec={"host": "web"}),
    obj("Gateway", "public", "istio-system"),
    obj("PeerAuthentication", "default", "istio-system", spec={"mtls": {"mode": "STRICT"}}),
)  # fmt: skip


def test_the_stages_of_a_mesh() -> None:
    save, rules, sidecars, uninstall = plan(snapshot(*MESH))
    assert commands(save)[0] == "mkdir -p mesh-backup"
    assert commands(rules) == [
        "kubectl -n shop delete virtualservices.networking.istio.io web",
        "kubectl -n shop delete destinationrules.networking.istio.io web",
    ]
    assert commands(sidecars) == [
        "kubectl -n istio-system delete peerauthentications.security.istio.io default",
        "kubectl label namespaces shop istio-injection-",
        "kubectl -n shop rollout restart deployment/web",
        "kubectl -n shop rollout restart statefulset/db",
    ]
    assert commands(uninstall)[:2] == [
        "kubectl -n shop delete virtualservices.networking.istio.io in",
        "kubectl -n istio-system delete gateways.networking.istio.io public",
    ]
    assert "istioctl uninstall --purge" in commands(uninstall)
    assert "kubectl delete namespaces istio-system" in commands(uninstall)


def test_a_helm_release_is_uninstalled_with_helm() -> None:
    d, p = istiod()
    d.raw["metadata"]["annotations"] = {
        "meta.helm.sh/release-name": "istiod",
        "meta.helm.sh/release-namespace": "istio-system",
    }
    stages = plan(snapshot(d, p))
    assert "helm uninstall istiod -n istio-system" in commands(stages[-1])
    assert "helm get values istiod -n istio-system -o yaml > mesh-backup/istiod.yaml" in commands(stages[0])


def test_a_workload_that_asks_for_a_sidecar_itself() -> None:
    labels = {"app": "web", "sidecar.istio.io/inject": "true"}
    d = deployment("web", spec={"template": {"metadata": {"labels": labels}}})
    (stage,) = plan(snapshot(d, pod("web-6c9dbf6b45-s2fnt", labels=labels)))
    (command,) = commands(stage)
    assert "sidecar.istio.io/inject" in command and command.startswith("kubectl -n shop patch deployments.apps web -p ")


def test_nothing_to_take_back() -> None:
    assert plan(snapshot(pod("web-6c9dbf6b45-s2fnt", proxied=False))) == ()
    assert "nothing of a mesh" in render(())


def test_what_is_unread_is_said() -> None:
    state = snapshot(*MESH, unread={"EnvoyFilter": "forbidden"})
    assert notes(state) == ("envoyfilters were not read (forbidden)",)
    assert "not in the plan: envoyfilters" in render(plan(state), notes(state))
    assert "envoyfilters were not read" in markdown(plan(state), notes(state))


def test_hostile_names_stay_words() -> None:
    evil = "x; rm -rf $HOME"
    d, p = istiod()
    d.raw["metadata"]["annotations"] = {"meta.helm.sh/release-name": evil, "meta.helm.sh/release-namespace": "a"}
    state = snapshot(obj("VirtualService", evil), obj("Namespace", evil, labels={"istio-injection": "enabled"}), d, p)
    every = [c for stage in plan(state) for c in commands(stage)]
    assert not any("helm" in c for c in every)
    named = [c for c in every if "rm -rf" in c]
    assert named and all(evil in shlex.split(c) for c in named)
