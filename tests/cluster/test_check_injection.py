"""The check `injection`, and what would be decided for a pod."""

from __future__ import annotations

from typing import Any

import pytest
from snapshots import NOW, deployment, injector, istiod, namespace, obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Ref, Result, Verdict, checks
from meshdiag.cluster.injection import Reason, decide
from meshdiag.model import Severity

CHECK = checks()["injection"]
WEB = About(namespace="shop", workload="web")
BARE = "web-6c9dbf6b45-s2fnt"
DEPLOYMENT = Ref("Deployment", "shop", "web", "apps/v1")
ON = {"istio-injection": "enabled"}


def ask(*objects: Object, about: About = WEB, **more: Any) -> tuple[Result, ...]:
    return CHECK.ask(snapshot(*istiod(), *objects, **more), about)


def bare(**raw: Any) -> Object:
    return pod(BARE, proxied=False, **raw)


def test_a_namespace_that_is_not_labelled() -> None:
    objects = namespace("shop"), injector(), deployment("web"), bare()
    for about in (WEB, About(namespace="shop", pod=BARE), About()):
        (result,) = ask(*objects, about=about)
        assert result.verdict is Verdict.CONFIRMED and result.causes == ("sidecar-not-injected",)
        assert result.severity is Severity.INFO, "it may be meant so"
        (edit,) = result.edits
        assert edit.ref == Ref("Namespace", "", "shop") and edit.restart == (DEPLOYMENT,)
        assert edit.patch == {"metadata": {"labels": {"istio-injection": "enabled"}}}
    (result,) = ask(*objects, obj("VirtualService", "web"), about=About())
    assert result.severity is Severity.WARNING and "although it has VirtualService web" in result.text


def test_the_label_is_that_of_the_only_revision() -> None:
    state = snapshot(*istiod(revision="1-28"), namespace("shop"), injector("1-28"), deployment("web"), bare())
    (result,) = CHECK.ask(state, WEB)
    assert result.edits[0].patch == {"metadata": {"labels": {"istio.io/rev": "1-28"}}}
    two = injector("1-28"), injector("1-27", name="istio-sidecar-injector-1-27")
    (result,) = CHECK.ask(snapshot(*istiod(revision="1-28"), namespace("shop"), *two, bare()), WEB)
    assert not result.edits, "which of the two is meant is not known"


def test_what_stays_outside_on_purpose_is_not_restarted_by_the_label() -> None:
    other = pod("api-6c9dbf6b45-s2fnt", proxied=False, labels={"app": "api", "sidecar.istio.io/inject": "false"})
    host = pod("agent-6c9dbf6b45-s2fnt", proxied=False, spec={"hostNetwork": True})
    (result,) = ask(namespace("shop"), injector(), bare(), other, host)
    assert result.edits[0].restart == (DEPLOYMENT,)


def test_pods_that_are_older_than_the_label_or_the_injector() -> None:
    objects = injector(created="2026-11-22T09:00:00Z"), deployment("web"), bare()
    (result,) = ask(namespace("shop", labels=ON), *objects)
    assert result.verdict is Verdict.CONFIRMED and "a restart tells" in result.text
    assert result.edits[0].patch == {} and result.edits[0].restart == (DEPLOYMENT,)
    labelled = namespace("shop", labels=ON)
    labelled.raw["metadata"]["managedFields"] = [  # type: ignore[index]
        {
            "time": "2026-11-22T11:00:00Z",
            "fieldsV1": {"f:metadata": {"f:labels": {"f:istio-injection": {}}}},
        }
    ]
    (result,) = ask(labelled, *objects)
    assert "older than its label" in result.text
    (result,) = ask(namespace("shop", labels=ON), injector(created="2026-11-22T11:00:00Z"), bare())
    assert "older than the injector" in result.text and not result.edits, "no Deployment is here to be restarted"


def test_a_revision_that_nobody_serves() -> None:
    objects = namespace("shop", labels={"istio.io/rev": "canary"}), bare()
    (result,) = ask(injector(), *objects)
    assert result.verdict is Verdict.CONFIRMED and "no webhook serves revision canary; there are default" in result.text
    assert not result.edits
    tag = injector("default", tag="canary", name="istio-revision-tag-canary")
    (result,) = ask(injector(), tag, *objects)
    assert "although revision default injects it now" in result.text
    (result,) = ask(*objects, unread={"MutatingWebhookConfiguration": "403"})
    assert result.verdict is Verdict.CONFIRMED and "cannot be told" in result.text, "it has none, why is not known"
    many = [pod(f"w{i}-6c9dbf6b45-s2fnt", proxied=False) for i in range(6)]
    (result,) = ask(injector(), *objects, *many, about=About())
    assert "w2" in result.text and "and 3 more of namespace shop" in result.text


def test_no_webhook() -> None:
    (result,) = ask(namespace("shop", labels=ON), bare())
    assert result.verdict is Verdict.CONFIRMED and "no injection webhook in the cluster" in result.text
    assert result.severity is Severity.ERROR


def test_the_label_that_only_the_revision_default_serves() -> None:
    objects = namespace("shop", labels=ON), deployment("web"), bare()
    (result,) = CHECK.ask(snapshot(*istiod(revision="1-28"), injector("1-28"), *objects), WEB)
    assert "no injection webhook selects istio-injection: enabled; there are those of 1-28" in result.text
    (edit,) = result.edits
    assert edit.patch == {"metadata": {"labels": {"istio-injection": None, "istio.io/rev": "1-28"}}}
    assert edit.restart == (DEPLOYMENT,)
    two = injector("1-28"), injector("1-27", name="istio-sidecar-injector-1-27")
    (result,) = CHECK.ask(snapshot(*istiod(revision="1-28"), *two, *objects), WEB)
    assert not result.edits, "which of the two is meant is not known"
    tag = injector("1-28", tag="default", name="istio-revision-tag-default")
    (result,) = CHECK.ask(snapshot(*istiod(revision="1-28"), injector("1-28"), tag, *objects), WEB)
    assert "revision 1-28 injects it" in result.text


@pytest.mark.parametrize(
    ("raw", "space", "reason"),
    [
        ({}, ON, Reason.INJECTED),
        ({"spec": {"hostNetwork": True}}, ON, Reason.HOST_NETWORK),
        ({"labels": {"sidecar.istio.io/inject": "false"}}, ON, Reason.OPTED_OUT),
        ({"annotations": {"sidecar.istio.io/inject": "false"}}, ON, Reason.OPTED_OUT),
        ({"annotations": {"sidecar.istio.io/inject": "false"}, "labels": {"sidecar.istio.io/inject": "true"}}, ON, Reason.INJECTED),
        ({"labels": {"sidecar.istio.io/inject": "true"}}, {}, Reason.INJECTED),
        ({"annotations": {"sidecar.istio.io/inject": "true"}}, {}, Reason.ANNOTATION_ONLY),
        ({"labels": {"sidecar.istio.io/inject": "true"}}, {"istio-injection": "disabled"}, Reason.OPTED_OUT),
        ({}, {"istio-injection": "disabled", "istio.io/rev": "default"}, Reason.OPTED_OUT),
        ({}, {"istio-injection": "enabled", "istio.io/rev": "canary"}, Reason.INJECTED),
        ({}, {"istio.io/rev": "default"}, Reason.INJECTED),
        ({"labels": {"istio.io/rev": "default"}}, {}, Reason.INJECTED),
        ({"labels": {"istio.io/rev": "canary"}}, {}, Reason.REVISION),
        ({}, {"istio-injection": "Enabled"}, Reason.OPTED_OUT),
        ({}, {}, Reason.NOT_ASKED),
    ],
)  # fmt: skip
def test_the_decision_of_webhook_and_injector(raw: dict[str, Any], space: dict[str, str], reason: Reason) -> None:
    raw.setdefault("labels", {"app": "web"})
    objects = *istiod(), namespace("shop", labels=space), bare(**raw)
    assert decide(snapshot(*objects, injector()), objects[-1]).reason is reason
    unread = snapshot(*objects, unread={"MutatingWebhookConfiguration": "403"})
    assert decide(unread, objects[-1]).reason is (Reason.UNKNOWN if reason is Reason.REVISION else reason)


def test_the_injectors_own_configuration() -> None:
    def config(text: str) -> Object:
        return obj("ConfigMap", "istio-sidecar-injector", "istio-system", data={"config": text})

    objects = namespace("shop", labels=ON), injector(), bare()
    off = config("policy: disabled\ntemplates:\n  sidecar: |\n    {{ not: [yaml\nalwaysInjectSelector:\n  []\n")
    assert decide(snapshot(*istiod(), *objects, off), objects[-1]).reason is Reason.OPTED_OUT
    never = config("policy: enabled\nneverInjectSelector:\n- matchLabels:\n    app: web\n")
    assert decide(snapshot(*istiod(), *objects, never), objects[-1]).reason is Reason.OPTED_OUT
    other = config("policy: enabled\nneverInjectSelector:\n- matchLabels:\n    app: api\n")
    assert decide(snapshot(*istiod(), *objects, other), objects[-1]).reason is Reason.INJECTED
    conditional = injector()
    conditional.raw["webhooks"][2]["matchConditions"] = [{"name": "x", "expression": "false"}]
    assert decide(snapshot(*istiod(), objects[0], conditional, bare()), bare()).reason is Reason.UNKNOWN


def test_an_opt_out_is_told_when_asked_and_no_fault_of_the_cluster() -> None:
    objects = namespace("shop", labels=ON), injector(), bare(labels={"sidecar.istio.io/inject": "false"})
    (result,) = ask(*objects)
    assert result.verdict is Verdict.CONFIRMED and result.severity is Severity.INFO and not result.edits
    assert result.proofs[0].value == "sidecar.istio.io/inject: false"
    assert all(r.verdict is Verdict.REFUTED for r in ask(*objects, about=About()))


def test_an_annotation_is_not_seen_by_the_webhook() -> None:
    objects = namespace("shop"), injector(), deployment("web"), bare(annotations={"sidecar.istio.io/inject": "true"})
    (result,) = ask(*objects, about=About())
    assert result.verdict is Verdict.CONFIRMED and result.severity is Severity.WARNING
    assert result.edits[0].patch == {
        "spec": {"template": {"metadata": {"labels": {"sidecar.istio.io/inject": "true"}}}}
    }


def test_sidecars_and_ambient_refute() -> None:
    (result,) = ask(namespace("shop", labels=ON), injector(), pod(BARE))
    assert result.verdict is Verdict.REFUTED and result.causes == ("sidecar-not-injected",)
    (result,) = ask(namespace("shop", labels={"istio.io/dataplane-mode": "ambient"}), injector(), bare())
    assert result.verdict is Verdict.REFUTED and "ambient" in result.text
    (result,) = ask(namespace("kube-system"), injector(), pod(BARE, "kube-system", proxied=False),
                    about=About(namespace="kube-system", workload="web"))  # fmt: skip
    assert result.verdict is Verdict.REFUTED and not result.causes


def test_a_caller_without_sidecar_is_the_plaintext() -> None:
    objects = namespace("shop", labels=ON), injector(), pod("api-6c9dbf6b45-s2fnt"), bare(), service("api")
    about = About(namespace="shop", workload="api", source="shop/web")
    caller, server = ask(*objects, about=about)
    assert caller.causes == ("sidecar-not-injected", "mtls-plaintext-to-strict")
    assert server.verdict is Verdict.REFUTED and "mtls-plaintext-to-strict" not in server.causes
    (result,) = ask(*objects, about=About(namespace="shop", workload="api"))
    assert result.verdict is Verdict.REFUTED, "another pod without sidecar says nothing about this one"


def test_a_server_without_sidecar() -> None:
    objects = namespace("shop"), injector(), pod("api-6c9dbf6b45-s2fnt"), bare(), service("web")
    about = About(namespace="shop", workload="api", host="web.shop.svc.cluster.local")
    results = ask(*objects, about=about)
    assert [(r.verdict, r.about and r.about.name) for r in results] == [
        (Verdict.CONFIRMED, BARE),
        (Verdict.REFUTED, "api-6c9dbf6b45-s2fnt"),
    ]


def test_pods_of_a_revision_that_is_gone() -> None:
    old = pod(BARE, labels={"app": "web", "istio.io/rev": "1-26"})
    (result,) = ask(namespace("shop", labels=ON), injector(), old)
    assert result.verdict is Verdict.CONFIRMED and "xds-unreachable" in result.causes
    (result,) = ask(namespace("shop", labels=ON), injector(), pod(BARE, labels={"istio.io/rev": "default"}))
    assert result.verdict is Verdict.REFUTED
    (result,) = CHECK.ask(snapshot(namespace("shop", labels=ON), old), WEB)
    assert result.verdict is Verdict.REFUTED, "where no istiod is seen it is outside the cluster"


def test_a_workload_without_pods_is_told_by_its_template() -> None:
    (result,) = ask(namespace("shop"), injector(), deployment("web", replicas=0))
    assert result.verdict is Verdict.CONFIRMED and "new pods of Deployment shop/web get no istio-proxy" in result.text
    (result,) = ask(namespace("shop", labels=ON), injector(), deployment("web", replicas=0))
    assert result.verdict is Verdict.REFUTED


def test_labels_that_are_against_each_other() -> None:
    both = namespace("shop", labels={**ON, "istio.io/rev": "canary"})
    results = ask(both, injector(), pod(BARE), about=About())
    assert ["istio-injection wins" in r.text for r in results] == [True, False]
    mixed = namespace("shop", labels={**ON, "istio.io/dataplane-mode": "ambient"})
    results = ask(mixed, injector(), pod(BARE), about=About())
    assert ["ambient mode and asks" in r.text for r in results] == [True, False]
    same = namespace("shop", labels={"istio.io/rev": "default", "istio-injection": "enabled"})
    assert [r.verdict for r in ask(same, injector(), pod(BARE), about=About())] == [Verdict.REFUTED]


def test_not_checkable() -> None:
    (result,) = ask(bare(), about=About(), unread={"Namespace": "403 Forbidden"})
    assert result.verdict is Verdict.NOT_CHECKABLE and "403 Forbidden" in result.text
    (result,) = CHECK.ask(snapshot(namespace("shop"), bare(), taken=NOW))
    assert result.verdict is Verdict.NOT_CHECKABLE, "no mesh is installed"
