"""The last format: whatever no other knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshdiag.formats import text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("`RBAC: access denied`", "RBAC: access denied"),
        ("  **RBAC: access denied**  ", "RBAC: access denied"),
        ("```no healthy upstream", "no healthy upstream"),
        ("`RBAC: access denied", "RBAC: access denied"),
        # not around the line: words in code, a list, what curl -v prints
        ("`kubectl get pods` says `no`", "`kubectl get pods` says `no`"),
        ("* Connected to web", "* Connected to web"),
        ("> GET / HTTP/1.1", "> GET / HTTP/1.1"),
        ("```", "```"),
        ("`", "`"),
    ],
)
def test_markdown_around_a_line_is_no_part_of_its_message(line: str, message: str) -> None:
    record = text.parse(line)
    assert record.message == message
    assert record.text == line


@given(st.text(alphabet="`* ab\n", max_size=40))
def test_what_is_taken_away_is_marks_and_blanks(line: str) -> None:
    record = text.parse(line)
    assert record.format == "text"
    assert record.message in line
    assert record.message.replace("`", "").replace("*", "").split() == line.replace("`", "").replace("*", "").split()
