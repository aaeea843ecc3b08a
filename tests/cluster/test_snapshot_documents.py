"""YAML and JSON to values: as Kubernetes reads them, bounded, and what is broken takes nothing else with it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from meshdiag.cluster.documents import Document, documents


def values(text: str) -> list[Any]:
    found = list(documents(text))
    assert not any(d.faults for d in found), found
    return [d.value for d in found]


def faults(text: str) -> list[tuple[int, str]]:
    return [(f.line, f.text) for d in documents(text) for f in d.faults]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"),
        ("2026-11-22", "2026-11-22"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("15008", 15008),
        ("-3", -3),
        ("0644", 0o644),
        ("089", "089"),
        ("0x1F", 31),
        ("1e10", 1e10),
        ("6.5", 6.5),
        ("1.28.1", "1.28.1"),
        ("1e999", "1e999"),
        (".inf", ".inf"),
        ("yes", True),
        ("off", False),
        ("n", "n"),
        ('"yes"', "yes"),
        ("~", None),
        ("", None),
        ("!!str 12", "12"),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    assert values(f"a: {text}") == [{"a": value}]


def test_documents_and_their_lines() -> None:
    text = "# head\n---\nkind: A\n---\n# nothing\n---\nkind: B\ntext: |\n  ---x\n...\n---\nkind: C\n"
    assert [(d.value["kind"], d.line) for d in documents(text)] == [("A", 2), ("B", 6), ("C", 11)]


def test_keys_are_texts() -> None:
    assert values("1: a\nyes: b\n~: c\n") == [{"1": "a", "yes": "b", "~": "c"}]


def test_merge_keys_and_aliases() -> None:
    assert values("a: &x {b: 1}\nc: {<<: *x, d: 2}\ne: *x\n") == [{"a": {"b": 1}, "c": {"d": 2, "b": 1}, "e": {"b": 1}}]


def test_managed_fields_are_not_read() -> None:
    text = "metadata:\n  managedFields:\n  - fieldsV1: {f:metadata: {a: [1, {b: 2}]}}\n  name: x\n"
    assert values(text) == [{"metadata": {"name": "x"}}]
    assert values('{"metadata": {"managedFields": [{"a": {}}], "name": "x"}}') == [{"metadata": {"name": "x"}}]


def test_a_broken_document_among_others() -> None:
    text = "kind: A\n---\nkind: [B\n---\nkind: C\n"
    assert [d.value for d in documents(text)] == [{"kind": "A"}, None, {"kind": "C"}]
    ((line, why),) = faults(text)
    assert line == 4 and why.startswith("is no YAML: did not find expected ',' or ']'")


def test_a_list_that_is_broken_off() -> None:
    text = "apiVersion: v1\nitems:\n- kind: A\n- kind: B\n- kind: 'C\n"
    (found,) = documents(text)
    assert found.value == {"apiVersion": "v1", "items": [{"kind": "A"}, {"kind": "B"}]} and found.is_cut
    whole = json.dumps({"apiVersion": "v1", "items": [{"kind": "A"}, {"kind": "B"}, {"kind": "C"}]}, indent=4)
    (found,) = documents(whole[: whole.index('"C"')])
    assert [i["kind"] for i in found.value["items"]] == ["A", "B"] and found.is_cut and found.faults


@pytest.mark.parametrize(
    ("item", "line", "why"),
    [
        ("a: 1\n  a: 2", 6, "key 'a' stands twice"),
        (
            "a: !!python/object/apply:os.system [id]",
            5,
            "tag tag:yaml.org,2002:python/object/apply:os.system has no meaning here",
        ),
        ("a: !secret x", 5, "tag !secret has no meaning here"),
        ("a: *gone", 5, "alias *gone stands for nothing that is whole"),
        ("a: &self [*self]", 5, "alias *self stands for nothing that is whole"),
        ("? [a, b]\n  : c", 5, "a key is no text"),
        ("a: " + "[" * 200 + "]" * 200, 5, "nested too deep: at most 100"),
    ],
)
def test_an_object_that_is_spoiled(item: str, line: int, why: str) -> None:
    """Of a list the others are read."""
    text = f"items:\n- kind: A\n  x: {{y: [1]}}\n-\n  {item}\n- kind: C\n"
    (found,) = documents(text)
    assert [i["kind"] for i in found.value["items"]] == ["A", "C"]
    assert [(f.line, f.text) for f in found.faults] == [(line, why)]


def test_many_laughs() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    (found,) = documents(text)
    assert found.value is None and "its aliases stand for more than 100,000 values" in found.faults[0].text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "a": 2}', "key 'a' stands twice"),
        ('{"a":' * 200 + "1" + "}" * 200, "nested too deep: at most 100"),
        ("[" * 100_000, "nested too deep"),
        ('{"a": 1', "Expecting ',' delimiter"),
    ],
)
def test_json_that_is_broken(text: str, why: str) -> None:
    ((line, told),) = faults(text)
    assert line == 1 and (why in told or "is no YAML" in told)


def test_json_one_behind_the_other() -> None:
    assert values('{"a": 1}\n{"b": 2} {"c": 3}\n') == [{"a": 1}, {"b": 2}, {"c": 3}]
    text = '{"a": 1}\n{"b": "x" "y"}\n{"c": NaN, "d": 1e999}\n'
    assert [d.value for d in documents(text)] == [{"a": 1}, None, {"c": None, "d": None}]
    assert faults(text)[0][0] == 2
    assert values('{a: b}\n---\n{"c": "\\ud83d\\ude00"}\n---\nd: e\n') == [{"a": "b"}, {"c": "\U0001f600"}, {"d": "e"}]


def test_control_characters() -> None:
    text = "kind: A\n---\nkind: \x07\n---\nkind: C\n"
    assert [d.value for d in documents(text)] == [{"kind": "A"}, None, {"kind": "C"}]
    assert faults(text)[0][0] == 3


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text().filter(lambda k: k != "managedFields"), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(min_size=1).filter(lambda k: k != "managedFields"), JSON, max_size=5))
def test_json_is_read_as_json(value: dict[str, Any]) -> None:
    assert values(json.dumps(value, indent=2)) == [value]


@given(st.text())
@example("- ? a\n: [")
@example("{" * 50 + "\n---\n[")
@example("&a *a")
@example("items: &a\n- *a\n")
def test_any_text_gives_documents_and_faults(text: str) -> None:
    for found in documents(text):
        assert isinstance(found, Document) and found.line >= 1
        assert all(f.line >= 1 and f.text for f in found.faults)


@given(st.text(alphabet="abk:-[]{}&*!?|>'\"#,% \n\t0eE.+~y<"))
def test_yaml_like_text(text: str) -> None:
    """What PyYAML reads as plain texts and numbers, this one reads as the same."""
    found = list(documents(text))
    try:
        theirs = list(yaml.safe_load_all(text))
    except (yaml.YAMLError, ValueError, TypeError):
        return
    if len(theirs) == 1 and isinstance(theirs[0], str) and theirs[0].isalpha() and not any(d.faults for d in found):
        assert len(found) == 1 and str(found[0].value) in (theirs[0], "True", "False", "None")
    assert not any(isinstance(d.value, float) and math.isinf(d.value) for d in found)
