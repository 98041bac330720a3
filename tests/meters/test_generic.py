"""Meters with formats of their own: each shape of the field, and nothing that only looks like one."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.metering.meter import Quality
from powerd.errors import SignalRejectedError
from powerd.meters.generic import GenericMeter
from powerd.meters.options import GenericPart, Scalar
from powerd.meters.values import Plausible
from tests.meters.ears import HARD_LIMIT_MW, START, Ears

TOPIC = "mbmd/sdm1-1/Power"
STATE = "homeassistant/sensor/rack12/state"

XERUS = {
    "sensors": [
        {"device": {"type": 0, "label": "I1"}, "id": "activePower", "metadata": {"type": {"unit": 3}}},
        {"device": {"type": 0, "label": "I2"}, "id": "activePower", "metadata": {"type": {"unit": 3}}},
    ],
    "rows": [
        {
            "timestamp": START.wall_s - 2,
            "records": [
                {
                    "available": True,
                    "takenValidSamples": 60,
                    "state": 4,
                    "avgValue": 5900.0,
                    "maxValue": 6000.0,
                },
                {"available": False, "takenValidSamples": 0, "state": 0, "avgValue": 0.0, "maxValue": 0.0},
            ],
        }
    ],
}
SHELLY = {
    "id": 0,
    "source": "init",
    "output": True,
    "apower": 812.4,
    "voltage": 230.1,
    "aenergy": {"total": 1.5},
}
GUDE = {"sensor_values": [{"type": 8, "values": [[{"v": 7.25, "t": "kW"}]]}], "ts": START.wall_s * 1000 - 500}
RFC_3339 = {"a/b": {"m~n": 9000}, "": "2026-11-21T18:59:58+02:00", "ok": "Good"}


def xerus(record: int) -> GenericPart:
    return GenericPart(
        "inlet",
        "pdu/r12",
        value=f"/rows/0/records/{record}/avgValue",
        time="/rows/0/timestamp",
        time_format="s",
        quality=f"/rows/0/records/{record}/available",
        good=(True,),
    )


SHAPES = {
    "plain": (GenericPart("p", TOPIC), b"14320.5", 14_320_500, 0),
    "plain, kilowatts": (GenericPart("p", TOPIC, unit="kW"), b"14.3205", 14_320_500, 0),
    "plain, line end": (GenericPart("p", TOPIC), b" 14320\r\n", 14_320_000, 0),
    "plain, tens of watts": (GenericPart("p", TOPIC, scale=10), b"1432", 14_320_000, 0),
    "plain, megawatts": (GenericPart("p", TOPIC, unit="MW"), b"1.432e-2", 14_320_000, 0),
    "xerus": (xerus(0), XERUS, 5_900_000, 2),
    "xerus, no sample": (xerus(1), XERUS, None, 2),
    "shelly": (GenericPart("p", "shelly/status/switch:0", value="/apower"), SHELLY, 812_400, 0),
    "gude": (
        GenericPart(
            "p",
            "de/gudesystems/epc/+/sensors",
            value="/sensor_values/0/values/0/0/v",
            unit="kW",
            time="/ts",
            time_format="ms",
        ),
        GUDE,
        7_250_000,
        0.5,
    ),
    "keys to be escaped": (
        GenericPart(
            "p", "x", value="/a~1b/m~0n", time="/", time_format="rfc3339", quality="/ok", good=("OK", "Good")
        ),
        RFC_3339,
        9_000_000,
        2,
    ),
    "null": (GenericPart("p", TOPIC), b"null", None, 0),
    "below zero": (GenericPart("p", TOPIC), b"-230.1", None, 0),
    "zero": (GenericPart("p", TOPIC), b"-0.0", 0, 0),
    "null in a document": (GenericPart("p", TOPIC, value="/power"), {"power": None}, None, 0),
}


@pytest.mark.parametrize(("part", "payload", "mw", "age_s"), SHAPES.values(), ids=SHAPES)
def test_each_shape_of_the_field_is_understood(
    part: GenericPart, payload: object, mw: int | None, age_s: float
) -> None:
    ears = Ears(part)
    ears.hear(part.topic.replace("+", "00:19:32:00:00:01"), payload)
    (reading,) = ears.readings
    assert (reading.part, reading.mw, reading.taken_boot_s) == (part.part, mw, START.boot_s - age_s)
    assert reading.quality is (Quality.BAD if mw is None else Quality.GOOD)
    assert (ears.refusals, ears.notices) == ([], [])


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"unavailable", "type"),
        (b"NaN", "type"),
        (b"nan", "type"),
        (b"Infinity", "type"),
        (b"14320 W", "type"),
        (b"14,320", "type"),
        (b"+14320", "type"),
        (b"014320", "type"),
        (b"0x10", "type"),
        (b'"14320"', "type"),
        (b"true", "type"),
        (b"[14320]", "type"),
        (b"\xef\xbb\xbf14320", "type"),
        ("١٤٣٢٠".encode(), "type"),
        (b"1e999", "unit_error"),
        (b"1" * 60_000, "type"),
        (b"\xff", "type"),
    ],
)
def test_what_is_not_exactly_a_number_is_refused(payload: bytes, reason: str) -> None:
    ears = Ears(GenericPart("p", TOPIC))
    ears.hear(TOPIC, payload)
    assert ears.refusals == [("p", reason)]
    assert ears.samples == []
    assert ears.notices[0].text.isprintable()
    assert len(ears.notices[0].text) < 250


POINTED = GenericPart(
    "p", TOPIC, value="/power/0", time="/t", time_format="s", quality="/q", good=("ok", 1, None)
)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b"14320", "not_object"),
        (b'{"power":[NaN],"t":1,"q":"ok"}', "not_finite"),
        (b'{"power":[1e999],"t":1,"q":"ok"}', "not_finite"),
        ({"power": ["14320"], "t": 1, "q": "ok"}, "type"),
        ({"power": [True], "t": 1, "q": "ok"}, "type"),
        ({"power": [{}], "t": 1, "q": "ok"}, "type"),
        ({"power": [], "t": 1, "q": "ok"}, "missing"),
        ({"power": {"1": 2}, "t": 1, "q": "ok"}, "missing"),
        ({"power": 14320, "t": 1, "q": "ok"}, "missing"),
        ({"power": [14320], "q": "ok"}, "missing"),
        ({"power": [14320], "t": 1}, "missing"),
        ({"power": [14320], "t": "1", "q": "ok"}, "type"),
        ({"power": [14320], "t": -1, "q": "ok"}, "range"),
        ({"power": [14320], "t": 1e300, "q": "ok"}, "range"),
        ({"power": [600_001], "t": 1, "q": "ok"}, "unit_error"),
        ({"power": [14.32], "t": 1, "q": "ok"}, "unit_error"),
    ],
)
def test_a_document_without_the_number_in_its_place_is_refused(payload: object, reason: str) -> None:
    ears = Ears(POINTED)
    ears.hear(TOPIC, payload)
    assert ears.refusals == [("p", reason)]
    assert ears.samples == []


@pytest.mark.parametrize(
    ("said", "good"),
    [
        ("ok", True),
        (1, True),
        (1.0, True),
        (None, True),
        (True, False),
        ("OK", False),
        (0, False),
        ([1], False),
    ],
)
def test_quality_is_compared_as_json_compares(said: object, good: bool) -> None:
    ears = Ears(POINTED)
    ears.hear(TOPIC, {"power": [14320], "t": START.wall_s, "q": said})
    assert (ears.readings[0].quality is Quality.GOOD) == good


@pytest.mark.parametrize(("stamp", "reason"), [(1795280400, "type"), ("yesterday", "time")])
def test_a_time_in_another_format_is_refused(stamp: object, reason: str) -> None:
    ears = Ears(GenericPart("p", TOPIC, value="/w", time="/t", time_format="rfc3339"))
    ears.hear(TOPIC, {"w": 14320, "t": stamp})
    assert ears.refusals == [("p", reason)]


def test_one_document_can_hold_both_feeds() -> None:
    ears = Ears(
        GenericPart("feed-a", "pdu/r12", value="/feeds/0/watts"),
        GenericPart("feed-b", "pdu/r12", value="/feeds/1/watts"),
    )
    ears.hear("pdu/r12", {"feeds": [{"watts": 8000}, {"watts": 6000}]})
    assert ears.watts() == 14_000
    ears.hear("pdu/r12", {"feeds": [{"watts": 8000}]})
    assert ears.refusals == [("feed-b", "missing")]


def test_of_several_topics_that_match_only_one_may_speak() -> None:
    """Two meters that take turns on one part are neither of them, and not their sum."""
    ears = Ears(GenericPart("p", "pdu/+/power"))
    ears.hear("pdu/1/power", b"8000")
    ears.hear("pdu/2/power", b"6000")
    assert ears.watts() == 8000
    assert ears.refusals == [("p", "source")]


ON_CHANGE = GenericPart("p", STATE, liveness_topic="homeassistant/status/rack12")


def test_what_speaks_on_change_counts_while_its_liveness_topic_does() -> None:
    ears = Ears(ON_CHANGE)
    ears.hear(STATE, b"14320")
    for after_s in range(0, 60, 10):
        ears.at(after_s)
        ears.hear(ON_CHANGE.liveness_topic, b"online")
    ears.at(75.0)
    assert ears.watts() == 14_320
    ears.at(81.0)
    assert ears.watts() is None


def test_an_availability_of_long_ago_is_no_sign_of_life_but_offline_always_counts() -> None:
    ears = Ears(ON_CHANGE)
    ears.hear(ON_CHANGE.liveness_topic, b"online", retained=True)
    assert ears.samples == []
    ears.hear(STATE, b"14320")
    assert ears.watts() == 14_320
    ears.hear(ON_CHANGE.liveness_topic, b"offline", retained=True)
    assert ears.watts() is None
    ears.hear(ON_CHANGE.liveness_topic, b"online")
    assert ears.watts() is None
    ears.hear(STATE, b"14000")
    assert ears.watts() == 14_000


def test_the_liveness_topics_may_include_that_of_the_value() -> None:
    ears = Ears(GenericPart("p", TOPIC, liveness_topic="mbmd/#"))
    ears.hear(TOPIC, b"14320")
    ears.at(20.0)
    ears.hear("mbmd/sdm1-1/Voltage", b"230.1")
    assert ears.watts() == 14_320
    assert ears.signs_of_life == [0.0, 20.0]


def test_without_a_liveness_topic_each_reading_counts_for_itself() -> None:
    ears = Ears(GenericPart("p", TOPIC))
    ears.hear(TOPIC, b"14320")
    ears.at(5.1)
    assert ears.watts() is None
    assert ears.signs_of_life == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=8,
)
SCALARS: st.SearchStrategy[Scalar] = st.none() | st.booleans() | st.integers() | st.text(max_size=3)


@given(JSON, st.lists(st.sampled_from(["a", "b", "0", "1"]), min_size=1, max_size=3), SCALARS)
def test_no_document_breaks_it_or_makes_it_read_too_much(
    document: object, path: list[str], good: Scalar
) -> None:
    pointer = "".join(f"/{step}" for step in path)
    part = GenericPart("p", TOPIC, value=pointer, quality="/b", good=(good,), time=pointer, time_format="ms")
    meter = GenericMeter(part, Plausible(HARD_LIMIT_MW, 0))
    with contextlib.suppress(SignalRejectedError):
        for heard in meter.read(TOPIC, json.dumps(document).encode(), START, retained=False):
            mw = getattr(heard, "mw", None)
            assert mw is None or 0 <= mw <= 10 * HARD_LIMIT_MW


@given(st.binary(max_size=60) | st.text(max_size=30).map(str.encode))
def test_no_payload_breaks_a_plain_number(payload: bytes) -> None:
    meter = GenericMeter(GenericPart("p", TOPIC), Plausible(HARD_LIMIT_MW, 0))
    with contextlib.suppress(SignalRejectedError):
        assert len(list(meter.read(TOPIC, payload, START, retained=False))) == 1
