"""Draw above the target: what is told of it, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.dsx.breach import NO_BREACH, Breach, BreachRules, step
from tests.core.make import W, at

TARGET_W = 1000
RULES = BreachRules(threshold_pct=5, hold_s=10, escalate_after_s=60, clear_s=10, repeat_s=60)


class Watch:
    """Follows the draw second by second."""

    def __init__(self) -> None:
        self.breach: Breach = NO_BREACH
        self.boot_s = 0.0

    def see(
        self, draw: float | None, *, for_s: int = 1, target: int | None = TARGET_W
    ) -> list[tuple[float, str, str]]:
        """Return what is told while the draw stays as it is: seconds since its first, phase, severity."""
        begun_s, told = self.boot_s, []
        for _ in range(for_s):
            draw_mw = None if draw is None else round(draw * W)
            target_mw = None if target is None else target * W
            self.breach, alert = step(self.breach, draw_mw, target_mw, at(self.boot_s), RULES)
            if alert is not None:
                told.append((self.boot_s - begun_s, alert.phase.value, alert.severity.value))
            self.boot_s += 1
        return told


def test_a_breach_is_told_once_it_has_lasted_and_over_once_it_stays_over() -> None:
    watch = Watch()
    assert watch.see(1060, for_s=30) == [(10, "active", "warning")]
    assert watch.see(1000, for_s=30) == [(10, "resolved", "warning")]
    assert watch.see(1060, for_s=30) == [(10, "active", "warning")]


@pytest.mark.parametrize("draw", [1000, 1050])
def test_up_to_the_threshold_nothing_is_told(draw: int) -> None:
    assert Watch().see(draw, for_s=100) == []


def test_a_short_excess_is_nothing_however_often_it_comes() -> None:
    watch = Watch()
    for _ in range(10):
        assert watch.see(1500, for_s=9) == []
        assert watch.see(1050) == []


def test_a_breach_that_lasts_is_escalated_once_and_then_repeated() -> None:
    told = Watch().see(1060, for_s=200)
    assert told == [
        (10, "active", "warning"),
        (70, "escalated", "warning"),
        (130, "escalated", "warning"),
        (190, "escalated", "warning"),
    ]


def test_an_excess_of_more_than_a_fifth_is_critical_and_escalated_with_the_next_look() -> None:
    """But never before it was told as active: the two have different consequences."""
    assert Watch().see(1201, for_s=15) == [(10, "active", "critical"), (11, "escalated", "critical")]
    assert Watch().see(1200, for_s=15) == [(10, "active", "warning")]


def test_a_breach_that_becomes_critical_is_escalated_at_once_and_does_not_go_back() -> None:
    watch = Watch()
    watch.see(1100, for_s=20)
    assert watch.see(1300) == [(0, "escalated", "critical")]
    assert watch.see(1100, for_s=61) == [(60 - 1, "escalated", "warning")]


def test_between_target_and_threshold_a_breach_lasts_and_no_rack_is_switched_off_for_it() -> None:
    watch = Watch()
    watch.see(1060, for_s=11)
    assert watch.see(1010, for_s=130) == [(59, "active", "warning"), (119, "active", "warning")]
    assert watch.see(1060) == [(0, "escalated", "warning")]
    assert watch.see(1010, for_s=60)[-1][1] == "escalated"


def test_a_dip_below_the_target_is_no_end() -> None:
    watch = Watch()
    watch.see(1060, for_s=11)
    for _ in range(3):
        assert watch.see(990, for_s=10) == []
        assert watch.see(1060) == []


def test_what_is_not_known_neither_begins_a_breach_nor_ends_it() -> None:
    watch = Watch()
    watch.see(1100, for_s=9)
    assert watch.see(None, for_s=100) == []
    assert watch.see(1100, for_s=10) == []
    assert watch.see(1100) == [(0, "active", "warning")]
    watch.see(900, for_s=9)
    assert watch.see(None, for_s=40) == []
    assert watch.see(900, for_s=10) == []
    assert watch.see(900) == [(0, "resolved", "warning")]


def test_without_a_target_nothing_is_a_breach_and_one_that_was_is_over() -> None:
    watch = Watch()
    assert watch.see(5000, for_s=30, target=None) == []
    watch.see(1060, for_s=11)
    assert watch.see(5000, for_s=30, target=None) == [(10, "resolved", "warning")]


def test_a_target_of_zero_can_be_breached_too() -> None:
    assert Watch().see(1, for_s=12, target=0) == [(10, "active", "critical"), (11, "escalated", "critical")]


def test_the_breach_began_when_it_was_first_told() -> None:
    watch = Watch()
    watch.see(1060, for_s=30)
    assert watch.breach.begun == at(10.0)


@given(st.lists(st.sampled_from([None, 900, 1000, 1030, 1060, 1300]), max_size=200))
def test_a_breach_always_goes_from_active_through_escalated_to_resolved(draws: list[float | None]) -> None:
    watch, order = Watch(), {"": "active", "active": "active escalated resolved", "resolved": "active"}
    order["escalated"] = "escalated resolved"
    last = ""
    for draw in draws:
        for _, phase, _ in watch.see(draw, for_s=5):
            assert phase in order[last].split()
            last = phase
