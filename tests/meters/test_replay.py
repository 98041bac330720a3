"""The capture of a real building management system, through a real broker, on the time of the capture."""

import csv
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from powerd.core.metering.meter import Meter, MeterAlive, hear, stale, total_mw
from powerd.meters.options import DsxPart
from powerd.meters.values import Sample
from powerd.signals.endpoint import BusOptions
from powerd.signals.mqtt import connect
from powerd.signals.outbox import Outgoing
from tests.broker import Mosquitto
from tests.meters.ears import HEARTBEAT, START, Ears
from tests.signals.stubs import Observed, options, until

CAPTURE = Path(__file__).parent / "data" / "row_e_power.csv"
LAST_TOPIC = "powerd/v1/hel1/replay/done"
BUS_E1 = DsxPart("bus-e1", object_id="C-E-BUS-E1")
BUS_E2 = DsxPart("bus-e2", object_id="C-E-BUS-E2")
E01 = DsxPart("e01", rack_location="Pod1C-E01")
E02 = DsxPart("e02", rack_location="Pod1C-E02")
# By their own meters the six racks that both buses feed draw so much in the whole capture.
ROW_E_WATTS = 214_080


class Row(NamedTuple):
    """One message of the capture."""

    after_s: float
    topic: str
    payload: bytes


def seconds(offset: str) -> float:
    found = re.fullmatch(r"(?:(\d+)m)?(?:([\d.]+)s)?(?:([\d.]+)ms)?", offset)
    assert found
    minutes, whole, thousandths = (float(part or 0) for part in found.groups())
    return minutes * 60 + whole + thousandths / 1000


def capture() -> list[Row]:
    with CAPTURE.open(encoding="utf-8", newline="") as file:
        rows = [(seconds(row["offset"]), row["topic"], row["payload"]) for row in csv.DictReader(file)]
    return [
        Row(at, topic, payload.replace("{{timestamp_ms}}", str(round((START.wall_s + at) * 1000))).encode())
        for at, topic, payload in rows
    ]


def beat(after_s: float) -> Row:
    stamp_ms = round((START.wall_s + after_s) * 1000)
    return Row(after_s, HEARTBEAT, f'{{"value":{stamp_ms},"timestamp":{stamp_ms},"quality":1}}'.encode())


def stamped(row: Row) -> Row:
    """Return a row that says when it is."""
    stamp_ms = round((START.wall_s + row.after_s) * 1000)
    return row._replace(payload=re.sub(rb'"timestamp":\d+', b'"timestamp":%d' % stamp_ms, row.payload))


async def replay(directory: Path, rows: Iterable[Row], ears: Ears) -> None:
    """Publish the rows as a BMS would, values unretained, and set the clock to each as it arrives."""

    def arrived(topic: str, payload: bytes, retained: bool) -> None:
        stamp = re.search(rb'"timestamp":(\d+)', payload)
        if stamp:
            ears.at(int(stamp[1]) / 1000 - START.wall_s)
        if topic == LAST_TOPIC:
            done.append(topic)
        else:
            ears.listener.on_message(topic, payload, retained)

    done: list[str] = []
    rows = list(rows)
    with Mosquitto(directory / "broker") as broker:
        async with connect(BusOptions(broker.url, "bms")) as bms:
            for row in rows:
                if "/Metadata/" in row.topic:
                    await bms.publish(Outgoing(row.topic, row.payload, qos=1, retain=True))
            filters = {**ears.listener.filters, LAST_TOPIC: 0}
            async with Observed(options(broker.url), on_message=arrived, subscriptions=filters) as host:
                await host.connected()
                for row in rows:
                    if "/Metadata/" not in row.topic:
                        await bms.publish(Outgoing(row.topic, row.payload, qos=1))
                await bms.publish(Outgoing(LAST_TOPIC, b"", qos=1))
                await until(lambda: bool(done))
    assert ears.refusals == []


def course(ears: Ears, until_s: int = 99) -> list[tuple[float | None, tuple[str, ...]]]:
    """Return the rack's power in watts, and what is missing, second by second."""
    meter, waiting = Meter(), list(ears.samples)
    by_second = []
    for after_s in range(until_s + 1):
        boot_s = START.boot_s + after_s
        while waiting and _boot_s(waiting[0]) <= boot_s:
            meter = hear(meter, (waiting.pop(0),), ears.rules)
        mw = total_mw(meter, ears.rules, boot_s)
        by_second.append((None if mw is None else mw / 1000, stale(meter, ears.rules, boot_s)))
    return by_second


def _boot_s(sample: Sample) -> float:
    return sample.boot_s if isinstance(sample, MeterAlive) else sample.taken_boot_s


def row_e(*parts: DsxPart) -> Ears:
    return Ears(*parts, hard_limit_mw=300_000_000)


def without(rows: Iterable[Row], text: str, *, after_s: float) -> list[Row]:
    return [
        row for row in rows if text not in row.topic or "/Value/" not in row.topic or row.after_s < after_s
    ]


async def test_both_feeds_add_up_to_what_the_racks_draw_by_their_own_meters(tmp_path: Path) -> None:
    """Within 0.1 %: one feed alone is half of it."""
    ears = row_e(BUS_E1, BUS_E2)
    await replay(tmp_path, capture(), ears)
    known = [watts for watts, _ in course(ears)[3:]]
    assert all(watts == pytest.approx(ROW_E_WATTS, rel=0.001) for watts in known)
    assert {reading.part for reading in ears.readings} == {"bus-e1", "bus-e2"}
    assert len(ears.readings) == 190
    assert ears.notices == []


async def test_a_gap_of_35_s_never_makes_the_reading_smaller(tmp_path: Path) -> None:
    """E01 says nothing for 35 s, since nothing changes. What its neighbours say tells that the BMS lives."""
    ears = Ears(E01)
    await replay(tmp_path, capture(), ears)
    taken_s = [reading.taken_boot_s for reading in ears.readings]
    assert max(after - before for before, after in pairwise(taken_s)) > 35
    assert {watts for watts, _ in course(ears)[3:]} <= {95.0, 96.0, 97.0, 98.0}


async def test_the_same_gap_on_a_bus_that_is_otherwise_silent_makes_it_unknown_at_most(
    tmp_path: Path,
) -> None:
    ears = Ears(E01)
    await replay(tmp_path, [row for row in capture() if "rack01" in row.topic], ears)
    known = [watts for watts, _ in course(ears)[3:]]
    assert None in known
    assert set(known) <= {None, 95.0, 96.0, 97.0, 98.0}


async def test_without_one_of_the_feeds_nothing_is_known_and_the_feed_is_named(tmp_path: Path) -> None:
    ears = row_e(BUS_E1, BUS_E2)
    await replay(tmp_path, without(capture(), "C-E-BUS-E2", after_s=0), ears)
    by_second = course(ears)
    assert {watts for watts, _ in by_second} == {None}
    assert {missing for _, missing in by_second[3:]} == {("bus-e2",)}


async def test_a_feed_that_falls_silent_is_never_taken_for_nothing(tmp_path: Path) -> None:
    """For 130 s it may just not have changed, and then it is unknown though the BMS lives."""
    ears = row_e(BUS_E1, BUS_E2)
    rows = without(capture(), "C-E-BUS-E2", after_s=20.0)
    rows += [Row(row.after_s + 98, *row[1:]) for row in rows if row.after_s > 2 and "BUS-E1" in row.topic]
    await replay(tmp_path, [stamped(row) for row in rows], ears)
    by_second = course(ears, until_s=190)
    assert all(watts == pytest.approx(ROW_E_WATTS, rel=0.002) for watts, _ in by_second[3:148])
    assert set(by_second[152:]) == {(None, ("bus-e2",))}


async def test_a_value_that_does_not_change_for_99_s_stays_known_with_a_heartbeat(tmp_path: Path) -> None:
    first = [row for row in capture() if row.after_s < 3 or "/Metadata/" in row.topic]
    beats = [beat(after_s) for after_s in range(0, 99, 10)]
    ears = Ears(E02)
    await replay(tmp_path, sorted([*first, *beats]), ears)
    assert {watts for watts, _ in course(ears)[3:]} == {35_205.0}


async def test_the_same_value_does_not_stay_known_without_one(tmp_path: Path) -> None:
    first = [row for row in capture() if row.after_s < 3 or "/Metadata/" in row.topic]
    ears = Ears(E02)
    await replay(tmp_path, first, ears)
    watts = [watts for watts, _ in course(ears)]
    assert set(watts[3:31]) == {35_205.0}
    assert set(watts[34:]) == {None}
