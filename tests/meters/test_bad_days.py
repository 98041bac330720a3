"""What a rack's meters get wrong: each time the power is not known, or known exactly, and never too small."""

from collections.abc import Callable

import pytest

from powerd.meters.options import DsxPart, GenericPart, NativePart
from tests.meters.ears import BMS, HEARTBEAT, START, TOPICS, Ears, metadata, point, value

A, B = 28_700.0, 19_100.0


class Rack:
    """A rack with two feeds, of any kind of meter.

    Attributes:
        ears: what listens to it.
    """

    def __init__(self) -> None:
        self.ears = Ears(*self.parts())

    def parts(self) -> tuple[NativePart | DsxPart | GenericPart, ...]:
        raise NotImplementedError

    def say(
        self, feed: str, watts: float | None, after_s: float, *, bad: bool = False, retained: bool = False
    ) -> None:
        """Let one feed's meter speak, so many seconds after the start."""
        raise NotImplementedError

    def both(self, after_s: float) -> None:
        self.ears.at(after_s)
        self.say("a", A, after_s)
        self.say("b", B, after_s)


class Native(Rack):
    def parts(self) -> tuple[NativePart, ...]:
        return NativePart("a"), NativePart("b")

    def say(
        self, feed: str, watts: float | None, after_s: float, *, bad: bool = False, retained: bool = False
    ) -> None:
        minutes, seconds = divmod(after_s, 60)
        fields = {
            "v": 1,
            "rack": "r12",
            "feed": feed,
            "watts": watts,
            "ts": f"2026-11-21T17:{int(minutes):02}:{seconds:06.3f}Z",
            "quality": "bad" if bad else "good",
            "source": "pdu",
        }
        self.ears.hear(TOPICS.meter(feed), fields, retained=retained)


class Bms(Rack):
    def __init__(self) -> None:
        super().__init__()
        for feed in ("a", "b"):
            self.ears.hear(f"{BMS}/Metadata/{point(feed)}", metadata(f"tap-{feed}"), retained=True)

    def parts(self) -> tuple[DsxPart, ...]:
        return DsxPart("a", object_id="tap-a"), DsxPart("b", object_id="tap-b")

    def say(
        self, feed: str, watts: float | None, after_s: float, *, bad: bool = False, retained: bool = False
    ) -> None:
        said = value(None if watts is None else watts / 1000, after_s, quality=0 if bad else 1)
        self.ears.hear(f"{BMS}/Value/{point(feed)}", said, retained=retained)


class Pdu(Rack):
    def parts(self) -> tuple[GenericPart, ...]:
        return self._part("a"), self._part("b")

    def _part(self, feed: str) -> GenericPart:
        return GenericPart(
            feed, f"pdu/{feed}", value="/w", time="/t", time_format="s", quality="/valid", good=(True,)
        )

    def say(
        self, feed: str, watts: float | None, after_s: float, *, bad: bool = False, retained: bool = False
    ) -> None:
        fields = {"w": watts, "t": START.wall_s + after_s, "valid": not bad}
        self.ears.hear(f"pdu/{feed}", fields, retained=retained)


KINDS: list[Callable[[], Rack]] = [Native, Bms, Pdu]
each_kind = pytest.mark.parametrize("make", KINDS)


@each_kind
def test_quality_that_is_not_good_makes_the_power_unknown_at_once_and_good_makes_it_known_again(
    make: Callable[[], Rack],
) -> None:
    rack = make()
    rack.both(0.0)
    assert rack.ears.watts() == A + B
    rack.say("b", B, 0.0, bad=True)
    assert (rack.ears.watts(), rack.ears.missing) == (None, ("b",))
    rack.say("b", B, 0.0)
    assert rack.ears.watts() == A + B


@each_kind
@pytest.mark.parametrize("watts", [None, -1.0, -B])
def test_null_and_less_than_nothing_make_it_unknown_too(
    make: Callable[[], Rack], watts: float | None
) -> None:
    """A current transformer that is clipped on the wrong way round."""
    rack = make()
    rack.both(0.0)
    rack.say("b", watts, 0.0)
    assert (rack.ears.watts(), rack.ears.missing) == (None, ("b",))


@each_kind
def test_one_of_two_feeds_is_not_the_rack(make: Callable[[], Rack]) -> None:
    rack = make()
    for after_s in range(100):
        rack.ears.at(after_s)
        rack.say("a", A, after_s)
        assert (rack.ears.watts(), rack.ears.missing) == (None, ("b",))


@each_kind
def test_kilowatts_where_watts_belong_are_refused_and_told(make: Callable[[], Rack]) -> None:
    rack = make()
    rack.ears.at(0.0)
    rack.say("a", A / 1000, 0.0)
    rack.say("b", B * 1000, 0.0)
    assert rack.ears.refusals == [("a", "unit_error"), ("b", "unit_error")]
    assert [subject for _, subject in rack.ears.events()] == ["a:unit_error", "b:unit_error"]
    assert "in kW?" in rack.ears.notices[0].text
    assert rack.ears.watts() is None


def test_a_feed_that_really_draws_next_to_nothing_can_be_configured() -> None:
    ears = Ears(GenericPart("p", "pdu"), least_mw=0)
    ears.hear("pdu", b"12.5")
    assert ears.watts() == 12.5


@each_kind
def test_a_gap_of_35_s_makes_nothing_smaller_and_the_next_word_makes_it_known(
    make: Callable[[], Rack],
) -> None:
    rack = make()
    rack.both(0.0)
    for after_s in range(1, 35):
        rack.ears.at(after_s)
        assert rack.ears.watts() in (A + B, None)
    assert rack.ears.watts() is None
    rack.both(35.0)
    assert rack.ears.watts() == A + B


def test_on_a_bus_with_a_heartbeat_the_gap_is_none() -> None:
    rack = Bms()
    rack.both(0.0)
    for after_s in range(35):
        rack.ears.at(after_s)
        if after_s % 10 == 0:
            rack.ears.hear(HEARTBEAT, value(float(after_s), after_s))
        assert rack.ears.watts() == A + B


def test_a_bms_that_was_away_is_believed_when_it_says_its_values_again() -> None:
    """What changed while it was away was not heard, so the heartbeat alone does not bring them back."""
    rack = Bms()
    rack.both(0.0)
    for after_s in (0, 10, 50):
        rack.ears.at(after_s)
        rack.ears.hear(HEARTBEAT, value(float(after_s), after_s))
    assert rack.ears.missing == ("a", "b")
    rack.both(55.0)
    assert rack.ears.watts() == A + B


@each_kind
@pytest.mark.parametrize(("ahead_s", "watts"), [(120.0, A + B), (-120.0, None), (-4.0, A + B), (4.0, A + B)])
def test_a_clock_two_minutes_off_is_told_and_never_makes_a_reading_younger(
    make: Callable[[], Rack], ahead_s: float, watts: float | None
) -> None:
    rack = make()
    rack.ears.at(240.0)
    rack.say("a", A, 240.0 + ahead_s)
    rack.say("b", B, 240.0 + ahead_s)
    assert rack.ears.watts() == watts
    assert all(reading.taken_boot_s <= START.boot_s + 240.0 for reading in rack.ears.readings)
    told = [("meter_clock", "a"), ("meter_clock", "b")] if abs(ahead_s) > 30 else []
    assert rack.ears.events() == told
    if told:
        side = "ahead of" if ahead_s > 0 else "behind"
        assert f"120 s {side} this host's clock" in rack.ears.notices[0].text


@each_kind
def test_where_this_hosts_clock_is_not_synchronised_stamps_mean_nothing(make: Callable[[], Rack]) -> None:
    rack = make()
    rack.ears.at(240.0, synced=False)
    rack.say("a", A, 0.0)
    rack.say("b", B, 0.0)
    assert rack.ears.watts() == A + B
    assert rack.ears.events() == []


@each_kind
def test_an_old_reading_from_the_store_of_the_broker_is_no_reading(make: Callable[[], Rack]) -> None:
    rack = make()
    rack.ears.at(0.0)
    rack.say("a", A, 0.0, retained=True)
    rack.say("b", B, 0.0, retained=True)
    assert rack.ears.samples == []
    assert rack.ears.watts() is None
    rack.both(1.0)
    assert rack.ears.watts() == A + B


@each_kind
def test_a_message_that_cannot_be_used_is_told_and_the_next_one_is_read(make: Callable[[], Rack]) -> None:
    rack = make()
    rack.ears.at(0.0)
    for topic in rack.ears.listener.filters:
        rack.ears.hear(topic.replace("#", point("a").removeprefix("PowerMeter/ActivePower/")), b"\xff")
    assert rack.ears.listener.rejected == len(rack.ears.refusals) == len(rack.ears.notices) > 0
    rack.both(1.0)
    assert rack.ears.watts() == A + B
