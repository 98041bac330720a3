"""When the power state of a feed is told, and as what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.dsx.flex import FeedNow, Flex, FlexEvent, Told, step
from tests.core.make import WALL_AT_BOOT_S, W, at

EVERY_S = 60.0


def feed(limit: int | None = None, *targets: str, within: bool = True, climbing: bool = False) -> FeedNow:
    return FeedNow(frozenset(targets), None if limit is None else limit * W, within, climbing)


class Teller:
    """Follows feeds second by second from a start without targets, and collects what is told of the first."""

    def __init__(self, *first: FeedNow) -> None:
        self.flex = Flex()
        self.boot_s = 0.0
        self.statuses: list[dict[str, Told]] = []
        self.see(*(first or (feed(),)))
        self.statuses.clear()

    def see(self, *feeds: FeedNow, after_s: float = 1.0) -> list[FlexEvent]:
        """Take in what holds now, and return the events of the first feed."""
        self.boot_s += after_s
        seen = dict(zip(("main-a", "main-b"), feeds, strict=False))
        self.flex, statuses = step(self.flex, seen, at(self.boot_s), EVERY_S)
        self.statuses += statuses
        return [status["main-a"].event for status in statuses]

    def in_flight(self) -> list[bool]:
        return [status["main-a"].is_in_flight for status in self.statuses]


def test_a_curtailment_is_told_from_its_target_to_its_end() -> None:
    teller = Teller()
    assert teller.see(feed(None, "t1")) == ["target_set"]
    assert teller.see(feed(3000, "t1", within=False)) == ["start_ramp_down"]
    assert teller.see(feed(3000, "t1", within=False)) == []
    assert teller.see(feed(3000, "t1")) == ["end_ramp_down"]
    assert teller.see(feed(None, "t1", climbing=True)) == ["start_ramp_up"]
    assert teller.see(feed(None, "t1", climbing=True)) == []
    assert teller.see(feed(None, "t1")) == ["end_ramp_up"]
    assert teller.in_flight() == [False, True, False, True, False]


def test_what_happens_at_once_is_told_in_order_each_in_a_status_of_its_own() -> None:
    teller = Teller()
    assert teller.see(feed(3000, "t1")) == ["target_set", "start_ramp_down", "end_ramp_down"]
    assert teller.in_flight() == [False, True, False]
    assert teller.see(feed(None, "t1", "t2")) == ["target_set", "start_ramp_up", "end_ramp_up"]


def test_a_limit_that_is_tightened_or_relaxed_on_the_way_begins_a_ramp_of_its_own() -> None:
    teller = Teller()
    teller.see(feed(3000, within=False))
    assert teller.see(feed(2500, within=False)) == ["start_ramp_down"]
    assert teller.see(feed(2800, within=False, climbing=True)) == ["start_ramp_up"]
    assert teller.see(feed(2600, within=False, climbing=True)) == ["start_ramp_down"]
    assert teller.see(feed(2600)) == ["end_ramp_down"]


def test_a_target_that_goes_is_no_target_that_is_set() -> None:
    """What has been over for a day is forgotten, and that is nobody's doing."""
    teller = Teller(feed(None, "t1", "t2"))
    assert teller.see(feed(None, "t2")) == []
    assert teller.see(feed(None, "t2", "t3")) == ["target_set"]


def test_the_power_event_began_with_its_first_limit_and_is_over_after_the_way_back_up() -> None:
    teller = Teller()
    teller.see(feed(3000, within=False))
    began_s = WALL_AT_BOOT_S + teller.boot_s
    teller.see(feed(2500))
    teller.see(feed(None, climbing=True))
    teller.see(feed(None))
    assert {status["main-a"].since_s for status in teller.statuses} == {began_s}
    teller.see(feed(None), after_s=EVERY_S)
    assert teller.statuses[-1]["main-a"] == Told(FlexEvent.PERIODIC, False, None)


def test_a_status_is_due_at_the_start_and_so_long_after_the_last_one() -> None:
    flex, statuses = step(Flex(), {"main-a": feed()}, at(5.0), EVERY_S)
    assert statuses == ({"main-a": Told(FlexEvent.PERIODIC, False, None)},)
    for boot_s, count in ((64.9, 0), (65.0, 1), (65.1, 0), (125.0, 1)):
        flex, statuses = step(flex, {"main-a": feed()}, at(boot_s), EVERY_S)
        assert len(statuses) == count


def test_any_status_puts_the_next_periodic_one_off() -> None:
    teller = Teller()
    teller.see(feed(None, "t1"), after_s=EVERY_S - 1)
    assert teller.see(feed(None, "t1"), after_s=EVERY_S - 1) == []
    assert teller.see(feed(None, "t1")) == ["periodic"]


@pytest.mark.parametrize(
    ("found", "later"),
    [
        (feed(3000, "t1"), []),
        (feed(3000, "t1", within=False), [FlexEvent.END_RAMP_DOWN]),
        (feed(None, "t1", climbing=True), []),
    ],
)
def test_a_start_in_the_middle_makes_up_no_beginning(found: FeedNow, later: list[FlexEvent]) -> None:
    """A host that starts, or takes over, does not know how things came to be so."""
    flex, [first] = step(Flex(), {"main-a": found}, at(1.0), EVERY_S)
    assert first["main-a"].event is FlexEvent.PERIODIC
    assert first["main-a"].is_in_flight == bool(later)
    settled = found._replace(is_within=True, is_climbing=False)
    _, statuses = step(flex, {"main-a": settled}, at(2.0), EVERY_S)
    assert [status["main-a"].event for status in statuses] == later


def test_every_status_speaks_of_every_feed() -> None:
    teller = Teller(feed(), feed())
    teller.see(feed(3000, "t1", within=False), feed())
    teller.see(feed(3000, "t1"), feed(None, "t2"))
    told = [{name: each.event.value for name, each in status.items()} for status in teller.statuses]
    assert told == [
        {"main-a": "target_set", "main-b": "periodic"},
        {"main-a": "start_ramp_down", "main-b": "periodic"},
        {"main-a": "end_ramp_down", "main-b": "target_set"},
    ]


def test_without_feeds_a_status_is_empty_and_no_error() -> None:
    _, statuses = step(Flex(), {}, at(1.0), EVERY_S)
    assert statuses == ({},)


SEEN = st.builds(feed, st.sampled_from([None, 2000, 3000]), within=st.booleans(), climbing=st.booleans())


@given(st.lists(SEEN, max_size=30))
def test_a_feed_is_in_flight_exactly_from_each_start_to_the_next_end(seen: list[FeedNow]) -> None:
    teller = Teller()
    for each in seen:
        teller.see(each)
    in_flight = ""
    for status in teller.statuses:
        event, is_in_flight, _ = status["main-a"]
        phase, _, direction = event.value.partition("_ramp_")
        if phase == "end":
            assert in_flight == direction  # no end without its own start
        in_flight = {"start": direction, "end": ""}.get(phase, in_flight)
        assert is_in_flight == bool(in_flight)
