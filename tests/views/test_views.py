"""What a person sees: harmless on a terminal, readable at any width, redacted."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import meshdiag
from meshdiag.redact import pseudonym, redact
from meshdiag.views import jsonl, markdown, text
from meshdiag.views.safe import columns, one_line, safe
from meshdiag.views.style import Style
from tests.conftest import NO_HOST, REFUSED, access_line

HOSTILE = "\x1b[2J\x1b]0;pwned\x07\x00\u202egpj.exe\r\n<script>alert(1)</script>``` | x"


def hostile() -> meshdiag.Diagnosis:
    clean = HOSTILE.replace("\n", "").replace("\r", "")
    lines = [
        access_line("503", "UH", "no_healthy_upstream", agent=clean, host="-", local="-"),
        access_line(
            "503", "UH", "no_healthy_upstream", cluster=f"outbound|80||{clean.replace(' ', '')}", host="-", local="-"
        ),
        f"2026-11-22T10:00:00.000000Z\terror\tnobody knows {clean}",
        f"[pod/{clean}/istio-proxy] {REFUSED}",
    ]
    return meshdiag.diagnose(lines)


@pytest.mark.parametrize("render", [text.render, markdown.render, jsonl.render, lambda d: d.to_json()])
def test_no_control_character_of_a_log_is_written(render) -> None:  # type: ignore[no-untyped-def]
    out = render(hostile())
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out)


def test_markdown_keeps_log_text_in_code() -> None:
    for line in markdown.render(hostile()).splitlines():
        if "<script>" in line:
            assert re.search(r"(`+).*<script>.*\1", line) or not line.startswith(("#", "-", "|"))


@given(st.text(), st.integers(1, 60))
def test_one_line_fits(value: str, width: int) -> None:
    out = one_line(value, width)
    assert columns(out) <= max(width, 2)
    assert "\n" not in out and "\x1b" not in out


@given(st.text())
def test_safe_is_idempotent(value: str) -> None:
    assert safe(safe(value)) == safe(value)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", safe(value))


@pytest.mark.parametrize("width", [60, 80, 140])
def test_lines_keep_to_the_width(width: int) -> None:
    out = text.render(meshdiag.diagnose([NO_HOST, REFUSED] * 3), width=width)
    for line in out.splitlines():
        if "$ " not in line and "http" not in line:  # a command is not broken: it is pasted
            longest = max(map(len, line.split()), default=0)
            assert columns(line) <= max(width, longest + 12), line


def test_colour_only_when_wanted() -> None:
    d = meshdiag.diagnose([NO_HOST])
    assert "\x1b" not in text.render(d)
    assert "\x1b[1m" in text.render(d, style=Style(True))
    assert re.sub(r"\x1b\[[0-9;]*m", "", text.render(d, style=Style(True))) == text.render(d)


def test_the_report_says_what_counts() -> None:
    out = text.render(meshdiag.diagnose([NO_HOST] * 7))
    assert "1 root cause" in out
    assert "no-healthy-upstream (error, likely)" in out
    assert "reviews.default.svc.cluster.local:9080 · 7 lines" in out
    assert "503 UH no_healthy_upstream" in out
    assert "service-name=reviews" in out


def test_equal_causes_are_explained_once() -> None:
    other = NO_HOST.replace("reviews.default", "ratings.default")
    out = text.render(meshdiag.diagnose([NO_HOST, NO_HOST, other]))
    assert out.count("Bring endpoints back") == 1
    assert "→ as #1" in out


def test_nothing_and_nothing_read() -> None:
    assert "No failure found." in text.render(meshdiag.diagnose(["hello"]))
    assert "Nothing was read." in text.render(meshdiag.diagnose([]))


JWT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJtZSJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "secret",
    [
        f"Authorization: Bearer {JWT}",
        f'"authorization":"Bearer {JWT}"',
        "authorization=Basic dXNlcjpwYXNzd29yZA==",
        "cookie: session=0123456789abcdef; other=1",
        "https://user:hunter22@example.com/",
        "/callback?code=1&access_token=abcdef123456&x=1",
        '{"client_secret":"s3cr3tvalue"}',
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
        f"Parse Jwt {JWT}",
    ],
)
def test_redact(secret: str) -> None:
    out = redact(f"before {secret} after")
    for part in (
        JWT,
        "dXNlcjpwYXNz",
        "0123456789abcdef",
        "hunter22",
        "abcdef123456",
        "s3cr3tvalue",
        "AKIAIOSF",
        "MIIEpA",
    ):
        assert part not in out
    assert (out.startswith("before ") and out.endswith(" after")) or "cookie" in out
    assert redact(f"before {secret} after") == out


def test_pseudonyms_keep_correlation() -> None:
    assert pseudonym("jwt", "a") == pseudonym("jwt", "a") != pseudonym("jwt", "b")


@given(st.text(max_size=300))
def test_redact_is_total(value: str) -> None:
    redact(value)


def test_ordinary_lines_are_not_touched() -> None:
    for line in (
        NO_HOST,
        REFUSED,
        "resource:default failed to sign: create certificate: rpc error",
        'Bearer realm="x"',
    ):
        assert redact(line) == line
