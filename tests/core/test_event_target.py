"""What each action asks of this rack: by every baseline, in every scope, exact to the milliwatt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.events.grid_event import Action, Baseline, GridEvent, Level
from powerd.core.events.schedule import EventRules, Held
from powerd.core.events.target import addresses, baseline_mw, is_unsplit, target_mw
from powerd.core.topology import Host
from tests.core.make import W, rack
from tests.core.make_events import FLOOR, RELEASE, RULES, Desk, cut, event, limit, part, reduce, shed

BUDGET, NAMEPLATE, MEASURED = Baseline.BUDGET, Baseline.NAMEPLATE, Baseline.MEASURED


def asked_watts(
    action: Action,
    level: Level = Level.RACK,
    targets: tuple[str, ...] = (),
    rules: EventRules = RULES,
    *,
    desk: Desk | None = None,
) -> float | None:
    """Return what is asked with a budget of 4000 W, a nameplate of 6000 W, and a measured draw of 3600 W."""
    desk = desk or Desk(measured=3600)
    one = event(part(100, 200, action), level=level, targets=targets)
    mw = target_mw(action, Held(one), desk.ground, rules)
    return None if mw is None else mw / W


@pytest.mark.parametrize(
    ("action", "rack_watts", "site_watts", "feed_watts", "host_watts"),
    [
        # The site's tenth, half of feed a, and host h1, which has half of the rack: so nothing for h1 is
        # 1000 W for a rack whose other host keeps its floor.
        (limit(3000), 3000, 300, 1500, 6000),
        (limit(1200), 1200, 120, 600, 2400),
        (limit(0), 0, 0, 0, 1000),
        (reduce(500), 3500, 3950, 3750, 3000),
        (reduce(500, NAMEPLATE), 5500, 5950, 5750, 5000),
        (reduce(500, MEASURED), 3100, 3550, 3350, 2600),
        (reduce(9000), 0, 3100, 0, 1000),
        (cut(25), 3000, 3000, 3000, 3000),
        (cut(25, NAMEPLATE), 4500, 4500, 4500, 4500),
        (cut(25, MEASURED), 2700, 2700, 2700, 2700),
        (cut(0), 4000, 4000, 4000, 4000),
        (cut(100), 0, 0, 0, 1000),
        (shed(1), 3600, 3600, 3600, 3600),
        (shed(2, NAMEPLATE), 4500, 4500, 4500, 4500),
        (shed(3, MEASURED), 2000, 2000, 2000, 2000),
        (FLOOR, 2000, 2000, 2000, 2000),
        (shed(0), None, None, None, None),
        (RELEASE, None, None, None, None),
    ],
)
def test_every_action_in_every_scope(
    action: Action,
    rack_watts: float | None,
    site_watts: float | None,
    feed_watts: float | None,
    host_watts: float | None,
) -> None:
    """Reductions in per cent are of the rack's own baseline, whatever part of the scope it is."""
    assert asked_watts(action) == rack_watts
    assert asked_watts(action, Level.SITE) == site_watts
    assert asked_watts(action, Level.FEED, ("a",)) == feed_watts
    assert asked_watts(action, Level.HOST) == host_watts


def test_of_several_feeds_the_one_that_leaves_least_counts() -> None:
    assert asked_watts(limit(8000), Level.FEED, ("a", "b")) == 2000
    assert asked_watts(limit(8000), Level.FEED) == 2000
    assert asked_watts(limit(8000), Level.FEED, ("a", "elsewhere")) == 4000


@pytest.mark.parametrize(("level", "rules"), [(Level.SITE, EventRules()), (Level.FEED, EventRules())])
def test_watts_that_cannot_be_split_leave_the_failsafe_budget_at_the_most(
    level: Level, rules: EventRules
) -> None:
    """Nobody knows what the rack's part of a megawatt is; the failsafe is safe by construction."""
    assert asked_watts(limit(1_000_000), level, ("hel1",), rules) == 3000
    assert asked_watts(limit(2500), level, ("hel1",), rules) == 2500
    assert asked_watts(reduce(100), level, ("hel1",), rules) == 3000
    assert asked_watts(reduce(1500), level, ("hel1",), rules) == 2500
    assert asked_watts(cut(10), level, ("hel1",), rules) == 3600


@pytest.mark.parametrize(
    ("action", "level", "rules", "unsplit"),
    [
        (limit(1), Level.SITE, EventRules(), True),
        (reduce(1), Level.FEED, EventRules(), True),
        (cut(1), Level.SITE, EventRules(), False),
        (limit(1), Level.SITE, RULES, False),
        (limit(1), Level.FEED, RULES, False),
        (limit(1), Level.RACK, EventRules(), False),
    ],
)
def test_only_watts_of_a_scope_without_a_configured_part_are_unsplit(
    action: Action, level: Level, rules: EventRules, unsplit: bool
) -> None:
    assert is_unsplit(event(part(0, 1, action), level=level), rules) is unsplit


@pytest.mark.parametrize(
    ("level", "targets", "is_ours"),
    [
        (Level.SITE, (), True),
        (Level.SITE, ("hel1",), True),
        (Level.SITE, ("hel2",), False),
        (Level.FEED, (), True),
        (Level.FEED, ("b",), True),
        (Level.FEED, ("c",), False),
        (Level.RACK, (), True),
        (Level.RACK, ("r0", "r1"), True),
        (Level.RACK, ("r2",), False),
        (Level.HOST, (), True),
        (Level.HOST, ("h1",), True),
        (Level.HOST, ("h2",), False),
        (Level.HOST, ("r1",), False),
    ],
)
def test_an_event_is_about_those_it_names_and_without_names_about_all_of_its_level(
    level: Level, targets: tuple[str, ...], is_ours: bool
) -> None:
    assert addresses(event(level=level, targets=targets), Desk().ground, RULES) is is_ours


def test_without_configured_feeds_any_feed_may_supply_the_rack() -> None:
    for targets in ((), ("main-a",)):
        assert addresses(event(level=Level.FEED, targets=targets), Desk().ground, EventRules())


@pytest.mark.parametrize(
    ("site_fraction", "mw", "whole"),
    [
        (0.1, 30_000_000, 3_000_000),
        (0.07, 100_000_000, 7_000_000),
        (1 / 3, 3_000_000, 999_999),
        (1e-7, 10**10, 1000),
    ],
)
def test_a_decimal_fraction_is_taken_as_it_is_written_and_rounding_never_adds(
    site_fraction: float, mw: int, whole: int
) -> None:
    """0.07 is not 0.07 as a double: 7 % of 100 kW are 7 kW, and not a milliwatt less."""
    action = limit(mw / W)
    held = Held(event(part(0, 1, action), level=Level.SITE))
    assert target_mw(action, held, Desk().ground, EventRules(site_fraction=site_fraction)) == whole
    less = reduce(0.001)
    assert target_mw(less, held, Desk().ground, EventRules(site_fraction=site_fraction)) == 4000 * W - 1


@given(st.integers(0, 10_000_000), st.floats(0.0001, 1, allow_nan=False), st.floats(0, 100, allow_nan=False))
def test_parts_and_reductions_are_rounded_down(mw: int, part_of: float, pct: float) -> None:
    rules = EventRules(site_fraction=part_of)
    held = Held(event(level=Level.SITE))
    limited = target_mw(limit(mw / W), held, Desk().ground, rules)
    reduced = target_mw(reduce(mw / W), held, Desk().ground, rules)
    cut_mw = target_mw(cut(pct), held, Desk().ground, rules)
    assert limited is not None
    assert reduced is not None
    assert cut_mw is not None
    assert limited <= mw * part_of + 1e-3
    assert reduced <= max(0, 4000 * W - mw * part_of + 1e-3)
    assert 0 <= cut_mw <= 4000 * W * (1 - pct / 100) + 1e-3


def test_a_host_is_asked_for_its_own_share_where_hosts_are_unequal() -> None:
    """A quarter less of the rack would be less than a quarter less of the larger host."""
    uneven = rack(hosts=(Host("h1", 1.0, 1000 * W), Host("h2", 1.0, 2000 * W)), failsafe=4000, overhead=60)
    ground = Desk(host="h2", base=6000).ground
    ground = type(ground)(uneven, "h2", 6000 * W, 6000 * W, 4000 * W, is_controlled=True)
    own_mw = uneven.entitlement_mw("h2", uneven.usable_mw(6000 * W))
    held = Held(event(level=Level.HOST))
    for action, share_mw in (
        (cut(25), own_mw * 3 // 4),
        (reduce(700), own_mw - 700 * W),
        (limit(2222), 2222 * W),
    ):
        cap_mw = target_mw(action, held, ground, RULES)
        assert cap_mw is not None
        assert uneven.entitlement_mw("h2", uneven.usable_mw(cap_mw)) == share_mw


def one_of(action: Action) -> GridEvent:
    return event(part(100, 200, action))


def test_reductions_count_from_what_was_frozen_at_the_start() -> None:
    desk = Desk(base=2000, measured=1000)
    frozen = Held(one_of(FLOOR), before_mw=4000 * W, budget_mw=4000 * W, measured_mw=3600 * W)
    assert baseline_mw(cut(10), frozen, desk.ground) == 4000 * W
    assert baseline_mw(cut(10, MEASURED), frozen, desk.ground) == 3600 * W
    assert baseline_mw(cut(10, NAMEPLATE), frozen, desk.ground) == 6000 * W


def test_a_draw_that_was_not_known_at_the_start_is_not_counted_from_later() -> None:
    """The draw during the event is the event's own doing."""
    held = Held(one_of(FLOOR), before_mw=4000 * W, budget_mw=4000 * W)
    assert baseline_mw(cut(10, MEASURED), held, Desk(measured=2500).ground) == 4000 * W
