"""A price lowers the rack cap within the operator's band, and by itself nothing."""

from dataclasses import replace

from powerd.core.decide import Decision, decide
from powerd.core.rack.advisory import AdvisoryRules, AdvisorySignal, SignalKind
from powerd.core.state import Config, Inputs, initial_state
from tests.core.make import W, at, budget, config, gpu

DEAR = AdvisorySignal(
    kind=SignalKind.PRICE_SPOT,
    zone="fi",
    value=0.80,
    currency="EUR",
    valid_from_s=at(100.0).wall_s,
    valid_until_s=at(400.0).wall_s,
    source="market",
    epoch=1,
    seq=1,
    issued_at_s=at(90.0).wall_s,
)
BAND = AdvisoryRules(band_pct=20.0, price_above=0.40, currency="EUR", zone="fi")


def cap_watts(rules: AdvisoryRules, boot_s: float) -> tuple[float, Decision]:
    made: Config = replace(config(), advisory=rules)
    state = initial_state(at(100.0))
    inputs = Inputs((gpu(0),), (budget(5000, 1, at(100.0), lease_s=300.0),), signals=(DEAR,))
    _, state = decide(inputs, state, at(100.0), made)
    decision, _ = decide(Inputs((gpu(0),)), state, at(boot_s), made)
    return decision.rack_cap_mw / W, decision


def test_a_dear_hour_lowers_the_cap_by_the_band_and_says_why() -> None:
    watts, decision = cap_watts(BAND, 101.0)
    assert watts == 4000
    assert [step.source for step in decision.rack_steps if step.rule == "advisory"] == ["market"]


def test_without_a_band_a_price_is_only_kept() -> None:
    watts, decision = cap_watts(AdvisoryRules(price_above=0.40, zone="fi"), 101.0)
    assert watts == 5000
    assert [signal.value for signal in decision.signals.values()] == [0.80]


def test_a_price_that_is_over_lowers_nothing() -> None:
    assert cap_watts(BAND, 399.0)[0] == 4000
    _, decision = cap_watts(BAND, 401.0)
    assert not [step for step in decision.rack_steps if step.rule == "advisory"]
