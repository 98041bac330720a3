"""The failsafe machine, state by state as in EEBUS LPC (docs/signals.md, States)."""

from dataclasses import replace

import pytest

from powerd.core.rack.failsafe import Failsafe, FailsafeRules, Phase, cap_mw, step
from powerd.core.rack.timeline import Statement
from tests.core.make import W, at

RULES = FailsafeRules(hold_s=7200.0, dwell_s=30.0)
LIMIT = Statement("a", 1, 1, 4000 * W, 100, 1060.0)
NO_LIMIT = replace(LIMIT, mw=None)
INIT = Failsafe(Phase.INIT, at(0.0))


def in_phase(phase: Phase) -> Failsafe:
    return Failsafe(phase, at(900.0))


@pytest.mark.parametrize(
    ("phase", "statement", "expected"),
    [
        # LPC-901 and no "unlimited/autonomous" after 120 s: without news a start stays at the failsafe.
        (Phase.INIT, None, Phase.INIT),
        (Phase.INIT, LIMIT, Phase.LIMITED),
        (Phase.INIT, NO_LIMIT, Phase.UNLIMITED),
        (Phase.LIMITED, LIMIT, Phase.LIMITED),
        (Phase.LIMITED, NO_LIMIT, Phase.UNLIMITED),  # LPC-908
        (Phase.LIMITED, None, Phase.FAILSAFE),  # LPC-911
        (Phase.UNLIMITED, NO_LIMIT, Phase.UNLIMITED),
        (Phase.UNLIMITED, LIMIT, Phase.LIMITED),
        (Phase.UNLIMITED, None, Phase.FAILSAFE),  # LPC-912
        (Phase.FAILSAFE, None, Phase.FAILSAFE),  # never "unlimited" for lack of news (not LPC-921, LPC-922)
        (Phase.FAILSAFE, LIMIT, Phase.LIMITED),  # LPC-916
        (Phase.FAILSAFE, NO_LIMIT, Phase.UNLIMITED),
    ],
)
def test_every_state_goes_where_the_table_says(
    phase: Phase, statement: Statement | None, expected: Phase
) -> None:
    after = step(in_phase(phase), statement, 4000 * W, at(1000.0), RULES)
    assert after.phase is expected
    assert after.entered == at(900.0 if expected is phase else 1000.0)


@pytest.mark.parametrize("phase", [Phase.INIT, Phase.FAILSAFE])
def test_no_amount_of_silence_leaves_init_or_failsafe(phase: Phase) -> None:
    before = in_phase(phase)
    for boot_s in (1000.0, 1e5, 1e9):
        assert step(before, None, 4000 * W, at(boot_s), RULES) == before


@pytest.mark.parametrize("statement", [LIMIT, NO_LIMIT])
def test_only_leaving_failsafe_starts_a_dwell(statement: Statement) -> None:
    assert step(in_phase(Phase.FAILSAFE), statement, None, at(1000.0), RULES).dwell_until_boot_s == 1030.0
    for phase in (Phase.INIT, Phase.LIMITED, Phase.UNLIMITED):
        assert step(in_phase(phase), statement, None, at(1000.0), RULES).dwell_until_boot_s == 0.0


def test_a_change_between_limited_and_unlimited_does_not_cut_the_dwell_short() -> None:
    limited = step(in_phase(Phase.FAILSAFE), LIMIT, None, at(1000.0), RULES)
    assert step(limited, NO_LIMIT, None, at(1001.0), RULES).dwell_until_boot_s == 1030.0


def test_failsafe_is_dated_on_the_boot_clock() -> None:
    assert step(in_phase(Phase.LIMITED), None, 4000 * W, at(1000.0), RULES).since_boot_s == 1000.0
    assert in_phase(Phase.LIMITED).since_boot_s is None
    assert INIT.since_boot_s is None


@pytest.mark.parametrize(
    ("held_watts", "boot_s", "cap_watts"),
    [
        (None, 1000.0, 3000),
        (5000, 1000.0, 3000),  # failsafe lower than the last cap
        (2500, 1000.0, 2500),  # failsafe higher than the last cap: no raise for lack of news
        (2500, 900.0 + 7199.0, 2500),
        (2500, 900.0 + 7200.0, 3000),
        (5000, 900.0 + 7200.0, 3000),
    ],
)
def test_failsafe_holds_the_last_cap_for_two_hours_and_is_never_above_its_budget(
    held_watts: int | None, boot_s: float, cap_watts: int
) -> None:
    held_mw = None if held_watts is None else held_watts * W
    for phase in (Phase.FAILSAFE, Phase.INIT):
        state = Failsafe(phase, at(900.0), held_mw=held_mw)
        assert cap_mw(state, 3000 * W, at(boot_s), RULES) == cap_watts * W


def test_failsafe_remembers_the_cap_that_it_found() -> None:
    lost = step(in_phase(Phase.LIMITED), None, 2500 * W, at(1000.0), RULES)
    assert lost.held_mw == 2500 * W
    assert step(lost, LIMIT, 2500 * W, at(1001.0), RULES).held_mw is None
