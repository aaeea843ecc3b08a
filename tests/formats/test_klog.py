"""Bare klog lines."""

import pytest

from meshdiag.formats.klog import parse


def test_a_line() -> None:
    record = parse("E0712 18:20:34.334620       1 reflector.go:138] Failed to watch *v1.Deployment: forbidden")
    assert record is not None
    assert (record.format, record.level, record.component, record.time) == ("klog", "error", "", None)
    assert record.message == "Failed to watch *v1.Deployment: forbidden"
    assert record.fields == {"caller": "reflector.go:138", "thread": "1"}


@pytest.mark.parametrize(("letter", "level"), [("I", "info"), ("W", "warning"), ("E", "error"), ("F", "critical")])
def test_levels(letter: str, level: str) -> None:
    record = parse(f"{letter}0401 09:49:27.065594       1 dispatcher.go:128] x")
    assert record is not None and record.level == level


def test_structured_pairs_are_fields_and_the_message_stays_whole() -> None:
    record = parse(
        'E0712 18:20:34.334620       1 reflector.go:200] "Failed to watch" err="failed to list *v1.Pod: a \\"b\\"" '
        'logger="UnhandledError" n=3'
    )
    assert record is not None
    assert record.message.startswith('"Failed to watch" err=')
    assert record.fields["err"] == 'failed to list *v1.Pod: a "b"'
    assert (record.fields["logger"], record.fields["n"]) == ("UnhandledError", "3")


@pytest.mark.parametrize("line", ["E0712 something", "Error: x", "I", ""])
def test_others(line: str) -> None:
    assert parse(line) is None
