"""Rack power on a DSX BMS bus: of its taps, or of the rack, and only while the BMS lives."""

import pytest

from powerd.meters.options import DsxOptions, DsxPart
from tests.meters.ears import BMS, HEARTBEAT, TAPS, Ears, metadata, point, value

E1, E2 = DsxPart("tap-e1", object_id="C-E05-TAP-E1"), DsxPart("tap-e2", object_id="C-E05-TAP-E2")
RACK = DsxPart("rack", rack_location="Pod1C-E05")
RACK_POINT = "Rack/RackPower/nvidia/titan/pod1C/rowE/rack05/info/power/power/value"
RACK_METADATA: dict[str, object] = {
    "objectType": "Rack",
    "pointType": "RackPower",
    "engUnit": "kW",
    "rackLocationName": "Pod1C-E05",
    "rackLocationId": "hall1-e05",
}


def taps(dsx: DsxOptions | None = None) -> Ears:
    """Return ears that know whose point is whose, as after subscribing."""
    ears = Ears(E1, E2, dsx=dsx)
    for tap in ("TAP-E1", "TAP-E2"):
        ears.hear(f"{BMS}/Metadata/{point(tap)}", metadata(f"C-E05-{tap}"), retained=True)
    return ears


def say(ears: Ears, tap: str, kilowatts: float | None, after_s: float = 0.0, quality: int = 1) -> None:
    ears.at(after_s)
    ears.hear(f"{BMS}/Value/{point(tap)}", value(kilowatts, after_s, quality))


def both(ears: Ears, after_s: float = 0.0) -> None:
    say(ears, "TAP-E1", 28.7, after_s)
    say(ears, "TAP-E2", 19.1, after_s)


def beat(ears: Ears, after_s: float, *, retained: bool = False, quality: int = 1) -> None:
    ears.at(after_s)
    message = value(1795280400000 + round(after_s * 1000), after_s, quality)
    ears.hear(HEARTBEAT, message, retained=retained)


def test_the_two_taps_of_a_rack_add_up_to_its_power() -> None:
    ears = taps()
    both(ears)
    assert ears.watts() == 47_800
    assert (ears.refusals, ears.notices) == ([], [])


def test_taps_are_found_by_their_metadata_and_others_are_not_heard() -> None:
    ears = taps()
    both(ears)
    ears.hear(f"{BMS}/Metadata/{point('TAP-E9')}", metadata("C-E05-TAP-E9"), retained=True)
    say(ears, "TAP-E9", 99.0)
    assert ears.watts() == 47_800
    assert len(ears.readings) == 2


@pytest.mark.parametrize("location", ["Pod1C-E05", "hall1-e05"])
def test_the_power_of_a_rack_is_found_by_name_or_id_of_its_place(location: str) -> None:
    ears = Ears(DsxPart("rack", rack_location=location))
    other = RACK_METADATA | {"rackLocationName": "Pod1C-E06", "rackLocationId": "hall1-e06"}
    ears.hear(f"{BMS}/Metadata/{RACK_POINT.replace('05', '06')}", other, retained=True)
    ears.hear(f"{BMS}/Metadata/{RACK_POINT}", RACK_METADATA, retained=True)
    ears.hear(f"{BMS}/Value/{RACK_POINT.replace('05', '06')}", value(35.2))
    ears.hear(f"{BMS}/Value/{RACK_POINT}", value(47.82))
    assert ears.watts() == 47_820


def test_a_point_can_be_named_outright_and_then_nothing_else_is_listened_to() -> None:
    ears = Ears(DsxPart("rack", point=RACK_POINT))
    assert set(ears.listener.filters) == {
        f"{BMS}/Value/{RACK_POINT}",
        f"{BMS}/Metadata/{RACK_POINT}",
        f"{BMS}/Value/System/HeartbeatTimestampBms/#",
    }
    ears.hear(f"{BMS}/Metadata/{RACK_POINT}", RACK_METADATA, retained=True)
    ears.hear(f"{BMS}/Value/{RACK_POINT}", value(47.82))
    assert ears.watts() == 47_820


def test_what_is_listened_to_can_be_narrowed() -> None:
    narrow = DsxPart(
        "tap", object_id="C-E05-TAP-E1", point="PowerMeter/ActivePower/nvidia/titan/pod1C/rowE/#"
    )
    ears = Ears(narrow)
    assert f"{BMS}/Value/PowerMeter/ActivePower/nvidia/titan/pod1C/rowE/#" in ears.listener.filters
    ears.hear(f"{BMS}/Metadata/{point('TAP-E1')}", metadata("C-E05-TAP-E1"), retained=True)
    say(ears, "TAP-E1", 28.7)
    assert ears.watts() == 28_700


@pytest.mark.parametrize(("unit", "said"), [("W", 28_700), ("kW", 28.7), ("KW", 28.7), ("MW", 0.0287)])
def test_the_unit_is_that_of_the_metadata(unit: str, said: float) -> None:
    ears = Ears(E1)
    ears.hear(f"{BMS}/Metadata/{point('TAP-E1')}", metadata("C-E05-TAP-E1", unit))
    say(ears, "TAP-E1", said)
    assert ears.watts() == 28_700


@pytest.mark.parametrize("unit", ["kVA", "", "mW", "kw"])
def test_a_unit_that_is_none_of_power_is_refused(unit: str) -> None:
    ears = Ears(E1)
    ears.hear(f"{BMS}/Metadata/{point('TAP-E1')}", metadata("C-E05-TAP-E1", unit))
    say(ears, "TAP-E1", 28.7)
    assert ears.watts() is None
    assert ears.refusals == [("tap-e1", "unit_error")]


def test_a_reading_waits_until_its_unit_is_known_and_is_then_as_old_as_it_is() -> None:
    ears = Ears(DsxPart("rack", point=RACK_POINT))
    ears.hear(f"{BMS}/Value/{RACK_POINT}", value(46.9))
    ears.at(1.0)
    ears.hear(f"{BMS}/Value/{RACK_POINT}", value(47.82, 1.0))
    assert ears.readings == []
    ears.at(3.0)
    ears.hear(f"{BMS}/Metadata/{RACK_POINT}", RACK_METADATA)
    assert [(reading.mw, reading.taken_boot_s) for reading in ears.readings] == [(47_820_000, 1001.0)]


@pytest.mark.parametrize("part", [E1, RACK, DsxPart("rack", point=RACK_POINT)])
def test_metadata_that_does_not_come_is_told_once(part: DsxPart) -> None:
    """It is retained, and said again every 100 s."""
    ears = Ears(part)
    for after_s in range(0, 300, 10):
        beat(ears, after_s)
        assert ears.events() == ([] if after_s < 130 else [("meter_without_metadata", part.part)])


@pytest.mark.parametrize("kilowatts", [600.1, 1e9, 28_700.0, 0.0287, 1e-9])
def test_power_that_no_rack_draws_is_refused_as_a_wrong_unit(kilowatts: float) -> None:
    ears = taps()
    say(ears, "TAP-E1", kilowatts)
    assert ears.refusals == [("tap-e1", "unit_error")]
    assert ears.readings == []


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b"28.7", "not_object"),
        (b'{"value":NaN,"timestamp":1,"quality":1}', "not_finite"),
        ({"value": "28.7", "timestamp": 1, "quality": 1}, "type"),
        ({"value": True, "timestamp": 1, "quality": 1}, "type"),
        ({"value": 28.7, "timestamp": "1", "quality": 1}, "type"),
        ({"value": 28.7, "timestamp": -1, "quality": 1}, "range"),
        ({"value": 28.7, "timestamp": 1e300, "quality": 1}, "range"),
        ({"value": 28.7, "timestamp": 1, "quality": "1"}, "type"),
        ({"value": 28.7, "timestamp": 1, "quality": True}, "type"),
        ({"timestamp": 1, "quality": 1}, "missing"),
        ({"value": 28.7, "quality": 1}, "missing"),
        ({"value": 28.7, "timestamp": 1}, "missing"),
    ],
)
def test_a_value_out_of_form_is_refused_and_counted_for_its_part(payload: object, reason: str) -> None:
    ears = taps()
    ears.hear(f"{BMS}/Value/{point('TAP-E1')}", payload)
    assert ears.refusals == [("tap-e1", reason)]
    assert ears.samples == []


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        (f"{BMS}/Metadata/{point('TAP-E9')}", b"[]", "not_object"),
        (HEARTBEAT, b"1743620423000", "not_object"),
        (HEARTBEAT, {"value": None, "timestamp": 1, "quality": 1}, "type"),
        (HEARTBEAT, {"timestamp": 1, "quality": 1}, "missing"),
        (HEARTBEAT, {"value": 1, "timestamp": 1}, "missing"),
    ],
)
def test_what_belongs_to_no_part_is_counted_for_the_bus(topic: str, payload: object, reason: str) -> None:
    ears = taps()
    ears.hear(topic, payload)
    assert ears.refusals == [("dsx-bms", reason)]


def test_metadata_without_a_unit_is_refused() -> None:
    ears = Ears(RACK)
    fields = {name: field for name, field in RACK_METADATA.items() if name != "engUnit"}
    ears.hear(f"{BMS}/Metadata/{RACK_POINT}", fields)
    assert ears.refusals == [("rack", "missing")]


# Signs of life.


def test_a_value_that_does_not_change_counts_while_the_heartbeat_goes_on() -> None:
    ears = taps()
    both(ears)
    for after_s in range(0, 100, 10):
        beat(ears, after_s)
    ears.at(99.0)
    assert ears.watts() == 47_800
    ears.at(125.0)
    assert ears.missing == TAPS


def test_without_a_heartbeat_any_message_of_the_bms_is_a_sign_of_life() -> None:
    ears = taps()
    both(ears)
    for after_s in range(0, 60, 10):
        ears.at(after_s)
        ears.hear(f"{BMS}/Value/{point('TAP-E9')}", value(5.0, after_s))
    assert ears.watts() == 47_800
    ears.at(81.0)
    assert ears.watts() is None


def test_where_there_is_a_heartbeat_nothing_else_is_a_sign_of_life() -> None:
    ears = taps()
    beat(ears, 0.0)
    both(ears)
    for after_s in range(0, 60, 10):
        ears.at(after_s)
        ears.hear(f"{BMS}/Metadata/{point('TAP-E1')}", metadata("C-E05-TAP-E1"))
        say(ears, "TAP-E1", 28.7, after_s)
    ears.at(54.0)
    assert ears.missing == ("tap-e2",)
    assert ears.signs_of_life == [0.0]


def test_a_heartbeat_that_is_stored_repeated_or_bad_is_none() -> None:
    """A gateway can go on with the last one of a BMS that is gone."""
    ears = taps()
    beat(ears, 0.0, retained=True)
    beat(ears, 1.0, quality=0)
    assert ears.signs_of_life == []
    beat(ears, 2.0)
    for after_s in range(3, 60, 5):
        ears.at(after_s)
        ears.hear(HEARTBEAT, value(1795280402000, after_s))
    assert ears.signs_of_life == [2.0]


def test_the_heartbeat_that_covers_the_meters_can_be_named() -> None:
    ears = taps(DsxOptions(heartbeat="plant/power"))
    ears.hear(f"{BMS}/Value/System/HeartbeatTimestampBms/plant/power", value(1.0))
    ears.at(5.0)
    ears.hear(f"{BMS}/Value/System/HeartbeatTimestampBms/plant/cooling", value(2.0, 5.0))
    assert ears.signs_of_life == [0.0]
    assert f"{BMS}/Value/System/HeartbeatTimestampBms/plant/power" in ears.listener.filters


def test_many_messages_are_one_sign_of_life_a_second() -> None:
    ears = taps()
    for step in range(100):
        say(ears, "TAP-E1", 28.7, step / 50)
    assert len(ears.signs_of_life) == 2


# Which point, and how old.


def test_two_points_that_claim_one_meter_do_not_take_turns() -> None:
    ears = taps()
    ears.hear(f"{BMS}/Metadata/{point('TAP-E1')}/copy", metadata("C-E05-TAP-E1"))
    both(ears)
    ears.hear(f"{BMS}/Value/{point('TAP-E1')}/copy", value(1.0))
    assert ears.watts() == 47_800
    assert ears.refusals == [("tap-e1", "source")]
    assert "TAP-E1" in ears.notices[0].text


def test_a_point_that_moved_is_followed_when_the_old_one_is_silent() -> None:
    ears = taps()
    both(ears)
    ears.at(200.0)
    ears.hear(f"{BMS}/Metadata/{point('TAP-E1')}/new", metadata("C-E05-TAP-E1"))
    ears.hear(f"{BMS}/Value/{point('TAP-E1')}/new", value(30.0, 200.0))
    say(ears, "TAP-E2", 19.1, 200.0)
    assert ears.watts() == 49_100


def test_a_bms_that_repeats_the_time_of_the_last_change_can_be_taken_at_its_arrival() -> None:
    for trusted, watts in ((True, None), (False, 47_800.0)):
        ears = taps(DsxOptions(use_timestamps=trusted))
        ears.at(600.0)
        for tap, kilowatts in (("TAP-E1", 28.7), ("TAP-E2", 19.1)):
            ears.hear(f"{BMS}/Value/{point(tap)}", value(kilowatts, 0.0))
        assert ears.watts() == watts


def test_another_prefix() -> None:
    ears = Ears(E1, dsx=DsxOptions(prefix="hall1/BMS/v1/PUB"))
    ears.hear(f"hall1/{BMS}/Metadata/{point('TAP-E1')}", metadata("C-E05-TAP-E1"), retained=True)
    ears.hear(f"hall1/{BMS}/Value/{point('TAP-E1')}", value(28.7))
    assert ears.watts() == 28_700


def test_a_point_of_another_kind_is_not_taken_for_that_of_a_meter() -> None:
    ears = Ears(E1, RACK)
    fields = RACK_METADATA | {
        "objectId": "C-E05-TAP-E1",
        "rackLocationName": "Pod1C-E06",
        "rackLocationId": "6",
    }
    ears.hear(f"{BMS}/Metadata/{RACK_POINT}", fields)
    ears.hear(f"{BMS}/Value/{RACK_POINT}", value(47.82))
    assert ears.readings == []


def test_nobody_can_fill_memory_with_points() -> None:
    ears = taps()
    for number in range(1000):
        ears.hear(f"{BMS}/Metadata/{point(f'made-up-{number}')}", metadata("C-E05-TAP-E1"))
    assert set(ears.refusals) == {("tap-e1", "source")}
    assert len(ears.refusals) > 900
    both(ears)
    assert ears.watts() == 47_800


def test_another_hard_limit_tells_wrong_units_anew_and_loses_nothing_of_what_was_learnt() -> None:
    ears = taps()
    say(ears, "TAP-E1", 700.0)  # more than ten times the limit of 60 kW
    assert ears.readings == []
    ears.listener.judge_by(100_000_000)
    say(ears, "TAP-E1", 700.0, 1.0)
    assert [reading.mw for reading in ears.readings] == [700_000_000]
