"""Watts at the edges, integer milliwatts inside."""

import math

import pytest

from powerd.core.units import milliwatts, watts


@pytest.mark.parametrize(
    ("value", "mw"), [(1, 1000), (0.0019, 1), (1234.5678, 1234567), (0, 0), (-0.0001, -1)]
)
def test_rounding_never_adds_to_a_budget(value: float, mw: int) -> None:
    assert milliwatts(value) == mw


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_of_watts_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="is not a finite number of watts"):
        milliwatts(value)


def test_people_read_watts() -> None:
    assert watts(1234567) == 1234.567
