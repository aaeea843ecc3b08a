"""The report in a real browser, and as the command writes it."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

import meshdiag
from meshdiag import report
from meshdiag.catalogue import Catalogue
from meshdiag.cli import main
from meshdiag.views import html
from tests.conftest import HEALTHY, NO_HOST, SAMPLES, access_line
from tests.plots.sources import many_lines
from tests.views import chromium
from tests.views.hostile import HACK, HOSTILE, hostile

in_a_browser = pytest.mark.skipif(not chromium.FOUND, reason="no Chromium is installed")

CHAIN = SAMPLES / "11-via-upstream-chain"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    with chromium.browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a sample, as the command writes it."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert main(["report", str(CHAIN), "-o", str(path)]) == 1
    return path


VISIBLE = "[...document.querySelectorAll('[data-text]')].filter(e => e.checkVisibility()).length"
CLOSED = "document.querySelectorAll('details:not([open])').length"


# -- in a browser


@in_a_browser
def test_it_opens_without_a_complaint(page: chromium.Page, chain: Path) -> None:
    """No error, nothing is loaded but the file and the pictures in it, and every picture is one."""
    page.requests.clear()
    page.open(chain)
    assert not page.complaints
    assert {r.partition(":")[0] for r in page.requests} == {"file", "data"}
    assert page.requests.count(chain.absolute().as_uri()) == 1
    widths = page.js("Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))")
    assert len(widths) == 2 * 5  # service graph, over time, causes, edges, latency: light and dark
    assert min(widths) > 200


@in_a_browser
def test_search_finds_and_says_how_many(page: chromium.Page, chain: Path) -> None:
    """`/` leads to the field; what does not have all words goes, and so do sections without any."""
    page.open(chain)
    every = page.js("document.querySelectorAll('[data-text]').length")
    page.type("/")
    assert page.js("document.activeElement.id") == "find"
    page.type("client-disconnected storefront")
    assert page.js("document.getElementById('find').value") == "client-disconnected storefront"
    left = page.js("[...document.querySelectorAll('[data-text]')].filter(e => !e.hidden).map(e => e.id)")
    assert left == ["f2", "f8"]
    assert page.js(VISIBLE) == 2
    assert page.js("document.getElementById('shown').textContent") == f"2 of {every}"
    assert page.js("[...document.querySelectorAll('section')].filter(s => s.checkVisibility()).length") == 2
    page.type(" nowhere")
    assert page.js(VISIBLE) == 0
    assert page.js("document.getElementById('none').checkVisibility()")
    page.press("Escape")
    assert page.js(VISIBLE) > 8
    assert page.js("document.getElementById('shown').textContent") == ""
    assert not page.complaints


@in_a_browser
def test_findings_open_and_close(page: chromium.Page, chain: Path) -> None:
    """By a click on one, by the buttons for all, and by a link to one that is closed and not even found by the search."""
    page.open(chain)
    assert page.js("document.getElementById('f1').open")
    page.click("#f1 > summary")
    assert not page.js("document.getElementById('f1').open")
    page.click("#open")
    assert page.js(CLOSED) == 0
    page.click("#close")
    assert page.js("document.querySelectorAll('details[open]').length") == 0
    page.click("#f1 > summary")
    page.click("#find")
    page.type("pricing refused")
    page.click('#f1 a[href="#f5"]')
    page.until("document.getElementById('f5').open")
    assert page.js("location.hash") == "#f5"
    assert page.js("document.getElementById('f5').checkVisibility()")
    page.open(chain, "#f7")
    page.until("document.getElementById('f7').open")
    assert not page.complaints


@in_a_browser
def test_paper_shows_everything(page: chromium.Page, chain: Path) -> None:
    """All is open when it is printed, light, without the bar; afterwards it is as before."""
    page.open(chain)
    page.media(prefers_color_scheme="dark")
    before = page.js(CLOSED)
    assert before > 0
    page.js(
        "addEventListener('beforeprint', () => requestAnimationFrame(() => 0) && (window.printed = ["
        f"{CLOSED}, getComputedStyle(document.querySelector('#bar')).display]))"
    )
    assert page.pdf().startswith(b"%PDF")
    assert page.js("window.printed[0]") == 0
    assert page.js(CLOSED) == before
    page.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert page.js("getComputedStyle(document.getElementById('bar')).display") == "none"
    assert page.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.js("[...document.images].filter(i => i.checkVisibility()).every(i => i.className === 'light')")
    page.call("Emulation.setEmulatedMedia", media="", features=[])


@in_a_browser
@pytest.mark.parametrize(("scheme", "background"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(13, 17, 23)")])
def test_light_and_dark(scheme: str, background: str, page: chromium.Page, chain: Path) -> None:
    """The page follows the system, and so do the pictures: each is shown once."""
    page.open(chain)
    page.media(prefers_color_scheme=scheme)
    assert page.js("getComputedStyle(document.body).backgroundColor") == background
    shown = page.js("[...document.images].filter(i => i.checkVisibility()).map(i => i.className)")
    assert shown == [scheme] * 5
    page.media()


@in_a_browser
def test_logs_are_inert(page: chromium.Page, tmp_path: Path, catalogue: Catalogue) -> None:
    """Whatever a log says, nothing of it runs, is loaded, or leads away; not even when everything is open and clicked."""
    diagnosis = hostile(catalogue)
    path = tmp_path / "hostile.html"
    notes = [(diagnosis.seen.first, text) for text in HOSTILE if diagnosis.seen.first]
    text = report.render(diagnosis, title=HOSTILE[0] + HOSTILE[3], notes=notes)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
    assert text.count(HACK) > len(HOSTILE)
    page.requests.clear()
    page.open(path)
    page.click("#open")
    page.js("document.querySelectorAll('summary, pre, code, td, li, img').forEach(e => e.click())")
    page.type("/<script>")
    assert page.js("typeof window.hacked") == "undefined"
    assert page.js("location.href") == path.absolute().as_uri()
    assert page.js("document.scripts.length") == 1
    assert page.js("[...document.links].every(a => /^#f[0-9]+$/.test(a.getAttribute('href')))")
    assert page.js(
        "[...document.querySelectorAll('*')].every(e => [...e.attributes].every(a => !/^on|style/.test(a.name)))"
    )
    assert {r.partition(":")[0] for r in page.requests} == {"file", "data"}
    assert not page.complaints


@in_a_browser
def test_a_script_in_a_picture_is_dead(page: chromium.Page, tmp_path: Path, catalogue: Catalogue) -> None:
    """Even if a plot held one. That such a page can tell is shown by a script that may run."""
    attack = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="99" onload="{HACK};parent.{HACK}"><script>{HACK};'
        f'top.{HACK}</script><image href="http://127.0.0.1:9/x.png"/><rect width="300" height="99"/></svg>'
    ).encode()
    path = tmp_path / "svg.html"
    picture = html.Picture("x", HOSTILE[3], attack, attack)
    path.write_text(html.render(meshdiag.diagnose([NO_HOST], catalogue=catalogue), pictures=[picture]))
    page.requests.clear()
    page.open(path)
    assert page.js("Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))") == [300, 300]
    assert page.js("typeof window.hacked") == "undefined"
    assert {r.partition(":")[0] for r in page.requests} == {"file", "data"}
    control = tmp_path / "control.html"
    control.write_text(f"<body>{attack.decode()}</body>")
    page.open(control)
    assert page.js("window.hacked") == 1
    page.complaints.clear()


# -- what is written


def test_plots_are_the_same_bytes_every_time(catalogue: Catalogue) -> None:
    """No date, no random ids: the same report of the same logs."""
    diagnosis = meshdiag.diagnose(CHAIN, catalogue=catalogue)
    assert report.pictures(diagnosis) == report.pictures(diagnosis)
    assert diagnosis.to_html() == diagnosis.to_html()


def test_plots_are_svg_without_scripts(catalogue: Catalogue) -> None:
    """Well-formed, self-contained, light and dark in different colours, whatever the names are."""
    some = report.pictures(hostile(catalogue))
    assert [p.title for p in some] == ["Failures over time", "Causes", "Edges"]
    for picture in some:
        assert picture.light != picture.dark
        for svg in (picture.light, picture.dark):
            root = ElementTree.fromstring(svg)
            names = {e.tag.rpartition("}")[2] for e in root.iter()}
            assert not names & {"script", "foreignObject", "a", "animate", "set"}
            links = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
            assert all(v.startswith(("#", "data:image/png;base64,")) for v in links)
            assert not [v for e in root.iter() for v in (*e.attrib.values(), e.text or "") if "://" in v]


def test_to_html_is_the_report(catalogue: Catalogue) -> None:
    """With plots, or without; secrets only when asked for."""
    line = access_line("503", "UH", "no_healthy_upstream", path="/?access_token=s3cr3tvalue", host="-")
    diagnosis = meshdiag.diagnose([line], catalogue=catalogue)
    assert "data:image/svg+xml" in diagnosis.to_html()
    assert "<img" not in diagnosis.to_html(plots=False)
    assert "s3cr3tvalue" not in diagnosis.to_html()
    assert "s3cr3tvalue" in diagnosis.to_html(redacted=False)
    assert "<title>Friday night</title>" in diagnosis.to_html(title="Friday night")


def test_without_matplotlib_it_says_how_to_get_plots(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report is whole but for the plots."""
    monkeypatch.setitem(sys.modules, "meshdiag.plots", None)
    text = meshdiag.diagnose(CHAIN, catalogue=catalogue).to_html()
    assert "pip install &#x27;meshdiag[notebook]&#x27;" in text
    assert "img-src" not in text
    assert "Nothing listens on the upstream port" in text


def test_its_size_is_bounded(catalogue: Catalogue) -> None:
    """A few MB, however many findings there are."""
    diagnosis = meshdiag.diagnose(many_lines(700), catalogue=catalogue)
    assert len(diagnosis.findings) > 1_000
    assert len(diagnosis.to_html()) < 5_000_000


# -- the command


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit codes are those of diagnose; latency is in it, for which the logs are read once more."""
    path = tmp_path / "r.html"
    assert main(["report", str(CHAIN), "-o", str(path), "--title", "Friday"]) == 1
    text = path.read_text()
    assert "<h1>Friday</h1>" in text
    assert "How long requests took" in text
    assert "2 root causes" in capsys.readouterr().err
    assert main(["report", str(SAMPLES / "01-healthy-mesh"), "-o", str(path), "--no-plots"]) == 0
    assert "No failure found" in path.read_text()
    assert "no failure found" in capsys.readouterr().err


def test_the_command_filters(tmp_path: Path) -> None:
    """As diagnose does."""
    path = tmp_path / "r.html"
    some = [
        "report",
        str(CHAIN),
        "-o",
        str(path),
        "--cause",
        "client-disconnected",
        "--pod",
        "storefront-6f7c9d8b5d-x4mzq",
    ]
    assert main(some) == 1
    text = path.read_text()
    assert "client-disconnected" in text
    assert "upstream-connection-refused</code>" not in text


def test_the_command_writes_to_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also for what cannot be read twice, without latency."""
    log = tmp_path / "a.log"
    log.write_text(NO_HOST + "\n")
    assert main(["report", str(log), "-o", "-"]) == 1
    out = capsys.readouterr()
    assert out.out.startswith("<!doctype html>")
    assert out.err == ""


def test_redacted_unless_asked(tmp_path: Path) -> None:
    """As in every command."""
    log, path = tmp_path / "a.log", tmp_path / "r.html"
    log.write_text(access_line("503", "UH", "no_healthy_upstream", path="/?access_token=s3cr3tvalue", host="-") + "\n")
    main(["report", str(log), "-o", str(path)])
    assert "s3cr3tvalue" not in path.read_text()
    main(["report", str(log), "-o", str(path), "--no-redact"])
    assert "s3cr3tvalue" in path.read_text()


def test_no_log_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not an input, nor another file that is no report; and what cannot be written is said before anything is read."""
    log, other = tmp_path / "a.html", tmp_path / "notes.txt"
    log.write_text(HEALTHY + "\n")
    other.write_text("mine")
    for out, said in (
        (log, "is an input"), (other, "no .html file"), (tmp_path, "is a folder"), (tmp_path / "no" / "r.html", "there is no folder")
    ):  # fmt: skip
        assert main(["report", str(log), "-o", str(out)]) == 2
        assert said in capsys.readouterr().err
    assert log.read_text() == HEALTHY + "\n"
    assert other.read_text() == "mine"
    assert main(["report", str(tmp_path / "nothing"), "-o", str(tmp_path / "r.html")]) == 2
    assert not (tmp_path / "r.html").exists()


def test_pictures_in_the_page_are_those_of_the_plots(chain: Path) -> None:
    """Each light and dark, with words for who cannot see them."""
    some = re.findall(r'<img class="(\w+)" src="data:image/svg\+xml;base64,([^"]+)" alt="([^"]+)">', chain.read_text())
    assert [kind for kind, _, _ in some] == ["light", "dark"] * 5
    for _, data, alt in some:
        assert base64.b64decode(data).startswith(b"<?xml")
        assert alt.endswith(".")
