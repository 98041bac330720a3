"""A VTN that is down, slow, wrong or confused: nothing that it asked for before ends or grows by that."""

import json
from pathlib import Path

import pytest

from tests.broker import Mosquitto
from tests.openadr.make import KW, at, event, interval, limits, payload
from tests.openadr.rig import Rig, Start
from tests.signals.stubs import until

NAME = "vtn1-8842-limit"
ENDLESS = {"start": "0001-01-01T00:00:00Z", "duration": "P9999Y"}


async def still_says(site: Rig, limit_watts: int) -> None:
    """Insist that the event is as it was, and is said again as before."""
    before = (await site.says(NAME, limit_watts=limit_watts))["seq"]
    await site.pass_time(130)
    await until(lambda: site.natives()[NAME]["seq"] > before)
    await site.says(NAME, limit_watts=limit_watts)


async def test_a_vtn_that_goes_away_cancels_nothing_and_extends_nothing(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event())
        async with site.bridge():
            await site.says(NAME)
            await site.vtn.stop()
            await still_says(site, 800_000)
            assert "what was published runs on to its end" in site.texts("vtn_unreachable")[0]
            assert site.read(NAME).end_s == at("18:00:00")
            await site.pass_time(2 * 3600)
            said = site.natives()[NAME]["seq"]
            await site.pass_time(600)
            assert site.natives()[NAME]["seq"] == said, "it is over, and nothing more is said of it"


async def test_a_vtn_that_is_down_at_the_start_is_found_when_it_comes(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event())
        await site.vtn.stop()
        async with site.bridge():
            await site.pass_time(200)
            assert site.natives() == {}
            await site.vtn.start()
            await site.pass_time(61)
            await site.says(NAME)
            assert site.events().count("vtn_reachable") == 1


async def test_a_vtn_that_is_down_at_a_restart_leaves_the_events_of_before_in_force(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event(intervalPeriod=ENDLESS))
        async with site.bridge():
            await site.says(NAME)
        await site.vtn.stop()
        async with site.bridge():
            await still_says(site, 800_000)


async def test_without_memory_and_without_a_vtn_nothing_that_stands_is_cancelled(
    start: Start, tmp_path: Path
) -> None:
    async with start() as site:
        site.vtn.put(event(intervalPeriod=ENDLESS))
        async with site.bridge():
            await site.says(NAME)
        (tmp_path / "openadr.json").unlink()
        await site.vtn.stop()
        async with site.bridge():
            await site.pass_time(130)
            await site.vtn.start()
            await site.pass_time(61)
            await until(lambda: site.natives()[NAME]["epoch"] > 0)
        said = [each["status"] for topic, each in site.messages if topic.endswith(NAME) and each]
        assert set(said) == {"active"}


async def test_errors_are_met_with_growing_patience_and_end_nothing(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event())
        async with site.bridge():
            await site.says(NAME)
            site.vtn.failures = [500] * 1000
            asked = site.vtn.asked.total()
            await site.pass_time(600)
            assert 5 <= site.vtn.asked.total() - asked <= 40
            await still_says(site, 800_000)


async def test_a_vtn_that_says_when_to_come_back_is_left_alone_until_then(start: Start) -> None:
    async with start() as site, site.bridge():
        site.vtn.failures = [503]
        site.vtn.retry_after_s = 500
        await site.poll_fails()
        asked = site.vtn.asked.total()
        await site.pass_time(480)
        assert site.vtn.asked.total() == asked
        await site.pass_time(30)
        assert site.vtn.asked.total() > asked


async def test_an_error_on_a_later_page_makes_no_event_of_it_absent(start: Start) -> None:
    async with start() as site:
        site.vtn.page = 10
        site.vtn.put(*(event(f"e{number}") for number in range(30)))
        async with site.bridge():
            await until(lambda: len(site.natives()) == 30)
            site.vtn.failures = [0, 0, 0, 0, 500]  # two pages of programs and two of events are answered
            await site.poll_fails()
            await site.pass_time(5)
            assert {each["status"] for each in site.natives().values()} == {"active"}


async def test_an_event_that_may_not_be_read_any_more_runs_on(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event())
        async with site.bridge():
            await site.says(NAME)
            site.vtn.hidden = {"8842"}
            site.vtn.closed = {"/events/8842"}
            await site.poll()
            await still_says(site, 800_000)
            assert site.events().count("vtn_event_forbidden") >= 1


async def test_a_slow_vtn_is_not_waited_for_without_end(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event())
        async with site.bridge(timeout_s=0.2):
            await site.says(NAME)
            site.vtn.stalled.clear()
            await site.poll_fails()
            assert "no answer in time" in site.texts("vtn_unreachable")[-1]
            await still_says(site, 800_000)
            site.vtn.stalled.set()


async def test_a_token_that_is_refused_in_the_middle_of_a_run_is_renewed_at_once(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event())
        async with site.bridge():
            await site.says(NAME)
            site.vtn.tokens.clear()
            site.vtn.put(event(modified="16:56:00", intervals=limits(500)))
            await site.poll()
            await site.says(NAME, limit_watts=500_000)
            assert "vtn_unreachable" not in site.events()


async def test_a_token_is_renewed_before_it_expires(start: Start) -> None:
    async with start() as site:
        site.vtn.lifetime_s = 300
        async with site.bridge():
            await site.pass_time(180)
            assert site.vtn.asked["/auth/token"] == 1
            await site.pass_time(120)
            assert site.vtn.asked["/auth/token"] == 2


async def test_a_wrong_secret_is_said_and_does_not_make_a_storm(start: Start) -> None:
    async with start() as site, site.bridge(client_secret="wrong"):
        await site.pass_time(600)
        assert "401" in site.texts("vtn_unreachable")[0]
        assert "invalid_client" in site.texts("vtn_unreachable")[0]
        assert "wrong" not in str(site.notices)
        assert site.vtn.asked["/auth/token"] <= 40


@pytest.mark.parametrize("ahead_s", [120.0, -120.0])
async def test_a_clock_two_minutes_off_is_noticed(start: Start, ahead_s: float) -> None:
    async with start() as site:
        site.vtn.ahead_s = ahead_s
        async with site.bridge():
            await site.poll()
            assert f"differs by {ahead_s / 60:+.0f} min" in site.texts("vtn_clock_differs")[0]


async def test_clocks_that_agree_are_no_news(start: Start) -> None:
    async with start() as site, site.bridge():
        await site.poll()
        assert "vtn_clock_differs" not in site.events()


async def test_a_new_version_in_a_wrong_unit_is_refused_and_the_old_one_stays(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event(intervalPeriod=ENDLESS))
        async with site.bridge():
            await site.says(NAME)
            wrong = {**KW, "units": "KWH"}
            site.vtn.put(event(modified="16:56:00", intervalPeriod=ENDLESS, payloadDescriptors=[wrong]))
            await site.poll()
            assert "IMPORT_CAPACITY_LIMIT is in KWH; only KW is obeyed" in site.texts("vtn_event_refused")[0]
            await site.pass_time(130)
            assert site.natives()[NAME]["status"] == "active"
            del site.vtn.events["8842"]
            await site.poll()
            await site.says(NAME, "cancelled")


async def test_one_bad_event_does_not_stop_the_others(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event("bad", intervals=limits(-1)), event())
        async with site.bridge():
            await site.says(NAME)
            assert site.texts("vtn_event_refused")[0].startswith("event bad of the VTN is refused")


async def test_a_private_payload_type_is_passed_over_and_said(start: Start) -> None:
    async with start() as site:
        both = payload("ACME_TURBO", 3), payload("IMPORT_CAPACITY_LIMIT", 700)
        site.vtn.put(event(intervals=[interval(0, *both)]))
        async with site.bridge():
            await site.says(NAME, limit_watts=700_000)
            assert "ACME_TURBO is not obeyed without a rule" in site.texts("vtn_payload_ignored")[0]


@pytest.mark.parametrize("text", ["", "{", '{"version": 9}', '{"version":1,"epoch":-1}', "\x00" * 100])
async def test_a_damaged_memory_is_said_and_starts_anew(start: Start, tmp_path: Path, text: str) -> None:
    (tmp_path / "openadr.json").write_text(text)
    async with start() as site:
        site.vtn.put(event())
        async with site.bridge():
            await site.says(NAME)
            assert "starting as if for the first time" in site.texts("state_file_unusable")[0]
            assert json.loads((tmp_path / "openadr.json").read_text())["said"].keys() == {NAME}


async def test_a_state_directory_that_cannot_be_written_is_said_and_events_go_out_all_the_same(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "openadr.json.new").mkdir()
    async with start() as site:
        site.vtn.put(event())
        async with site.bridge():
            await site.says(NAME)
            assert "a restart will not know what to cancel" in site.texts("state_file_not_written")[0]


async def test_a_broker_that_is_away_gets_the_latest_when_it_is_back(start: Start, broker: Mosquitto) -> None:
    async with start() as site:
        site.vtn.put(event())
        async with site.bridge():
            await site.says(NAME)
            broker.kill()
            await until(lambda: "mqtt_disconnected" in site.events())
            site.vtn.put(event(modified="16:56:00", intervals=limits(400)))
            await site.poll()
            broker.start()
            await site.says(NAME, limit_watts=400_000)


async def test_a_clock_that_was_set_back_numbers_its_epochs_upwards_all_the_same(start: Start) -> None:
    async with start() as site:
        site.vtn.put(event())
        async with site.bridge():
            first = (await site.says(NAME))["epoch"]
        site.clock.set_wall(at("10:00:00"))
        async with site.bridge():
            await until(lambda: site.natives()[NAME]["epoch"] > first)
