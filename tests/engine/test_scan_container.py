"""The scanner and the blocks of containers: what decides is whose reason it is, however the bytes are cut."""

from __future__ import annotations

import io
from typing import BinaryIO

import pytest

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis.findings import Findings
from meshdiag.engine.scan import Scanner
from meshdiag.model import Match, Origin
from meshdiag.sources.base import Stream
from tests.formats.test_container import LOG, POD


def stream_of(data: bytes) -> Stream:
    def opened() -> BinaryIO:
        return io.BytesIO(data)

    return Stream(Origin("mem.log"), opened, len(data))


def matches(catalogue: Catalogue, text: str, pure: bool = False, block: int = 4 << 20) -> tuple[Findings, list[Match]]:
    found: list[Match] = []
    findings = Scanner(catalogue, on_match=found.append, pure=pure, block=block).scan(stream_of(text.encode()))
    return findings, found


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize("around", ["", LOG, LOG + "\n"])
def test_scan_decides_by_the_container(catalogue: Catalogue, pure: bool, around: str) -> None:
    findings, found = matches(catalogue, around + POD, pure)
    of = {m.pattern: m for m in found}
    assert of["container-failed-proxy"].cause == "proxy-crashed"
    assert "event-oom-killed" not in of and "event-back-off-proxy" in of
    assert {s.name for (cause, s) in findings.tallies if cause == "proxy-crashed"} >= {"pricing"}


def test_the_app_out_of_memory_is_no_failure_of_the_mesh(catalogue: Catalogue) -> None:
    upto = POD[: POD.index("  istio-proxy:")]
    findings, found = matches(catalogue, upto)
    assert not found
    assert findings.harmless >= 2
    assert [m.cause for m in matches(catalogue, "      Reason:       OOMKilled\n")[1]] == ["proxy-out-of-memory"]


def test_istiod_out_of_memory(catalogue: Catalogue) -> None:
    text = (
        POD.replace("  pricing:\n", "  discovery:\n")
        .replace("CrashLoopBackOff", "PodInitializing")
        .replace("Error", "x")
    )
    ((match,),) = [[m for m in matches(catalogue, text)[1] if m.record.format == "container"]]
    assert match.cause == "istiod-out-of-memory"


def test_what_stands_beside_the_reason_is_still_looked_at(catalogue: Catalogue) -> None:
    said = "      Message:      upstream connect error or disconnect/reset before headers. reset reason: connection failure\n"
    text = POD.replace("      Exit Code:    134\n", said + "      Exit Code:    134\n")
    alone = {m.pattern for m in matches(catalogue, said)[1]}
    assert alone and alone <= {m.pattern for m in matches(catalogue, text)[1]}


@pytest.mark.parametrize("size", [2500, 3000, 4096])
def test_any_division_into_blocks_gives_the_same(catalogue: Catalogue, size: int) -> None:
    text = (POD + "\n") * 6
    assert matches(catalogue, text, block=size)[0] == matches(catalogue, text)[0]
