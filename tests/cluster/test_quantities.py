"""Kubernetes quantities."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshdiag.cluster.quantities import MOST, cores, memory, quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("100Mi", 104857600),
        ("0.5", Decimal("0.5")),
        ("500m", Decimal("0.5")),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("12e-1", Decimal("1.2")),
        ("128974848", 128974848),
        ("129M", 129_000_000),
        ("1.5Gi", 1610612736),
        (".5", Decimal("0.5")),
        ("1.", 1),
        ("+2k", 2000),
        ("-1", -1),
        ("100n", Decimal("1E-7")),
        (2, 2),
        (0.25, Decimal("0.25")),
        ("0", 0),
    ],
)
def test_quantities(text: object, number: int | Decimal) -> None:
    assert quantity(text) == number


@pytest.mark.parametrize(
    "text", ["", "Mi", "1 Gi", "1mi", "1K", "1e3Mi", "1e999999999", "9" * 500, "16Ei", "1Gi\n", "٣", "nan", "1_000", None, True, [], {}]
)  # fmt: skip
def test_what_is_none(text: object) -> None:
    assert quantity(text) is None


@given(st.integers(0, 1 << 40), st.sampled_from(["", "Ki", "Mi", "k", "M", "m", "u"]))
def test_a_suffix_multiplies(number: int, suffix: str) -> None:
    one = quantity(f"1{suffix}")
    assert one is not None
    assert quantity(f"{number}{suffix}") == number * one


@given(st.decimals(0, 1000, places=6), st.integers(-9, 15))
def test_an_exponent_is_a_power_of_ten(number: Decimal, exponent: int) -> None:
    assert quantity(f"{number}e{exponent}") == number * Decimal(10) ** exponent


@given(st.text(max_size=12) | st.floats() | st.integers())
def test_anything_is_a_number_within_range_or_none(value: object) -> None:
    found = quantity(value)
    assert found is None or abs(found) <= MOST


@given(st.integers(0, MOST))
def test_what_is_shown_is_read_again_and_is_near(amount: int) -> None:
    for shown in (memory(Decimal(amount)), cores(Decimal(amount))):
        again = quantity(shown)
        if again is None:
            assert amount > MOST * 0.95, "rounded up beyond the range"
        else:
            assert abs(again - amount) <= amount * Decimal("0.051")


def test_for_a_person() -> None:
    assert [memory(Decimal(n)) for n in (0, 512, 1 << 20, 3 * (1 << 29), 10 << 30)] == [
        "0",
        "512",
        "1Mi",
        "1.5Gi",
        "10Gi",
    ]
    assert [cores(Decimal(n)) for n in ("0", "0.25", "1.5", "2", "64")] == ["0", "250m", "1.5", "2", "64"]
