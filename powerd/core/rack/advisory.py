"""What energy costs and emits: signals that are kept and shown, and may lower the rack cap within a band.

Nothing here raises anything. The band is the operator's, and is off unless it is configured.
Format: docs/grid-events.md, Prices and emissions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from powerd.core.model import Step
from powerd.core.units import MilliWatts

# Signals that are kept at most: behind a wildcard subscription a sender can make up zones.
MAX_SIGNALS = 64


class SignalKind(StrEnum):
    """What a number stands for. No two of these are ever compared with each other."""

    GHG_MARGINAL = "ghg_marginal"  # of the next kilowatt-hour
    GHG_AVERAGE = "ghg_average"  # of all that is generated
    PRICE_SPOT = "price_spot"  # of the market that the energy is bought on
    PRICE_TARIFF = "price_tariff"  # of a contract
    PRICE_FORECAST = "price_forecast"  # shown, and never acted on


@dataclass(frozen=True, slots=True)
class AdvisorySignal:
    """One number, as it was received, checked for form.

    Attributes:
        zone: of the grid, as its sender calls it.
        value: grams of CO2 equivalent, or units of `currency`, per kilowatt-hour. A price may be negative.
        currency: three letters; empty for emissions.
        valid_from_s, valid_until_s, issued_at_s: the sender's wall clock, Unix seconds.
    """

    kind: SignalKind
    zone: str
    value: float
    currency: str
    valid_from_s: float
    valid_until_s: float
    source: str
    epoch: int
    seq: int
    issued_at_s: float
    correlation_id: str = ""


class SignalName(NamedTuple):
    """What only the newest signal counts of."""

    kind: SignalKind
    zone: str


Signals = Mapping[SignalName, AdvisorySignal]


@dataclass(frozen=True, slots=True)
class AdvisoryRules:
    """When a signal lowers the rack cap, and how far.

    Attributes:
        band_pct: by so much of the cap without it, 0..100; 0 = never.
        price_above: a price above it lowers; None = none does.
        ghg_above: in grams per kilowatt-hour, likewise.
        price_kind, ghg_kind: which of the kinds counts.
        currency: of `price_above`; a price in another one does not count. Empty = any.
        zone: whose signals count.
    """

    band_pct: float = 0.0
    price_above: float | None = None
    ghg_above: float | None = None
    price_kind: SignalKind = SignalKind.PRICE_SPOT
    ghg_kind: SignalKind = SignalKind.GHG_MARGINAL
    currency: str = ""
    zone: str = ""


def keep(signals: Signals, heard: AdvisorySignal) -> Signals:
    """Take in one signal, if it is the newest of its kind and zone.

    Newer means a larger (epoch, seq) of the same source, or issued later by another one. Of too many, the one
    that ends first is dropped.
    """
    name = SignalName(heard.kind, heard.zone)
    known = signals.get(name)
    if known is not None and not _is_newer(heard, known):
        return signals
    kept = {**signals, name: heard}
    if len(kept) > MAX_SIGNALS:
        del kept[min(kept, key=lambda each: (kept[each].valid_until_s, each))]
    return kept


def cap(signals: Signals, rules: AdvisoryRules, base_mw: MilliWatts, wall_s: float) -> Step | None:
    """Return what the signals in force leave of the rack cap; None if they leave all of it.

    Args:
        base_mw: the rack cap without them.
        wall_s: signals count while this is within their validity.
    """
    if rules.band_pct <= 0:
        return None
    for kind, threshold in ((rules.price_kind, rules.price_above), (rules.ghg_kind, rules.ghg_above)):
        signal = signals.get(SignalName(kind, rules.zone))
        if signal is not None and threshold is not None and _is_above(signal, threshold, rules, wall_s):
            left_mw = int(base_mw * (100 - min(100.0, rules.band_pct)) / 100)
            note = f"{kind} of {signal.value:g} in {signal.zone} is above {threshold:g}"
            return Step("advisory", left_mw, signal.source, note)
    return None


def _is_newer(heard: AdvisorySignal, known: AdvisorySignal) -> bool:
    if heard.source == known.source:
        return (heard.epoch, heard.seq) > (known.epoch, known.seq)
    return heard.issued_at_s > known.issued_at_s


def _is_above(signal: AdvisorySignal, threshold: float, rules: AdvisoryRules, wall_s: float) -> bool:
    if signal.kind is SignalKind.PRICE_FORECAST or not signal.valid_from_s <= wall_s < signal.valid_until_s:
        return False
    in_currency = signal.currency in ("", rules.currency) or not rules.currency
    return in_currency and signal.value > threshold
