"""Whatever events come, and whenever one looks: they lower, and nothing of theirs raises."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from powerd.core.events.caps import EventStatus
from powerd.core.events.grid_event import Action, ActionKind, Baseline, EventRamp, GridEvent, Interval, Level
from tests.core.make import W, at
from tests.core.make_events import RULES, Desk, event, wall

TIMES = st.integers(0, 40).map(lambda n: 10.0 * n)
ACTIONS = st.builds(
    Action,
    kind=st.sampled_from(list(ActionKind)),
    mw=st.integers(0, 8000).map(lambda watts: watts * W),
    pct=st.integers(0, 100).map(float),
    level=st.integers(0, 3),
    baseline=st.sampled_from(list(Baseline)),
)
RAMPS = st.builds(
    EventRamp,
    down_s=st.sampled_from((0.0, 15.0, 100.0)),
    up_s=st.sampled_from((0.0, 25.0, 200.0)),
    up_jitter_s=st.sampled_from((0.0, 30.0)),
)


@st.composite
def intervals(draw: st.DrawFn) -> tuple[Interval, ...]:
    """Draw up to three intervals in order, the last one open or not."""
    edges = sorted(draw(st.lists(TIMES, min_size=2, max_size=6, unique=True)))
    pairs = list(zip(edges[::2], edges[1::2], strict=False))
    if draw(st.booleans()):
        pairs = [(start, edges[min(len(edges) - 1, 2 * n + 2)]) for n, (start, _) in enumerate(pairs)]
        pairs = [pair for pair in pairs if pair[0] < pair[1]] or [(edges[0], edges[1])]
    found = [Interval(wall(start), wall(end), draw(ACTIONS)) for start, end in pairs]
    if draw(st.booleans()):
        found[-1] = found[-1]._replace(end_s=None)
    return tuple(found)


@st.composite
def events(draw: st.DrawFn, *, names: str = "abc") -> GridEvent:
    """Draw an event of few sources, programs and names, so that they meet."""
    return event(
        *draw(intervals()),
        name=draw(st.sampled_from(names)),
        source=draw(st.sampled_from("xy")),
        program=draw(st.sampled_from(("", "p"))),
        seq=draw(st.integers(0, 3)),
        received=at(draw(TIMES)),
        level=draw(st.sampled_from((Level.SITE, Level.FEED, Level.RACK))),
        cancelled=draw(st.integers(0, 5)) == 0,
        ramp=draw(RAMPS),
        priority=draw(st.sampled_from((None, 0, 1))),
    )


def look(desk: Desk, boot_s: float, *, synced: bool = True) -> tuple[EventStatus, ...]:
    found = desk.look(boot_s, synced=synced)
    again = desk.look(boot_s, synced=synced)
    assert again == found
    return found


@settings(max_examples=200)
@given(
    st.lists(events(), max_size=8),
    st.lists(TIMES, min_size=1, max_size=30),
    st.lists(st.integers(2000, 6000), min_size=1, max_size=5),
    st.booleans(),
)
def test_what_is_asked_holds_once_its_ramp_is_over_and_no_way_leads_above_the_budget(
    heard: list[GridEvent], moments: list[float], bases: list[int], synced: bool
) -> None:
    """And at one moment the answer is always the same."""
    desk = Desk(rules=replace(RULES, own_fraction=0.7))
    heard = sorted(heard, key=lambda one: one.received.boot_s)
    for n, boot_s in enumerate(sorted(moment + 0.5 for moment in moments)):  # off all edges
        while heard and heard[0].received.boot_s <= boot_s:
            desk.hear(heard.pop(0))
        desk.base = bases[n % len(bases)]
        for status in look(desk, boot_s, synced=synced):
            if status.target_mw is None:
                assert status.cap_mw <= desk.base * W or status.cap_mw == 6000 * W
            elif not is_on_a_ramp(status, boot_s):
                assert status.cap_mw == status.target_mw
        assert 0 <= desk.before <= desk.base


def is_on_a_ramp(status: EventStatus, boot_s: float) -> bool:
    ramp = status.event.ramp
    settled_s = max(ramp.down_s, 0.7 * ramp.up_jitter_s + ramp.up_s)
    return any(each.start_s <= wall(boot_s) < each.start_s + settled_s for each in status.event.intervals)


@settings(max_examples=200)
@given(st.lists(events(), max_size=6), events(names="z"), st.lists(TIMES, min_size=1, max_size=20))
def test_an_event_of_another_program_never_raises_the_cap(
    heard: list[GridEvent], another: GridEvent, moments: list[float]
) -> None:
    """It takes nobody's place; only what starts later may count from the lower cap that it finds."""
    another = replace(another, program="another", received=at(0.0), issued_at_s=at(0.0).wall_s)
    heard = [replace(one, received=at(0.0), issued_at_s=at(0.0).wall_s) for one in heard]
    without, with_it = Desk(), Desk()
    without.hear(*heard)
    with_it.hear(*heard, another)
    for boot_s in sorted(moments):
        assert with_it.cap(boot_s) <= without.cap(boot_s)


@settings(max_examples=200)
@given(st.lists(events(), max_size=5), events(), st.lists(TIMES, min_size=1, max_size=20))
def test_a_doubtful_event_never_raises_the_cap(
    heard: list[GridEvent], doubtful: GridEvent, moments: list[float]
) -> None:
    """Neither a new one nor a new version, nor a cancellation."""
    heard = [replace(one, received=at(0.0), issued_at_s=at(0.0).wall_s) for one in heard]
    without, with_it = Desk(), Desk()
    without.hear(*heard)
    with_it.hear(*heard, replace(doubtful, received=at(0.0), issued_at_s=wall(-45), seq=9))
    for boot_s in sorted(moments):
        assert with_it.cap(boot_s) <= without.cap(boot_s)


@settings(max_examples=100)
@given(st.lists(events(), max_size=6), TIMES)
def test_an_uncertain_clock_lowers_at_the_most(heard: list[GridEvent], boot_s: float) -> None:
    """Whatever the true time is within the uncertainty, what holds then is kept to."""
    heard = [replace(one, received=at(0.0), issued_at_s=at(0.0).wall_s, ramp=EventRamp()) for one in heard]
    unsure = Desk()
    unsure.hear(*heard)
    cap = unsure.cap(boot_s, synced=False)
    for off_s in (-29.9, -15.0, 0.0, 15.0, 29.9):
        sure = Desk()
        sure.hear(*heard)
        assert cap <= sure.cap(boot_s + off_s)


@settings(max_examples=100)
@given(st.lists(events(), max_size=6), TIMES, st.lists(TIMES, max_size=10))
def test_the_next_change_is_told_before_it_comes(
    heard: list[GridEvent], boot_s: float, moments: list[float]
) -> None:
    """Until then nobody's turn changes, so that nothing is missed by looking only then."""
    desk = Desk()
    desk.hear(*(replace(one, received=at(0.0), issued_at_s=at(0.0).wall_s) for one in heard))
    desk.look(boot_s)
    change_s, turns = desk.next_change(), desk.agenda.turns if desk.agenda else ()
    for later_s in sorted(moments):
        if boot_s <= later_s and (change_s is None or later_s < change_s):
            fresh = replace(desk, agenda=None)
            fresh.look(later_s)
            assert fresh.agenda is not None
            assert [turn.key for turn in fresh.agenda.turns] == [turn.key for turn in turns]
