"""Durations as the OpenAPI document allows them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.openadr.durations import after, parse
from powerd.signals import rfc3339
from tests.openadr.contract import document

PATTERN = document()["components"]["schemas"]["duration"]["pattern"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT0S", 0), ("PT30M", 1800), ("PT1.5S", 1.5), ("P1DT2H", 93600), ("P2W", 1209600), ("PT36H", 129600)],
)
def test_a_duration_without_months_is_seconds(text: str, seconds: float) -> None:
    assert after(0.0, parse(text)) == seconds


@pytest.mark.parametrize(
    ("start", "text", "end"),
    [
        ("2026-01-31T00:00:00Z", "P1M", "2026-02-28T00:00:00Z"),
        ("2028-02-29T12:00:00Z", "P1Y", "2029-02-28T12:00:00Z"),
        ("2026-11-21T17:00:00Z", "P1Y2M3DT4H", "2028-01-24T21:00:00Z"),
        ("2026-03-29T00:00:00Z", "P1D", "2026-03-30T00:00:00Z"),
    ],
)
def test_months_and_years_are_those_of_the_calendar(start: str, text: str, end: str) -> None:
    assert after(rfc3339.parse(start), parse(text)) == rfc3339.parse(end)


@pytest.mark.parametrize("text", ["P9999Y", "P9999Y12M", "PT99999999999999S", "P8000Y", f"P{'9' * 50}Y"])
def test_what_no_clock_reaches_is_without_end(text: str) -> None:
    assert after(1.8e9, parse(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "PT",
        "1H",
        "P1.5D",
        "PT1H30",
        "P-1D",
        "p1d",
        "P1D\n",
        "P1Y ",
        f"P{'9' * 400}Y",
        "P1W2D",
        "P\u0661D",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse(text)


@given(st.from_regex(PATTERN, fullmatch=True).filter(lambda text: len(text) <= 64))
def test_whatever_the_document_allows_is_read_and_added_without_an_overflow(text: str) -> None:
    if re.fullmatch(r"[\x20-\x7e]+", text):
        duration = parse(text)
        end_s = None if duration.is_negative else after(1.8e9, duration)
        assert end_s is None or end_s >= 1.8e9


@pytest.mark.parametrize(
    ("start", "text", "days"),
    [
        ("0001-01-01T00:00:00+23:59", "P1M", 31),
        ("0001-01-01T00:00:00Z", "-P2M", 0),
        ("9999-12-31T23:59:59-23:59", "-P1M", -31),
    ],
)
def test_months_from_a_start_that_no_calendar_has_count_from_the_nearest_that_one_has(
    start: str, text: str, days: int
) -> None:
    start_s = rfc3339.parse(start)
    assert after(start_s, parse(text)) == pytest.approx(start_s + days * 86400, abs=1e-3)
