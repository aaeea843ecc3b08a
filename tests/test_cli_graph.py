"""`meshdiag graph` on the command line: outputs, exit codes, mistakes."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from meshdiag.cli import main
from tests.conftest import HEALTHY, REFUSED, SAMPLES, access_line
from tests.diagnosis.captures import write

CHAIN = str(SAMPLES / "11-via-upstream-chain")
STRICT = str(SAMPLES / "05-strict-mtls-plaintext")
POD = "cart-7d6c5f9b84-z6r4p"


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")


def out(capsys: pytest.CaptureFixture[str], *args: str, code: int = 1) -> str:
    assert main(["graph", *args]) == code
    return capsys.readouterr().out


def edges(capsys: pytest.CaptureFixture[str], *args: str, code: int = 1) -> dict[tuple[str, str], dict[str, object]]:
    raw = json.loads(out(capsys, *args, "-o", "json", code=code))
    return {(e["source"], e["destination"]): e for e in raw["edges"]}


def mistake(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main(["graph", *args]) == 2
    err = capsys.readouterr().err
    assert err.startswith("meshdiag: ") and err.count("\n") == 1
    return err


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, CHAIN)
    assert "✗ istio-system/istio-ingressgateway → shop/storefront  15 of 21 failed (71 %)" in text
    assert "p50 69 ms, p99 89 ms" in text and "not known" not in text
    assert max(map(len, text.splitlines())) <= 110


def test_exit_codes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    good = write(tmp_path / "good", {POD: [HEALTHY] * 5})
    assert "5 requests" in out(capsys, str(good), code=0)
    bad = write(tmp_path / "bad", {POD: [REFUSED.replace("41dbb472", f"41dbb47{i}") for i in range(5)]})
    assert "5 of 5 failed (100 %) upstream-connection-refused" in out(capsys, str(bad))
    assert "no such file" in mistake(capsys, str(tmp_path / "absent.log"))
    with pytest.raises(SystemExit, match="2"):
        main(["graph", CHAIN, "--limit", "-1"])
    assert "no number of edges" in capsys.readouterr().err


def test_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert "… and 3 more edges (--limit 0)" in out(capsys, CHAIN, "--limit", "1")
    assert "more edges" not in out(capsys, CHAIN, "--limit", "0")


@pytest.mark.parametrize("more", [["-n", "shop"], ["--since", "2026-11-22T00:00:00Z"], ["--until", "2027-01-01"]])
def test_filters_leave_totals_and_latency(capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    """With filters the engine counts no requests; then those whose duration is known are counted."""
    some = edges(capsys, CHAIN, *more)
    bad = some["shop/catalog", "shop/pricing"]
    assert (bad["requests"], bad["failed"], bad["latency"]) == (16, 12, {"p50": 69.0, "p90": 86.0, "p99": 89.0})
    assert (("istio-system/istio-ingressgateway", "shop/assets") in some) == ("-n" not in more)


def test_versions_share_their_latency(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    host = "outbound|9080||ratings.shop.svc.cluster.local"
    up = "outbound|9080||reviews.shop.svc.cluster.local"
    folder = write(
        tmp_path,
        {
            "reviews-v1-6c9dbf6b45-s2fnt": [access_line(cluster=host)] * 60,
            "reviews-v2-6c9dbf6b45-s2fnt": [access_line(cluster=host).replace(" 19 3 ", " 19 700 ")] * 40,
            POD: [access_line(cluster=up)],
        },
    )
    edge = edges(capsys, str(folder), code=0)["shop/reviews", "shop/ratings"]
    assert (edge["requests"], edge["latency"]) == (100, {"p50": 3.0, "p90": 700.0, "p99": 700.0})


def test_standard_input_is_read_once_and_that_is_said_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (SAMPLES / "11-via-upstream-chain" / "shop_catalog-7b9f6d5c44-t8vhn_istio-proxy.log").read_bytes()
    wrapped = b"".join(b"[pod/catalog-7b9f6d5c44-t8vhn/istio-proxy] " + line for line in lines.splitlines(True))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(wrapped)))
    text = out(capsys, "-")
    assert text.count("Latency is not known") == 1 and "p50" not in text and "→ shop/pricing" in text


def test_without_frames_there_is_no_latency(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "meshdiag.framing.durations", None)
    assert out(capsys, CHAIN).count("Latency is not known") == 1
    assert all(e["latency"] is None for e in edges(capsys, CHAIN).values())


def test_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert "mutual TLS" in out(capsys, STRICT, "--cluster", f"{STRICT}/cluster")
    some = edges(capsys, STRICT, "--cluster", f"{STRICT}/cluster")
    assert some["shop/cart", "shop/orders"]["mtls"] == "mutual"
    assert {e["mtls"] for e in edges(capsys, STRICT).values()} == {""}
    assert "absent" in mistake(capsys, STRICT, "--cluster", "absent.yaml")


def test_svg(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = out(capsys, CHAIN, "-o", "svg")
    assert ElementTree.fromstring(text).tag.endswith("svg") and "<script" not in text
    assert text == out(capsys, CHAIN, "-o", "svg")
    for name in [n for n in sys.modules if n.startswith("meshdiag.plots")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "meshdiag[notebook]" in mistake(capsys, CHAIN, "-o", "svg")


@pytest.mark.parametrize("form", ["text", "dot", "mermaid", "json", "svg"])
def test_hostile_names(capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str) -> None:
    names = ["$x$", "<script>alert(1)</script>", "\x1b[31mred", "\u202eleft", "a" * 3000, '"];a->b', "名前", "-->"]
    lines = [
        access_line("503", "UH", "no_healthy_upstream", cluster=f"outbound|80||{n}.shop.svc.cluster.local")
        for n in names
    ]
    text = out(capsys, str(write(tmp_path, {POD: lines})), "-o", form)
    assert "\x1b" not in text and "\u202e" not in text
    if form in ("mermaid", "svg"):
        assert "<script" not in text
