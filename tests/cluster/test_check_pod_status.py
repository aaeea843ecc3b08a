"""The check `pod-status`."""

from __future__ import annotations

from typing import Any

import pytest
from snapshots import obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Result, Verdict, checks
from meshdiag.model import Severity

CHECK = checks()["pod-status"]
NAME = "web-6c9dbf6b45-s2fnt"
WEB = About(namespace="shop", workload="web")
CALLED = About(namespace="shop", workload="api", host="web.shop.svc.cluster.local", port="80")
RUNNING = {"running": {"startedAt": "2026-11-22T10:00:05Z"}}
PROXY = {"name": "istio-proxy", "ready": True, "restartCount": 0, "state": RUNNING}


def web(*statuses: dict[str, Any], ready: bool = False, name: str = NAME, **status: Any) -> Object:
    return pod(name, ready=ready, status={"containerStatuses": [*statuses, PROXY], **status})


def app(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "app", "ready": False, "restartCount": 0, "state": state, **more}


def terminated(code: int, reason: str = "Error", at: str = "2026-11-22T11:50:00Z") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": at}}


def one(*objects: Object, about: About = WEB, **more: Any) -> Result:
    (result,) = CHECK.ask(snapshot(*objects, **more), about)
    return result


def test_a_crash_loop() -> None:
    status = app({"waiting": {"reason": "CrashLoopBackOff"}}, restartCount=12, lastState=terminated(1))
    result = one(web(status))
    assert result.text == "1 pod of Deployment shop/web: app crashes again and again, 12 restarts, last exit 1 (Error)"
    assert result.causes == ("upstream-connection-refused", "upstream-connection-closed", "no-healthy-upstream")
    assert result.proofs[0].field == "status.containerStatuses[0].state.waiting.reason"
    other = pod("web-6c9dbf6b45-x2lq9")
    assert "no-healthy-upstream" not in one(web(status), other).causes, "another pod takes the traffic"


def test_out_of_memory() -> None:
    loop = app({"waiting": {"reason": "CrashLoopBackOff"}}, restartCount=3, lastState=terminated(137, "OOMKilled"))
    result = one(web(loop))
    assert (result.proofs[0].field, result.proofs[0].value) == (
        "status.containerStatuses[0].lastState.terminated.reason",
        "OOMKilled",
    )
    back = app(RUNNING, ready=True, restartCount=1, lastState=terminated(137, "OOMKilled"))
    result = one(web(back, ready=True))
    assert "killed for want of memory at 11:50 UTC, 1 restart" in result.text
    assert result.causes == ("upstream-connection-closed",)
    old = app(RUNNING, ready=True, restartCount=1, lastState=terminated(137, "OOMKilled", "2026-11-20T11:50:00Z"))
    assert one(web(old, ready=True)).verdict is Verdict.REFUTED


def test_a_container_that_ended_lately() -> None:
    back = app(RUNNING, ready=True, restartCount=1, lastState=terminated(139))
    result = one(web(back, ready=True))
    assert result.severity is Severity.WARNING and "exit 139" in result.text
    calm = app(RUNNING, ready=True, restartCount=1, lastState=terminated(143))
    assert one(web(calm, ready=True)).verdict is Verdict.REFUTED, "SIGTERM is how a container is asked to end"


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "ErrImagePull", "CreateContainerConfigError"])
def test_containers_that_cannot_start(reason: str) -> None:
    result = one(web(app({"waiting": {"reason": reason, "message": "no such image"}})))
    assert f"app does not start: {reason}, no such image" in result.text and result.causes == ("no-healthy-upstream",)


def test_pods_that_cannot_be_scheduled() -> None:
    where = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: no memory"}]
    result = one(pod(NAME, ready=False, status={"phase": "Pending", "conditions": where, "containerStatuses": []}))
    assert "cannot be scheduled: 0/3 nodes: no memory" in result.text


def test_pods_that_wait_say_their_last_event() -> None:
    waiting = app({"waiting": {"reason": "ContainerCreating"}})
    event = obj("Event", "e", type="Warning", reason="FailedMount", message="secret tls not found",
                involvedObject={"kind": "Pod", "namespace": "shop", "name": NAME})  # fmt: skip
    result = one(web(waiting, phase="Pending"), event)
    assert "does not start: secret tls not found" in result.text
    assert one(web(waiting, phase="Pending")).verdict is Verdict.REFUTED


def test_one_of_two_ready() -> None:
    since = [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-22T10:30:00Z"}]
    result = one(web(app(RUNNING), conditions=since))
    assert result.text.endswith("1/2 ready: app runs and is not ready, since 2026-11-22 10:30 UTC")
    assert result.causes == ("health-probe-failed", "no-healthy-upstream")
    proxy = {**PROXY, "ready": False}
    result = one(pod(NAME, ready=False, status={"containerStatuses": [app(RUNNING, ready=True), proxy]}))
    assert result.causes == ("proxy-not-ready", "no-healthy-upstream")
    native = pod(NAME, native=True, ready=False)
    native.raw["status"]["containerStatuses"][0]["ready"] = True
    native.raw["status"]["initContainerStatuses"][0]["ready"] = False
    assert one(native).causes[0] == "proxy-not-ready"
    young = app({"running": {"startedAt": "2026-11-22T11:59:40Z"}})
    assert one(web(young)).verdict is Verdict.REFUTED, "it starts"


def test_the_redirection_that_fails() -> None:
    init = [{"name": "istio-init", "ready": False, "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
             "lastState": terminated(1)}]  # fmt: skip
    result = one(web(app({"waiting": {"reason": "PodInitializing"}}), initContainerStatuses=init, phase="Pending"))
    assert result.causes[0] == "traffic-redirect-failed"
    init[0]["state"] = terminated(2)
    result = one(web(app({"waiting": {"reason": "PodInitializing"}}), initContainerStatuses=init, phase="Pending"))
    assert result.causes[0] == "traffic-redirect-failed" and "last exit 2" in result.text
    done = [{"name": "istio-init", "ready": True, "restartCount": 0, "state": terminated(0, "Completed")}]
    assert one(web(app(RUNNING, ready=True), ready=True, initContainerStatuses=done)).verdict is Verdict.REFUTED


def test_a_proxy_that_crashes() -> None:
    proxy = {**PROXY, "ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": terminated(1)}
    result = one(pod(NAME, ready=False, status={"containerStatuses": [app(RUNNING, ready=True), proxy]}))
    assert result.causes[0] == "proxy-crashed"


def test_a_node_that_is_gone() -> None:
    lost = obj("Node", "node-1", status={"conditions": [{"type": "Ready", "status": "Unknown"}]})
    result = one(pod(NAME), lost)
    assert result.causes == ("upstream-connect-timeout", "upstream-unreachable")
    fine = obj("Node", "node-1", status={"conditions": [{"type": "Ready", "status": "True"}]})
    assert one(pod(NAME), fine).verdict is Verdict.REFUTED


def test_evicted_and_ended_pods() -> None:
    status = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    result = one(pod(NAME, status=status), pod("web-6c9dbf6b45-x2lq9"))
    assert result.severity is Severity.WARNING and "low on resource: memory" in result.text and not result.causes
    assert one(pod(NAME, status={"phase": "Succeeded"}), pod("web-6c9dbf6b45-x2lq9")).verdict is Verdict.REFUTED


def test_a_pod_that_goes() -> None:
    going = pod(NAME)
    going.raw["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:20Z"
    result = one(going)
    assert result.causes[0] == "proxy-draining" and result.severity is Severity.INFO
    assert one(going, about=About()).verdict is Verdict.REFUTED, "a rollout is no fault of the cluster"
    going.raw["metadata"]["deletionTimestamp"] = "2026-11-22T11:00:00Z"
    result = one(going, about=About(namespace="shop", workload="web"))
    assert result.severity is Severity.WARNING and "should have been gone at 2026-11-22 11:00 UTC" in result.text


def test_readiness_gates() -> None:
    gated = web(app(RUNNING, ready=True))
    gated.raw["spec"]["readinessGates"] = [{"conditionType": "lb/ready"}]
    assert "readiness gate lb/ready" in one(gated).text


def test_a_job_that_its_sidecar_keeps() -> None:
    owner = [{"kind": "Job", "name": "import", "apiVersion": "batch/v1", "controller": True}]
    done = pod("import-x2lq9", ready=False, ownerReferences=owner,
               status={"containerStatuses": [app(terminated(0, "Completed")), PROXY]})  # fmt: skip
    result = one(done, about=About(namespace="shop", workload="import"))
    assert result.severity is Severity.WARNING and "the Job does not complete" in result.text
    busy = pod("import-x2lq9", ownerReferences=owner)
    assert one(busy, about=About(namespace="shop", workload="import")).verdict is Verdict.REFUTED


def test_what_was_called_is_meant_and_nobody_else() -> None:
    loop = app({"waiting": {"reason": "CrashLoopBackOff"}})
    results = CHECK.ask(snapshot(service("web"), web(loop), pod("api-6c9dbf6b45-s2fnt")), CALLED)
    assert [r.verdict for r in results] == [Verdict.CONFIRMED]
    bystander = pod("old-6c9dbf6b45-s2fnt", ready=False, status={"containerStatuses": [loop]})
    results = CHECK.ask(snapshot(service("web"), bystander, pod(NAME), pod("api-6c9dbf6b45-s2fnt")), CALLED)
    assert [r.verdict for r in results] == [Verdict.REFUTED]


def test_a_client_that_crashes_does_not_explain_a_refused_call() -> None:
    loop = app({"waiting": {"reason": "CrashLoopBackOff"}})
    objects = service("api"), pod("api-6c9dbf6b45-s2fnt"), web(loop)
    about = About(namespace="shop", pod=NAME, source="shop/web", host="api.shop.svc.cluster.local")
    (result,) = CHECK.ask(snapshot(*objects), about)
    assert result.about and result.about.name == NAME and result.verdict is Verdict.CONFIRMED and not result.causes
    (result,) = CHECK.ask(snapshot(*objects), About(namespace="shop", pod=NAME, source="shop/web"))
    assert not result.causes


def test_the_whole_cluster_is_told_by_workload() -> None:
    loop = app({"waiting": {"reason": "CrashLoopBackOff"}}, restartCount=2)
    pods = [web(loop, name=f"web-6c9dbf6b45-{i}xxxx") for i in range(5)]
    system = pod("dns-6c9dbf6b45-s2fnt", "kube-system", ready=False, status={"containerStatuses": [loop]})
    bad, good = CHECK.ask(snapshot(*pods, pod("api-6c9dbf6b45-s2fnt"), system))
    assert bad.text.startswith("5 pods of Deployment shop/web") and len(bad.proofs) == 3
    assert "no-healthy-upstream" not in bad.causes
    assert good.text == "1 other pod without such a fault"


def test_names_that_are_none_go_into_no_command() -> None:
    status = app({"waiting": {"reason": "CrashLoopBackOff"}}, name="app; reboot")
    assert one(web(status)).advice == ""
    status["name"] = "app"
    assert one(web(status)).advice == f"kubectl -n shop logs {NAME} -c app --previous"


def test_not_checkable() -> None:
    assert one().verdict is Verdict.NOT_CHECKABLE
