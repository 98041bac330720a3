"""What comes in is taken in, and what has ended, ends."""

from dataclasses import replace

from powerd.core.hearing import STEP_DOWN_LEAD_S, expire, hear
from powerd.core.leases.leases import LeaseRules
from powerd.core.metering.meter import MeterAlive, MeterReading, MeterRules, Quality
from powerd.core.rack.failsafe import Phase
from powerd.core.rack.timeline import STANDING, Verdict, VerdictKind, governing
from powerd.core.state import Config, Inputs, State, initial_state
from tests.core.make import W, at, budget, config
from tests.core.make_events import event, limit, part
from tests.core.make_leases import RACK, heard_budget, says

METERED = replace(config(), meter=MeterRules(parts=("a",)))


def heard(
    inputs: Inputs, boot_s: float, of: State | None = None, by: Config = METERED
) -> tuple[State, list[Verdict]]:
    """Take in what is new at a moment."""
    state, verdicts = hear(inputs, of or initial_state(at(0.0)), at(boot_s), by)
    return state, list(verdicts)


def test_everything_that_comes_in_one_moment_is_taken_in_with_a_verdict_each() -> None:
    inputs = Inputs(
        (),
        messages=(budget(4000, 1, at(10.0)), budget(4000, 1, at(10.0))),
        events=(event(received=at(10.0)), event(seq=0, received=at(10.0))),
        meters=(MeterReading("a", 1000 * W, Quality.GOOD, 10.0), MeterAlive(("a",), 10.0)),
    )
    state, verdicts = heard(inputs, 10.0)
    assert [(verdict.about, verdict.kind) for verdict in verdicts] == [
        ("budget", VerdictKind.ACCEPTED),
        ("budget", VerdictKind.DUPLICATE),
        ("event e1", VerdictKind.ACCEPTED),
        ("event e1", VerdictKind.REJECTED),
    ]
    assert list(state.timeline.statements) == ["facility-a"]
    assert list(state.schedule.held) == ["grid/e1"]
    assert state.meter.readings["a"].mw == 1000 * W
    assert state.heard == {"facility-a"}


def test_without_news_of_them_events_and_meters_stay_as_they_are() -> None:
    before, _ = heard(Inputs((), events=(event(),)), 10.0)
    after, verdicts = heard(Inputs(()), 11.0, before)
    assert after.schedule is before.schedule
    assert after.meter is before.meter
    assert verdicts == []


def test_events_are_judged_in_the_order_of_arrival() -> None:
    low, high = part(100, 200, limit(2500)), part(100, 200, limit(3500))
    state, verdicts = heard(Inputs((), events=(event(high, seq=1), event(low, seq=2))), 10.0)
    assert state.schedule.held["grid/e1"].event.intervals == (low,)
    state, verdicts = heard(Inputs((), events=(event(low, seq=2), event(high, seq=1))), 10.0)
    assert [verdict.reason for verdict in verdicts] == ["", "old_seq"]
    assert state.schedule.held["grid/e1"].event.intervals == (low,)


def test_a_refused_message_is_not_the_newest_of_its_source() -> None:
    state, _ = heard(Inputs((), messages=(budget(4000, 5, at(10.0)),)), 10.0)
    state = state._replace(heard=frozenset())
    again, _ = heard(Inputs((), messages=(budget(4000, 4, at(11.0)),)), 11.0, state)
    assert again.heard == frozenset()
    again, _ = heard(Inputs((), messages=(budget(4000, 5, at(10.0)),)), 11.0, state)
    assert again.heard == {"facility-a"}


def test_a_lease_ends_a_little_early_and_no_event_with_it() -> None:
    inputs = Inputs((), messages=(budget(4000, 1, at(10.0)),), events=(event(received=at(10.0)),))
    state, _ = heard(inputs, 10.0)
    on_time, _ = heard(Inputs(()), 70.0 - STEP_DOWN_LEAD_S - 0.01, state)
    assert on_time.timeline.statements
    late, _ = heard(Inputs(()), 70.0 - STEP_DOWN_LEAD_S, state)
    assert not late.timeline.statements
    assert late.schedule is state.schedule


def test_what_ended_while_nobody_looked_ended_when_it_did() -> None:
    by = config()
    state, _ = heard(Inputs((), messages=(budget(4000, 1, at(10.0)),)), 10.0, by=by)
    state = state._replace(failsafe=replace(state.failsafe, phase=Phase.LIMITED))
    assert expire(state, at(69.0), by) is state
    awake = expire(state, at(500.0), by)
    assert (awake.failsafe.phase, awake.failsafe.since_boot_s) == (Phase.FAILSAFE, 70.0)
    assert awake.timeline.statements == {}
    assert expire(initial_state(at(0.0)), at(500.0), by).failsafe.phase is Phase.INIT


def test_a_lower_budget_of_a_peer_of_the_same_roster_is_obeyed() -> None:
    by = config(of=RACK, leases=LeaseRules())
    state, _ = heard(Inputs((), messages=(budget(6000, 1, at(10.0)),)), 10.0, by=by)
    lower = says("h2", at=11.0, roster=by.roster, budget=heard_budget(5000, seq=2))
    ceilings = {
        name: heard(Inputs((), states=(peer,)), 11.0, state, by)[0].timeline.ceilings
        for name, peer in {
            "peer": lower,
            "another roster": replace(lower, roster="x"),
            "no budget": replace(lower, budget=None),
            "ourselves": replace(lower, host="h1"),
        }.items()
    }
    assert ceilings["peer"]["facility-a"].mw == 5000 * W
    assert not any(ceilings[name] for name in ceilings if name != "peer")


def test_a_budget_that_the_operator_has_set_for_good_is_renewed_as_long_as_the_host_runs() -> None:
    """For racks of which nobody publishes a budget: events are counted from it."""
    by = replace(config(), standing_mw=5000 * W)
    state, verdicts = heard(Inputs(()), 10.0, by=by)
    statement, _ = governing(state.timeline)
    assert statement is not None
    assert (statement.source, statement.mw, statement.end_boot_s) == (STANDING, 5000 * W, 310.0)
    assert verdicts == []
    assert state.heard == {STANDING}
    later, _ = heard(Inputs(()), 5000.0, state, by)
    assert later.timeline.statements[STANDING].end_boot_s == 5300.0
