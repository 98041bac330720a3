"""What the VTN says, said to the site: by REST alone, with a real broker on the site's side."""

import json
from pathlib import Path
from typing import Any

import pytest

from powerd.core.events.grid_event import EventClass
from powerd.openadr.options import Program
from tests.broker import Mosquitto
from tests.openadr.make import FIVE, at, event, interval, limits, payload, program
from tests.openadr.rig import TOPICS, Rig, Start
from tests.signals.stubs import until

NAME = "vtn1-8842-limit"
ENDLESS = {"start": "0001-01-01T00:00:00Z", "duration": "P9999Y"}
OVER = {"start": "0001-01-01T00:00:00Z", "duration": "PT0S"}


def number(site: Rig, name: str) -> int:
    """Return the sequence number of the last word on an event; 0 = none."""
    seq: int = site.natives().get(name, {}).get("seq", 0)
    return seq


async def test_an_event_of_two_intervals_reaches_the_racks_and_stays_on_the_broker(
    start: Start, broker: Mosquitto
) -> None:
    async with start() as site:
        site.vtn.put(event(priority=0))
        async with site.bridge():
            await site.says(NAME)
            native = site.read(NAME)
            assert (native.source, native.priority, native.event_class) == ("vtn1", 0, EventClass.MANDATORY)
            assert [(each.start_s, each.end_s, each.action.mw) for each in native.intervals] == [
                (at("17:00:00"), at("17:30:00"), 800_000_000),
                (at("17:30:00"), at("18:00:00"), 650_000_000),
            ]
            assert broker.retained(TOPICS.grid_event(NAME)) is not None


async def test_an_event_is_said_again_every_minute_until_it_is_over_and_never_after(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event())
        async with site.bridge():
            await site.says(NAME)
            await site.pass_time(600)
            before = site.natives()[NAME]["seq"]
            await site.pass_time(60)
            await site.pass_time(20)
            assert site.natives()[NAME]["seq"] > before
            await site.pass_time(3600)
            over = site.natives()[NAME]["seq"]
            await site.pass_time(600)
            assert site.natives()[NAME]["seq"] == over
            assert site.natives()[NAME]["status"] == "active", "it ended, it was not cancelled"


async def test_an_event_that_began_in_the_past_is_said_as_it_is(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event(intervalPeriod={"start": "2026-11-21T16:40:00Z", "duration": "PT30M"}))
        async with site.bridge():
            await site.says(NAME)
            assert site.read(NAME).start_s == at("16:40:00")


async def test_an_event_that_is_over_is_not_said_at_all(start: Start) -> None:
    async with start() as site:
        site.vtn.put(
            event("old", intervalPeriod={"start": "2026-11-21T12:00:00Z", "duration": "PT30M"}), event()
        )
        async with site.bridge():
            await site.says(NAME)
            assert list(site.natives()) == [NAME]


async def test_do_it_now_until_further_notice_begins_when_it_is_seen_and_has_no_end(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event(intervalPeriod=ENDLESS, intervals=limits(500)))
        async with site.bridge():
            await site.says(NAME)
            assert (site.read(NAME).start_s, site.read(NAME).end_s) == (at("16:55:00"), None)
            await site.pass_time(200)
            assert site.read(NAME).start_s == at("16:55:00"), "now does not move on"


async def test_a_shifted_start_is_the_same_after_a_restart(start: Start) -> None:
    period = {"start": FIVE, "duration": "PT30M", "randomizeStart": "PT10M"}
    async with start() as site:
        site.vtn.put(event(intervalPeriod=period))
        starts_s = []
        for _ in range(2):
            async with site.bridge():
                await site.says(NAME)
                starts_s.append(site.read(NAME).start_s)
        assert starts_s[0] == starts_s[1] != at("17:00:00")


async def test_a_deleted_event_is_cancelled_with_a_higher_number(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event(), event("other"))
        async with site.bridge():
            before = await site.says(NAME)
            del site.vtn.events["8842"]
            await site.poll()
            after = await site.says(NAME, "cancelled")
            assert (after["epoch"], after["intervals"]) == (before["epoch"], before["intervals"])
            assert after["seq"] > before["seq"]
            assert site.natives()["vtn1-other-limit"]["status"] == "active"


async def test_an_event_whose_time_was_set_to_nothing_is_cancelled(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event())
        async with site.bridge():
            await site.says(NAME)
            site.vtn.put(event(modified="16:56:00", intervalPeriod=OVER))
            await site.poll()
            await site.says(NAME, "cancelled")


async def test_a_cancelled_event_may_come_back(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event())
        async with site.bridge():
            await site.says(NAME)
            site.vtn.put(event(modified="16:56:00", intervalPeriod=OVER))
            await site.poll()
            await site.says(NAME, "cancelled")
            site.vtn.put(event(modified="16:57:00", intervals=limits(700)))
            await site.poll()
            await site.says(NAME, "active", 700_000)


async def test_a_changed_event_is_said_anew_and_an_older_version_is_not(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event(modified="16:50:00"))
        async with site.bridge():
            await site.says(NAME, limit_watts=800_000)
            site.vtn.put(event(modified="16:52:00", intervals=limits(500)))
            await site.poll()
            await site.says(NAME, limit_watts=500_000)
            site.vtn.put(event(modified="16:51:00", intervals=limits(900)))
            await site.poll()
            await site.pass_time(70)
            assert (await site.says(NAME))["intervals"][0]["action"] == {"limit_watts": 500_000}


async def test_what_was_deleted_while_the_bridge_was_away_is_cancelled_when_it_is_back(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event(intervalPeriod=ENDLESS))
        async with site.bridge():
            before = await site.says(NAME)
        del site.vtn.events["8842"]
        async with site.bridge():
            after = await site.says(NAME, "cancelled")
            assert after["epoch"] > before["epoch"]


async def test_even_a_bridge_that_lost_its_memory_cancels_what_it_finds_of_its_own_on_the_broker(
    start: Start, tmp_path: Path
) -> None:
    async with start() as site:
        site.vtn.put(event(intervalPeriod=ENDLESS))
        async with site.bridge():
            before = await site.says(NAME)
        (tmp_path / "openadr.json").unlink()
        del site.vtn.events["8842"]
        async with site.bridge():
            await site.pass_time(10)
            after = await site.says(NAME, "cancelled")
            assert after["epoch"] > before["epoch"]


async def test_events_of_others_on_the_same_broker_are_left_alone(start: Start, broker: Mosquitto) -> None:
    topic = TOPICS.grid_event("theirs")
    broker.publish(topic, b'{"source": "vtn2", "status": "active", "epoch": 1}', retain=True)
    async with start() as site, site.bridge():
        await site.pass_time(120)
        assert site.natives()["theirs"] == {"source": "vtn2", "status": "active", "epoch": 1}


async def test_a_broker_that_forgot_everything_is_told_again(start: Start, broker: Mosquitto) -> None:
    async with start() as site:
        site.vtn.put(event("gone", intervalPeriod=ENDLESS), event())
        async with site.bridge():
            await site.says("vtn1-gone-limit")
            del site.vtn.events["gone"]
            await site.poll()
            await site.says("vtn1-gone-limit", "cancelled")
            broker.restart(persistence=False)
            site.messages.clear()
            await until(lambda: site.events().count("mqtt_connected") == 2)
            await site.pass_time(70)
            await site.says(NAME)
            await site.says("vtn1-gone-limit", "cancelled")


async def test_long_after_its_end_an_event_is_cleared_from_the_broker(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event())
        async with site.bridge():
            await site.says(NAME)
            del site.vtn.events["8842"]
        async with site.bridge():
            await site.says(NAME, "cancelled")
        site.clock.advance_to(site.clock.now().boot_s + 31 * 86400)
        async with site.bridge():
            await until(lambda: (TOPICS.grid_event(NAME), None) in site.messages)


async def test_only_the_programs_that_are_named_are_obeyed(start: Start, tmp_path: Path) -> None:
    named = {"peak-saver": Program(), "45": Program()}
    async with start(programs=named, others=None) as site:
        site.vtn.programs |= {"45": program("45", "by-id"), "46": program("46", "not-ours")}
        site.vtn.put(event("a"), event("b", programID="45"), event("c", programID="46"))
        async with site.bridge():
            await site.says("vtn1-a-limit")
            await site.says("vtn1-b-limit")
            assert "vtn1-c-limit" not in site.natives()
            remembered = json.loads((tmp_path / "openadr.json").read_text())
            assert remembered["events"].keys() == {"a", "b"}, "others would only take up room"


async def test_a_program_that_the_vtn_does_not_show_is_noticed(start: Start) -> None:
    async with start(programs={"peak-shaver": Program()}) as site, site.bridge():
        assert 'the VTN shows no program "peak-shaver"' in site.texts("vtn_program_missing")[0]


async def test_hundreds_of_events_are_read_page_by_page_and_all_of_them_said(start: Start) -> None:
    async with start() as site:
        site.vtn.page = 23
        site.vtn.put(*(event(f"e{each}") for each in range(400)))
        async with site.bridge():
            await until(lambda: len(site.natives()) == 400)


async def test_an_event_missing_from_the_list_is_asked_for_before_it_is_given_up(
    start: Start,
) -> None:
    async with start() as site:
        site.vtn.put(event())
        async with site.bridge():
            await site.says(NAME)
            site.vtn.hidden = {"8842"}
            await site.poll()
            await site.pass_time(130)
            assert site.natives()[NAME]["status"] == "active"


async def test_the_ven_is_registered_once_and_found_afterwards(start: Start) -> None:
    async with start() as site:
        for _ in range(2):
            async with site.bridge():
                await site.poll()
        assert [ven["venName"] for ven in site.vtn.vens.values()] == ["ven-hel1"]


async def test_the_bridge_shows_that_it_is_there_and_whether_the_vtn_is(start: Start) -> None:
    topic = TOPICS.bridge_online("vtn1")
    async with start() as site:
        async with site.bridge():
            await site.poll()
            await site.pass_time(10)
            await until(lambda: site.last(topic)["peer"]["reachable"] is True)
            first = site.last(topic)
            await site.pass_time(10)
            await until(lambda: site.last(topic)["ts"] > first["ts"])
        await until(lambda: site.last(topic)["online"] is False)


async def test_a_price_is_published_as_a_signal_and_follows_its_intervals(start: Start) -> None:
    priced: dict[str, Any] = {
        "intervalPeriod": {"start": "2026-11-21T16:00:00Z", "duration": "PT2H"},
        "payloadDescriptors": [
            {
                "objectType": "EVENT_PAYLOAD_DESCRIPTOR",
                "payloadType": "PRICE",
                "units": "KWH",
                "currency": "EUR",
            }
        ],
        "intervals": [interval(0, payload("PRICE", 0.10, 0.55))],
    }
    topic = TOPICS.signal("price", "hel1")
    async with start() as site:
        site.vtn.put(event(**priced))
        async with site.bridge():
            await until(lambda: any(at == topic for at, _ in site.messages))
            assert (site.last(topic)["value"], site.last(topic)["valid_until"]) == (
                0.10,
                "2026-11-21T17:00:00.000Z",
            )
            await site.pass_time(320)
            await until(lambda: site.last(topic)["value"] == 0.55)
            assert site.natives() == {}, "a price asks for nothing by itself"


@pytest.mark.parametrize("priority", [0, 5, None])
async def test_the_priority_of_the_event_is_passed_on(start: Start, priority: int | None) -> None:
    async with start() as site:
        site.vtn.put(event(priority=priority))
        async with site.bridge():
            await site.says(NAME)
            assert site.read(NAME).priority == priority


async def test_of_two_events_the_one_that_was_changed_later_is_issued_later(start: Start) -> None:
    """Between equals the newer one governs, also when both are said again."""
    a, b = "vtn1-a-limit", "vtn1-b-limit"
    async with start() as site:
        site.vtn.put(event("a", modified="16:51:00"), event("b", modified="16:50:00"))
        async with site.bridge():
            said = 0
            for _ in range(3):
                await until(lambda before=said: min(number(site, a), number(site, b)) > before)  # type: ignore[misc]
                assert site.read(a).issued_at_s > site.read(b).issued_at_s
                said = max(number(site, a), number(site, b))
                await site.pass_time(61)
