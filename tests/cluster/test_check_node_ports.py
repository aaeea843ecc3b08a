"""The check `node-ports`."""

from __future__ import annotations

from typing import Any

from snapshots import obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Verdict, checks

CHECK = checks()["node-ports"]
CURL = About(host="localhost", port="8080")
PORTS = [{"name": "status-port", "port": 15021, "nodePort": 30001}, {"name": "http2", "port": 80, "nodePort": 31380}]


def _gateway() -> Object:
    gateway = pod("istio-ingressgateway-77f5b6c9d8-m6x2v", "istio-system", labels={"app": "istio-ingressgateway"})
    gateway.raw["spec"]["containers"] = [{"name": "istio-proxy"}]
    return gateway


def _service(kind: str = "NodePort", *addresses: str) -> Object:
    status = {"loadBalancer": {"ingress": [{"ip": a} for a in addresses]} if addresses else {}}
    return service("istio-ingressgateway", "istio-system", spec={"type": kind, "ports": PORTS}, status=status)


def _node(name: str, provider: str = "", version: str = "v1.34.1") -> Object:
    return obj("Node", name, spec={"providerID": provider}, status={"nodeInfo": {"kubeletVersion": version}})


K3D, KIND = (
    _node("k3d-mesh-server-0", "k3s://k3d-mesh-server-0", "v1.31.5+k3s1"),
    _node("kind-control-plane", "kind://docker/kind/kind-control-plane"),
)
CLOUD = _node("ip-10-0-0-1", "aws:///eu-west-1a/i-0")


def test_a_node_port_of_k3d() -> None:
    (result,) = CHECK.ask(snapshot(_gateway(), _service(), K3D), CURL)
    assert result.verdict is Verdict.CONFIRMED and result.causes == ("node-port-unreachable",)
    assert "port 31380 inside them" in result.text
    assert "k3d cluster edit mesh --port-add 8080:31380@loadbalancer" in result.advice
    assert [p.value for p in result.proofs] == ["NodePort", "31380", "k3d-mesh-server-0"]
    (result,) = CHECK.ask(snapshot(_gateway(), _service("LoadBalancer", "172.18.0.3"), K3D), CURL)
    assert "k3d cluster edit mesh --port-add 8080:80@loadbalancer" in result.advice


def test_a_node_port_of_kind() -> None:
    (result,) = CHECK.ask(snapshot(_gateway(), _service(), KIND), CURL)
    assert result.causes == ("node-port-unreachable",) and "containerPort 31380" in result.advice
    named_so = _node("web-worker", "aws:///eu-west-1a/i-0")
    (result,) = CHECK.ask(snapshot(_gateway(), _service(), named_so), CURL)
    assert result.verdict is Verdict.REFUTED


def test_without_a_finding_it_is_only_something_to_know() -> None:
    (result,) = CHECK.ask(snapshot(_gateway(), _service(), K3D))
    assert result.verdict is Verdict.CONFIRMED and not result.causes and result.severity.value == "info"


def test_a_cloud_is_fine() -> None:
    (result,) = CHECK.ask(snapshot(_gateway(), _service("LoadBalancer", "203.0.113.7"), CLOUD), CURL)
    assert result.verdict is Verdict.REFUTED and not result.causes


def test_a_load_balancer_without_address() -> None:
    (result,) = CHECK.ask(snapshot(_gateway(), _service("LoadBalancer"), KIND), CURL)
    assert result.causes == ("node-port-unreachable",) and "kind has no load balancer" in result.text
    (result,) = CHECK.ask(snapshot(_gateway(), _service("LoadBalancer"), CLOUD))
    assert result.verdict is Verdict.CONFIRMED and not result.causes


def _svclb(**status: Any) -> Object:
    conditions = [{"type": "PodScheduled", "status": "False", "message": "node(s) didn't have free ports"}]
    return pod(
        "svclb-istio-ingressgateway-c8c11e7f-qpf62",
        "kube-system",
        status={"phase": "Pending", "conditions": conditions, **status},
    )


def test_klipper_pods_that_do_not_get_their_port() -> None:
    traefik = service("traefik", "kube-system", spec={"type": "LoadBalancer", "ports": [{"port": 80}]},
                      status={"loadBalancer": {"ingress": [{"ip": "172.18.0.3"}]}})  # fmt: skip
    (result,) = CHECK.ask(snapshot(_gateway(), _service("LoadBalancer"), _svclb(), traefik, K3D), CURL)
    assert result.causes == ("node-port-unreachable",) and "as traefik holds the same port" in result.text
    assert result.proofs[1].value == "node(s) didn't have free ports"


def test_klipper_that_is_off() -> None:
    (result,) = CHECK.ask(snapshot(_gateway(), _service("LoadBalancer"), K3D), CURL)
    assert "the load balancer of k3s is off" in result.text


def test_other_services_are_not_asked_about() -> None:
    (result,) = CHECK.ask(snapshot(service("web", spec={"type": "NodePort"}), pod("web-1-2"), K3D), CURL)
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(_gateway(), _service(), unread={"Node": "403"}), CURL)
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_no_command_is_made_of_names_that_are_none() -> None:
    gateway = _gateway()
    hostile = service("x; rm -rf ~", "istio-system", spec={"type": "NodePort", "ports": PORTS})
    hostile.raw["spec"]["selector"] = {"app": "istio-ingressgateway"}
    (result,) = CHECK.ask(snapshot(gateway, hostile, K3D), CURL)
    assert result.causes and "rm -rf" not in result.advice
