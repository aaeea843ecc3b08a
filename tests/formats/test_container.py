"""The block of a container in `kubectl describe pod`: whose state it is, and what must not pass for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshdiag.formats import records
from meshdiag.formats.container import parse
from meshdiag.model import Record

POD = """\
Name:             pricing-59d7c6b8f4-j2wqk
Namespace:        shop
Priority:         0
Service Account:  pricing
Node:             node-1/172.18.0.2
Labels:           app=pricing
                  version=v1
Status:           Running
Init Containers:
  istio-init:
    Container ID:  containerd://5c1f
    Image:         docker.io/istio/proxyv2:1.29.0
    Port:          <none>
    Args:
      istio-iptables
      -p
      15001
    State:          Terminated
      Reason:       Completed
      Exit Code:    0
    Ready:          True
    Restart Count:  0
Containers:
  pricing:
    Image:          registry.example.com/pricing:2
    State:          Running
      Started:      Sun, 22 Nov 2026 10:11:12 +0000
    Last State:     Terminated
      Reason:       OOMKilled
      Exit Code:    137
    Ready:          True
    Restart Count:  7
    Environment:    <none>
  istio-proxy:
    Image:         docker.io/istio/proxyv2:1.29.0
    State:          Waiting
      Reason:       CrashLoopBackOff
    Last State:     Terminated
      Reason:       Error
      Exit Code:    134
    Ready:          False
    Restart Count:  3
Conditions:
  Type              Status
  Ready             False
Events:
  Type     Reason     Age                From               Message
  ----     ------     ----               ----               -------
  Warning  BackOff    64s (x12 over 3m)  kubelet  Back-off restarting failed container istio-proxy in pod p_shop(0b8a)
"""
ALONE = POD[POD.index("  pricing:\n") : POD.index("  istio-proxy:")]
LOG = "2026-11-22T10:11:12.123456Z\twarn\tenvoy config external/x.cc:1\tgRPC config rejected: a\nb: c\tthread=15\n"


def blocks(text: str) -> list[Record]:
    return [r for r in records(text.splitlines(keepends=True)) if r.format == "container"]


def test_each_container_of_a_pod_with_its_fields() -> None:
    init, app, proxy = blocks(POD)
    assert dict(init.fields) == {
        "pod": "pricing-59d7c6b8f4-j2wqk",
        "namespace": "shop",
        "container": "istio-init",
        "image": "docker.io/istio/proxyv2:1.29.0",
        "state": "Terminated",
        "state_reason": "Completed",
        "state_exit_code": "0",
        "ready": "True",
        "restart_count": "0",
    }
    assert (app.fields["state"], app.fields["last_reason"], app.fields["last_exit_code"]) == (
        "Running",
        "OOMKilled",
        "137",
    )
    assert "state_reason" not in app.fields
    assert (proxy.fields["state_reason"], proxy.fields["last_reason"]) == ("CrashLoopBackOff", "Error")
    assert (proxy.origin.namespace, proxy.origin.pod, proxy.origin.container) == (
        "shop",
        "pricing-59d7c6b8f4-j2wqk",
        "istio-proxy",
    )
    assert "15001" not in init.text
    assert POD[proxy.offset :].startswith("  istio-proxy:")


def test_among_other_text_and_alone() -> None:
    assert len(blocks(LOG + POD + LOG)) == 3
    (app,) = blocks("What I saw:\n\n" + ALONE)
    assert (app.fields["container"], app.origin.pod) == ("pricing", "")
    (app,) = blocks("\n".join(line[2:] for line in ALONE.split("\n")))
    assert app.fields["last_reason"] == "OOMKilled"


def test_a_pod_is_not_that_of_a_description_that_is_over() -> None:
    for between in ("\n", "Events:  <none>\n", "$ kubectl describe pod x\n"):
        assert "pod" not in blocks(POD + between + ALONE)[-1].fields


@pytest.mark.parametrize(
    "text",
    [
        "  web:\n    Image: a\n",  # a pod template has no state
        "  web:\n    Args:\n      State:          Terminated\n        Reason:       OOMKilled\n    Port: 80\n",
        "  web:\n  other:\n    State: Running\n",
        "  Web:\n    State:          Running\n",
        "  web:\n    state: Running\n",
        "  web:",
        "",
    ],
)
def test_what_is_no_block(text: str) -> None:
    assert parse(text) is None


def test_lines_of_what_was_no_block_are_lines() -> None:
    text = "  web:\n    Image: a\n    level: b\nother\n"
    assert [(r.format, r.text, r.offset) for r in records(text.splitlines(keepends=True))] == [
        ("text", "  web:", 0),
        ("text", "    Image: a", 7),
        ("text", "    level: b", 20),
        ("text", "other", 33),
    ]


def test_an_argument_or_variable_is_no_state() -> None:
    (block,) = blocks(
        "  web:\n    Args:\n      Reason:       OOMKilled\n    State:          Running\n"
        "      Started:      now\n    Environment:\n      State:  Terminated\n      Reason:  OOMKilled\n"
    )
    assert dict(block.fields) == {"container": "web", "state": "Running"}
    assert "OOMKilled" not in block.text


LINES = st.sampled_from([line + "\n" for line in (POD + LOG).splitlines()] + ["\n", "    a:\n", "{\n", "}\n", "web:\n"])


@given(st.lists(LINES, max_size=40))
def test_no_line_is_lost(lines: list[str]) -> None:
    """Every line that is not blank stands in a record or between the first and last of a block."""
    found = list(records(lines))
    assert all(0 <= r.offset <= sum(map(len, lines)) for r in found)
    seen = "\n".join(r.text for r in found)
    for line in lines:
        if line.strip() and not line.lstrip().startswith("Reason:"):
            assert line.strip() in seen or line.strip() in ("{", "}")


FLAT = "\n".join(line.lstrip() for line in POD.splitlines())


def test_a_description_pasted_without_its_indentation_says_whose_state_it_is() -> None:
    found = [r for r in records(FLAT.splitlines()) if r.format == "container"]
    assert [r.fields["container"] for r in found] == ["istio-init", "pricing", "istio-proxy"]
    init, app, proxy = (dict(r.fields) for r in found)
    assert init["state_reason"] == "Completed"
    assert (app["state"], app["last_reason"], app["last_exit_code"], app["restart_count"]) == (
        "Running",
        "OOMKilled",
        "137",
        "7",
    )
    assert (proxy["image"], proxy["state_reason"], proxy["last_exit_code"]) == (
        "docker.io/istio/proxyv2:1.29.0",
        "CrashLoopBackOff",
        "134",
    )


@pytest.mark.parametrize(
    "lines",
    [
        ["Args:", "State: Terminated", "Reason: OOMKilled", "State: Running", "Ready: True"],
        ["State: Terminated", "Reason: OOMKilled", "Exit Code: 137"],  # the end is cut off
        ["State: Terminated", "some words", "Reason: OOMKilled", "Ready: False"],
    ],
)
def test_without_depth_only_an_unbroken_state_counts(lines: list[str]) -> None:
    text = ["istio-proxy:", "Image: docker.io/istio/proxyv2:1.29.0", *lines]
    assert parse("\n".join(text)) is None
    assert [r.text for r in records(text)] == text


def test_without_depth_the_variables_below_are_not_of_the_state() -> None:
    text = "web:\nContainer ID: containerd://5c1f\nState: Running\nReady: True\nRestart Count: 0\nEnvironment:\nReason: OOMKilled"
    (record, *others) = records(text.splitlines())
    assert dict(record.fields) == {"container": "web", "state": "Running", "ready": "True", "restart_count": "0"}
    assert "Reason: OOMKilled" in [r.text for r in others]
