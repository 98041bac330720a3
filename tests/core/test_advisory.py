"""Prices and emissions may lower the cap by the operator's band, where there is one, and raise nothing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.rack.advisory import (
    MAX_SIGNALS,
    AdvisoryRules,
    AdvisorySignal,
    SignalKind,
    Signals,
    cap,
    keep,
)
from tests.core.make import W

START_S, END_S = 1000.0, 1900.0
SPOT = AdvisorySignal(
    kind=SignalKind.PRICE_SPOT,
    zone="de-lu",
    value=0.40,
    currency="EUR",
    valid_from_s=START_S,
    valid_until_s=END_S,
    source="market",
    epoch=1,
    seq=1,
    issued_at_s=900.0,
)
MARGINAL = replace(SPOT, kind=SignalKind.GHG_MARGINAL, value=600.0, currency="", source="carbon")
AVERAGE = replace(MARGINAL, kind=SignalKind.GHG_AVERAGE, value=300.0)
BASE_MW = 40_000 * W
RULES = AdvisoryRules(band_pct=10.0, price_above=0.30, ghg_above=500.0, currency="EUR", zone="de-lu")


def left_mw(*heard: AdvisorySignal, rules: AdvisoryRules = RULES, wall_s: float = 1500.0) -> int | None:
    signals: Signals = {}
    for signal in heard:
        signals = keep(signals, signal)
    step = cap(signals, rules, BASE_MW, wall_s)
    return None if step is None else step.mw


def test_no_signal_changes_anything_unless_the_operator_says_by_how_much() -> None:
    assert left_mw(SPOT, MARGINAL, rules=AdvisoryRules(price_above=0.0, ghg_above=0.0, zone="de-lu")) is None
    assert left_mw(SPOT, MARGINAL, rules=replace(RULES, price_above=None, ghg_above=None)) is None


@pytest.mark.parametrize("signal", [SPOT, MARGINAL])
def test_above_its_threshold_a_signal_takes_the_band_and_says_why(signal: AdvisorySignal) -> None:
    step = cap(keep({}, signal), RULES, BASE_MW, 1500.0)
    assert step
    assert (step.rule, step.mw, step.source) == ("advisory", 36_000 * W, signal.source)
    assert signal.kind in step.note
    assert "de-lu" in step.note


def test_two_signals_above_their_thresholds_take_the_band_once() -> None:
    assert left_mw(SPOT, MARGINAL) == 36_000 * W


@pytest.mark.parametrize(
    "signal",
    [
        replace(SPOT, value=0.30),
        replace(SPOT, zone="fr"),
        replace(SPOT, currency="JPY", value=40.0),
        replace(SPOT, kind=SignalKind.PRICE_TARIFF),
        AVERAGE,
        replace(AVERAGE, value=900.0),
    ],
)
def test_what_is_not_above_or_of_another_zone_currency_or_kind_takes_nothing(signal: AdvisorySignal) -> None:
    assert left_mw(signal) is None


def test_a_forecast_is_never_acted_on() -> None:
    """It says what energy will cost, not what it costs."""
    forecast = replace(SPOT, kind=SignalKind.PRICE_FORECAST)
    assert left_mw(forecast, rules=replace(RULES, price_kind=SignalKind.PRICE_FORECAST)) is None


@pytest.mark.parametrize(
    ("wall_s", "watts"), [(999.9, None), (1000.0, 36_000), (1899.9, 36_000), (1900.0, None)]
)
def test_a_signal_counts_while_it_is_valid(wall_s: float, watts: int | None) -> None:
    assert left_mw(SPOT, wall_s=wall_s) == (None if watts is None else watts * W)


def test_marginal_and_average_emissions_are_kept_beside_each_other() -> None:
    signals = keep(keep({}, MARGINAL), replace(AVERAGE, seq=9))
    assert sorted(signal.value for signal in signals.values()) == [300.0, 600.0]
    assert left_mw(MARGINAL, replace(AVERAGE, seq=9)) == 36_000 * W
    averages = replace(RULES, ghg_kind=SignalKind.GHG_AVERAGE, ghg_above=250.0)
    assert left_mw(replace(MARGINAL, value=100.0), AVERAGE, rules=averages) == 36_000 * W


def test_the_newest_word_of_a_source_counts_whatever_comes_late() -> None:
    cheap = replace(SPOT, seq=2, value=0.10)
    assert left_mw(SPOT, cheap) is None
    assert left_mw(cheap, SPOT) is None
    restarted = replace(SPOT, epoch=2, seq=0)
    assert left_mw(cheap, restarted) == 36_000 * W


def test_of_two_sources_the_one_that_spoke_last_counts() -> None:
    other = replace(SPOT, source="exchange", epoch=0, seq=0, value=0.10, issued_at_s=950.0)
    assert left_mw(SPOT, other) is None
    assert left_mw(other, SPOT) is None


def test_zones_that_somebody_makes_up_do_not_fill_the_memory() -> None:
    signals = keep({}, replace(SPOT, valid_until_s=END_S + 1))
    for number in range(2 * MAX_SIGNALS):
        signals = keep(signals, replace(SPOT, zone=f"made-up-{number}"))
    assert len(signals) == MAX_SIGNALS
    assert cap(signals, RULES, BASE_MW, 1500.0) is not None


@given(
    band_pct=st.floats(0, 200),
    value=st.floats(-1e6, 1e6),
    base_mw=st.integers(0, 10**10),
    wall_s=st.floats(900, 2000),
)
def test_whatever_the_signal_the_cap_is_never_above_what_it_was_nor_below_the_band(
    band_pct: float, value: float, base_mw: int, wall_s: float
) -> None:
    rules = replace(RULES, band_pct=band_pct)
    step = cap(keep({}, replace(SPOT, value=value)), rules, base_mw, wall_s)
    if step is not None:
        assert 0 <= step.mw <= base_mw
        assert step.mw >= base_mw * (1 - band_pct / 100) - 2
