"""The head of an answer that curl printed: one record, for patterns a `text` one, with what tells who answered."""

import pytest

from meshdiag.formats import records
from meshdiag.formats.answer import parse

OWN = [
    "< HTTP/1.1 404 Not Found\n",
    "< Date: Sun, 22 Nov 2026 10:00:00 GMT\n",
    "< Server: istio-envoy\n",
    "< content-length: 0\n",
]


def test_status_and_headers_are_one_text_record() -> None:
    found = list(
        records(["> GET / HTTP/1.1\n", "> Host: a\n", *OWN, "< \n", "* Connection #0 to host a left intact\n"])
    )
    answer = next(r for r in found if "status" in r.fields)
    assert (answer.format, answer.text.count("\n"), answer.offset) == ("text", 3, 27)
    assert dict(answer.fields) == {"status": "404", "server": "istio-envoy", "content_length": "0", "own": "yes"}
    assert [r.text for r in found if r is not answer][-1].startswith("* Connection")


@pytest.mark.parametrize("more", ["< x-envoy-upstream-service-time: 3\n", "< server: nginx\n"])
def test_what_came_from_an_upstream_is_not_the_proxys_own(more: str) -> None:
    lines = [OWN[0], more, *OWN[1:]] if "time" in more else [OWN[0], more]
    (answer,) = records(lines)
    assert answer.fields["own"] == "no"


def test_without_the_mark_of_curl_v() -> None:
    found = list(records(["HTTP/2 503 \n", "server: envoy\n", "content-length: 19\n", "\n", "no healthy upstream\n"]))
    assert [r.text for r in found] == ["HTTP/2 503 \nserver: envoy\ncontent-length: 19", "no healthy upstream"]


def test_a_page_with_a_blank_line_behind_every_line() -> None:
    found = list(records(["HTTP/2 404\n", "\n", "date: now\n", "\n", "server: istio-envoy\n", "\n", "plain words\n"]))
    assert found[0].fields["server"] == "istio-envoy"
    assert [r.text for r in found[1:]] == ["plain words"]


def test_an_answer_ends_at_what_is_no_header() -> None:
    found = list(records([OWN[0], "server: envoy\n", "plain words\n"]))
    assert [r.text for r in found] == [OWN[0].rstrip(), "server: envoy", "plain words"]
    assert found[0].format == "text"


@pytest.mark.parametrize(
    "line",
    [
        "< HTTP/1.1 200 OK",
        "HTTP/1.1 404 12 35",
        '"GET / HTTP/1.1" 404',
        "< HTTP/1.1 431 Request Header Fields Too Large",
    ],
)
def test_other_lines_are_no_answer(line: str) -> None:
    assert parse(line) is None


def test_remarks_of_curl_between_the_headers_go_along() -> None:
    lines = [
        OWN[0],
        OWN[1],
        "* Server envoy is not blacklisted\n",
        "< server: envoy\n",
        "* Connection #0 to host a left intact\n",
    ]
    answer, *rest = records(lines)
    assert (answer.fields["server"], answer.fields["own"]) == ("envoy", "yes")
    assert [r.text for r in rest] == ["* Connection #0 to host a left intact"]
