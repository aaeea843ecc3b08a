"""What people paste: blanks of web pages, descriptions without their indentation. However the bytes are cut, it is found."""

from __future__ import annotations

import pytest

from meshdiag.catalogue import Catalogue
from meshdiag.engine.scan import PASTED, classify
from tests.engine.test_scan_container import matches
from tests.formats.test_container import FLAT

SAID = "RBAC: access denied"
PLAIN = f"all is well\n{SAID}\nstill well\n"


@pytest.mark.parametrize("blank", ["\xa0", "\u3000"])
@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize("block", [64, 4 << 20])
def test_blanks_of_web_pages(catalogue: Catalogue, blank: str, pure: bool, block: int) -> None:
    text = PLAIN.replace(" ", blank)
    (match,) = matches(catalogue, text, pure, block)[1]
    assert (match.record.text, match.record.offset) == (SAID, text.encode().index(b"RBAC"))
    assert match.cause == "rbac-denied"
    assert [m.cause for m in classify(text.splitlines(), catalogue)] == [match.cause]


def test_an_unknown_line_with_such_blanks_is_counted(catalogue: Catalogue) -> None:
    line = "2026-11-22T10:11:12.123456Z\xa0\xa0error\xa0\xa0shop\xa0\xa0something\xa0quite\xa0new"
    assert matches(catalogue, line)[0].unrecognised


def test_they_are_looked_for_at_the_beginning_only(catalogue: Catalogue) -> None:
    filler = "all is well\n"
    text = filler * (PASTED // len(filler) + 200) + SAID.replace(" ", "\xa0") + "\nstill well\n"
    assert not matches(catalogue, text)[1]
    assert matches(catalogue, text.replace("\xa0", " "))[1]


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize("block", [300, 4 << 20])
def test_a_description_without_its_indentation(catalogue: Catalogue, pure: bool, block: int) -> None:
    found = {m.pattern: m for m in matches(catalogue, FLAT, pure, block)[1]}
    assert found["container-failed-proxy"].record.fields["container"] == "istio-proxy"
    assert "event-oom-killed" not in found  # it is the application's


def test_a_reason_of_nobody_is_still_a_line(catalogue: Catalogue) -> None:
    assert [m.cause for m in matches(catalogue, "Reason: OOMKilled\n")[1]] == ["proxy-out-of-memory"]
