"""The HTML report: one file, inert whatever the logs say."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

import meshdiag
from meshdiag.catalogue import Catalogue
from meshdiag.model import Change, Evidence, Remedy, Step
from meshdiag.views import fragments
from meshdiag.views.html import ROOTS, SYMPTOMS, render
from tests.conftest import SAMPLES, access_line
from tests.plots.sources import many_lines
from tests.views.hostile import HACK, HOSTILE, hostile

VOID = {"meta", "input", "br", "img"}


class Page(HTMLParser):
    """What a document holds, as a browser would see it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.inside: dict[str, str] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"{tag} closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            self.inside[self.open[-1]] = self.inside.get(self.open[-1], "") + data
        else:
            self.text.append(data)


@pytest.mark.parametrize(
    "name", ["02-connection-refused", "13-nack-then-routes-missing", "01-healthy-mesh", "bug-report"]
)
def test_samples_are_whole_documents(name: str, catalogue: Catalogue) -> None:
    """Every tag is closed, and every finding, remedy and problem is in it."""
    diagnosis = meshdiag.diagnose(SAMPLES / name, catalogue=catalogue)
    page = Page(render(diagnosis))
    assert not page.open
    text = "".join(page.text)
    for f in diagnosis.findings:
        assert f.title in text
        assert f.cause in text
    for f in diagnosis.failures:
        assert all(r.title in text for r in f.remedies)


def test_logs_are_inert(catalogue: Catalogue) -> None:
    """Nothing of a log becomes a tag or an attribute; control characters are shown, not sent."""
    text = render(hostile(catalogue), title=HOSTILE[0], notes=[(datetime.now(UTC), t) for t in HOSTILE])
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not {"img", "base", "iframe", "object", "link", "form", "a:href"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not [a for a in attributes if a.startswith("on")], (tag, attributes)
        assert "style" not in attributes
        assert re.fullmatch(r"#f\d+", attributes["href"] or "") if "href" in attributes else True
    assert HACK in "".join(page.text)
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u2028\u2029\u202e]", text)


def test_the_policy_allows_only_its_own_script_and_style(catalogue: Catalogue) -> None:
    """The hashes in the policy are those of what stands in the file; everything else is forbidden, and nothing is fetched."""
    text = render(hostile(catalogue))
    page = Page(text)
    policy = next(a["content"] or "" for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(page.inside[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "http://" not in page.inside["style"] + page.inside["script"]
    assert not [a for _, a in page.tags if "src" in a]


def test_secrets_are_pseudonyms(catalogue: Catalogue) -> None:
    """Tokens are not in the report unless asked for."""
    line = access_line("503", "UH", "no_healthy_upstream", path="/?access_token=s3cr3tvalue", host="-")
    diagnosis = meshdiag.diagnose([line], catalogue=catalogue)
    assert "s3cr3tvalue" not in render(diagnosis)
    assert "s3cr3tvalue" in render(diagnosis, redacted=False)


def test_nothing_read(catalogue: Catalogue) -> None:
    """An empty input says so."""
    assert "Nothing was read" in render(meshdiag.diagnose([], catalogue=catalogue))


def test_a_long_list_is_bounded(catalogue: Catalogue) -> None:
    """Of many findings the first are told in full, some in a line, the rest is counted."""
    diagnosis = meshdiag.diagnose(many_lines(700), catalogue=catalogue)
    text = render(diagnosis)
    page = Page(text)
    detailed = [a for tag, a in page.tags if tag == "details" and (a.get("class") or "").startswith("finding")]
    assert len(detailed) == ROOTS + SYMPTOMS
    assert re.search(r"… and [\d,]+ more findings", "".join(page.text))
    assert len(text) < 4_000_000


def test_what_the_cluster_says_is_escaped(catalogue: Catalogue) -> None:
    """Evidence, changes and remedies are texts like all others."""
    attack = HOSTILE[0]
    finding = replace(
        meshdiag.diagnose([access_line("503", "UH", "no_healthy_upstream", host="-")], catalogue=catalogue).failures[0],
        evidence=(Evidence(attack),),
        changes=(Change(attack, None, None),),
        alternatives=(attack,),
        tell_apart=f"`{attack}`",
        reach=((attack, 1),),
        remedies=(Remedy(attack, (Step(attack, attack, attack),), attack, attack, attack, notes=(attack,)),),
    )
    page = Page("".join(fragments.finding(finding, {}, fragments.Pen(), is_open=True)))
    assert not page.open
    assert "script" not in {tag for tag, _ in page.tags}
    assert "".join(page.text).count(attack.replace("`", "")) >= 11
