"""Values that draw themselves in a notebook."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import meshdiag
from meshdiag.catalogue import Catalogue
from meshdiag.drawn import Several
from meshdiag.views.notebook import draw
from tests.conftest import NO_HOST, SAMPLES, access_line
from tests.plots.sources import many_lines
from tests.views import chromium
from tests.views.hostile import HACK, HOSTILE, hostile
from tests.views.test_html import Page

in_a_browser = pytest.mark.skipif(not chromium.FOUND, reason="no Chromium is installed")


def values(catalogue: Catalogue) -> dict[str, Any]:
    """One of each sort that draws itself."""
    chain = meshdiag.diagnose(SAMPLES / "11-via-upstream-chain", catalogue=catalogue)
    stuck = meshdiag.diagnose(SAMPLES / "07-proxy-stuck-not-ready", catalogue=catalogue)
    return {
        "diagnosis": chain,
        "nothing": meshdiag.diagnose([], catalogue=catalogue),
        "finding": chain.root_causes[0],
        "findings": chain.findings,
        "no findings": meshdiag.diagnose([], catalogue=catalogue).findings,
        "remedy": chain.root_causes[0].remedies[1],
        "timeline": stuck.timeline("cart"),
        "timelines": stuck.timelines,
        "flag": meshdiag.explain("UF", catalogue),
        "cause": meshdiag.explain("no-healthy-upstream", catalogue),
        "line": meshdiag.explain(NO_HOST, catalogue),
        "unknown line": meshdiag.explain("2026-11-22T10:00:00.000000Z\terror\tads\tno pattern has this", catalogue),
    }


def test_every_sort_is_a_whole_piece(catalogue: Catalogue) -> None:
    """One element, every tag closed, its own style, no script, nothing that is loaded, no id that another output may have."""
    for name, value in values(catalogue).items():
        html = value._repr_html_()
        page = Page(html)
        assert not page.open, name
        assert page.tags[0] == ("div", {"class": "meshdiag"})
        tags = {tag for tag, _ in page.tags}
        assert not tags & {"script", "link", "img", "iframe", "a", "html", "body"}, name
        assert not [
            a for _, attributes in page.tags for a in attributes if a in ("id", "style", "src", "href") or a[:2] == "on"
        ]
        assert "url(" not in page.inside["style"]
        assert all(rule.strip().startswith((".meshdiag", "@media", "[data-jp-theme", ".vscode", "}")) or not rule.strip()
                   for rule in page.inside["style"].splitlines())  # fmt: skip


def test_what_is_in_them(catalogue: Catalogue) -> None:
    """The words that count."""
    text = {name: "".join(Page(v._repr_html_()).text) for name, v in values(catalogue).items()}
    assert "2 root causes, 6 symptoms" in text["diagnosis"]
    assert "Nothing listens on the upstream port" in text["diagnosis"]
    assert "Symptoms (6)" in text["diagnosis"]
    assert "Nothing was read" in text["nothing"]
    assert "12 of its 12 requests (by x-request-id)" in text["finding"]
    assert "kubectl -n shop edit service pricing" in text["remedy"]
    assert "changes traffic" in text["remedy"]
    assert "not ready when the log ends" in text["timeline"]
    assert "certificate-issued (not reached)" in text["timeline"]
    assert "10:02:11.067" in text["timeline"]
    assert "ready after 1.2 s" in text["timelines"]
    assert "UpstreamConnectionFailure" in text["flag"]
    assert "upstream-connection-refused" in text["flag"]
    assert "no_healthy_upstream" in text["line"]
    assert "The nearest patterns miss" in text["unknown line"]
    assert "None." in text["no findings"]


def test_logs_are_escaped_and_redacted(catalogue: Catalogue) -> None:
    """As in every view."""
    some = hostile(catalogue)
    line = access_line("503", "UH", "no_healthy_upstream", path="/?access_token=s3cr3tvalue", host="-")
    secret = meshdiag.diagnose([line], catalogue=catalogue)
    for value in (some, some.findings, *some.findings, secret, *secret.findings, meshdiag.explain(line, catalogue)):
        html = value._repr_html_()
        assert "s3cr3tvalue" not in html
        assert "script" not in {tag for tag, _ in Page(html).tags}
    assert HACK in "".join(Page(some._repr_html_()).text)


def test_outputs_are_bounded(catalogue: Catalogue) -> None:
    """Thousands of findings make no notebook of many MB, and how many are not shown is said."""
    diagnosis = meshdiag.diagnose(many_lines(700), catalogue=catalogue)
    assert len(diagnosis.failures) > 1_000
    for value in (diagnosis, diagnosis.findings, diagnosis.failures):
        html = draw(value)
        assert len(html) < 500_000
        assert "… and " in html
    line = access_line(path="/" + "x" * 100_000)
    assert len(draw(meshdiag.explain(line, catalogue))) < 50_000


def test_texts_for_a_console_are_short(catalogue: Catalogue) -> None:
    """Where nothing is drawn, a line says what it is, without raw control characters."""
    some = values(catalogue)
    assert (
        repr(some["diagnosis"]) == "Diagnosis(153 lines, 8 failures: upstream-connection-refused, client-disconnected)"
    )
    assert repr(some["finding"]) == (
        "Finding(#1 upstream-connection-refused, 'shop/pricing', count=36, failure, error, confirmed, ongoing)"
    )
    assert repr(some["timeline"]) == "Timeline('cart-7d6c5f9b84-z6r4p', pilot-agent, not ready, last: envoy-launch)"
    assert repr(some["flag"]).startswith("Explanation('UF', response flag: 'UF (UpstreamConnectionFailure)', causes: ")
    for value in (hostile(catalogue), *hostile(catalogue).findings):
        assert repr(value).isprintable()


def test_several_are_a_tuple(catalogue: Catalogue) -> None:
    """Equal to one, and as easily copied."""
    findings = meshdiag.diagnose([NO_HOST], catalogue=catalogue).findings
    assert isinstance(findings, tuple)
    assert findings == tuple(findings)
    assert pickle.loads(pickle.dumps(findings)) == findings
    assert type(pickle.loads(pickle.dumps(findings))) is Several
    with pytest.raises(TypeError, match="int is not drawn"):
        draw(3)


# -- in a browser

HOSTS = {
    "jupyterlab-light": '<body data-jp-theme-light="true" style="background:#fff;color:#212121">',
    "jupyterlab-dark": '<body data-jp-theme-light="false" style="background:#111;color:#e0e0e0">',
    "vscode-light": '<body class="vscode-light" style="background:#fff;color:#333">',
    "vscode-dark": '<body class="vscode-dark" style="background:#1e1e1e;color:#ccc">',
    "plain": '<body style="background:Canvas;color:CanvasText"><style>:root{color-scheme:light dark}</style>',
}
"""Pages as the notebooks' programs make them: what they tell of their theme."""

DARK_ERROR, LIGHT_ERROR = "rgb(248, 81, 73)", "rgb(207, 34, 46)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    with chromium.browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("host", HOSTS)
def test_they_follow_the_theme(
    host: str, scheme: str, page: chromium.Page, tmp_path: Path, catalogue: Catalogue
) -> None:
    """The notebook's theme counts, not the system's; a page that tells none follows the system. Texts are the page's own."""
    path = tmp_path / "host.html"
    path.write_text(
        f"<!doctype html><meta charset=utf-8>{HOSTS[host]}{values(catalogue)['finding']._repr_html_()}</body>"
    )
    page.media(prefers_color_scheme=scheme)
    page.open(path)
    is_dark = scheme == "dark" if host == "plain" else host.endswith("dark")
    border = page.js("getComputedStyle(document.querySelector('details.error')).borderLeftColor")
    assert border == (DARK_ERROR if is_dark else LIGHT_ERROR)
    own = page.js("getComputedStyle(document.body).color")
    assert page.js("[...document.querySelectorAll('.meshdiag p, .meshdiag pre, .meshdiag b')].map(e => getComputedStyle(e).color)"
                   f".every(c => c === {own!r})")  # fmt: skip
    assert not page.complaints


@in_a_browser
def test_logs_are_inert_in_a_page_without_a_policy(page: chromium.Page, tmp_path: Path, catalogue: Catalogue) -> None:
    """A notebook has none: only escaping stands between a log and the page."""
    some = hostile(catalogue)
    line = meshdiag.explain(access_line("503", "UH", HOSTILE[0].replace(" ", "_"), path=f"/{HOSTILE[3]}"), catalogue)
    remedy = replace(some.failures[0].remedies[0], title=HOSTILE[0], why=HOSTILE[3], verify=HOSTILE[16])
    pieces = "".join(v._repr_html_() for v in (some, some.findings, *some.findings[:50], line, remedy))
    path = tmp_path / "host.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><body>{pieces}</body>", encoding="utf-8")
    page.requests.clear()
    page.open(path)
    page.js("document.querySelectorAll('details').forEach(d => (d.open = true))")
    page.js("document.querySelectorAll('*').forEach(e => e.click && e.click())")
    assert page.js("typeof window.hacked") == "undefined"
    assert page.js("document.scripts.length + document.images.length + document.links.length") == 0
    assert page.requests == [path.absolute().as_uri()]
    assert not page.complaints
