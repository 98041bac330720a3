"""What a person sees who opens the page, in a real browser: at night, on a phone, and without a mouse."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from powerd.core.model import GpuState, Step
from powerd.core.orders.override import Override
from powerd.core.rack.failsafe import Phase
from powerd.snapshot import Detached, Drill, OrdersView, Problem, Snapshot
from tests.web import host
from tests.web.browser import PHONE, WITHIN_MS, Screen, chromium, screen

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>" + "W" * 80


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tab() -> AsyncIterator[Page]:
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def normal(tab: Page) -> AsyncIterator[Screen]:
    """Open the page of a host in a fresh lease; nothing may have gone wrong when it closes."""
    async with screen(tab, host.snapshot(host.decided())) as opened:
        yield opened
        assert opened.complaints == []
        assert {url.split("/")[2] for url in opened.requests if not url.startswith("data:")} == {
            f"127.0.0.1:{opened.port}"
        }


def in_failsafe(snapshot: Snapshot, cause: str = "lease_over") -> Snapshot:
    steps = (snapshot.decision.rack_steps[0], Step("failsafe", 20_000_000, "rack.failsafe_watts"))
    lost = snapshot.decision._replace(
        phase=Phase.FAILSAFE,
        failsafe_cause=cause,
        statement=None,
        rack_cap_mw=20_000_000,
        rack_steps=steps,
    )
    return replace(snapshot, decision=lost)


async def overflow_px(opened: Screen) -> int:
    """Return by how much the page is wider than the screen."""
    wide: int = await opened.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return wide


async def test_one_sentence_says_how_things_stand(normal: Screen) -> None:
    """The budget, until when by the clock of whoever looks, and whose it is; the tab has the host's name."""
    await normal.says("#verdict", "WITHIN BUDGET")
    await normal.says("#sentence", "30.00 kW until 19:00:41, facility-a.")
    await normal.says("#verdict", "rack r17, site hel1")
    assert await normal.page.title() == "r17-n3"
    assert await normal.page.locator("#mode").is_hidden()


async def test_every_gpu_has_its_numbers_and_its_reason(normal: Screen) -> None:
    rows = normal.page.locator("#gpu-list > li")
    await expect(rows).to_have_count(8, timeout=WITHIN_MS)
    second = await normal.text("#gpu-list > li:nth-child(2) summary")
    assert all(part in second for part in ("310 W", "400 W", "380 W", "wants more"))
    assert "HUNG: a driver call has not returned for 4 s" in await normal.text("#gpu-list > li:nth-child(7)")
    described = await rows.nth(1).locator("[role=img]").get_attribute("aria-label")
    assert described is not None
    assert "draws 310\u00a0W" in described
    assert "ceiling 700\u00a0W" in described


async def test_a_gpu_explains_itself_to_the_keyboard(normal: Screen) -> None:
    await normal.page.locator("#gpu-list summary").nth(1).focus()
    await normal.page.keyboard.press("Enter")
    lead = "#gpu-list > li:nth-child(2) .lead"
    await normal.says(lead, "GPU 1 has 400 W")
    await normal.says("#gpu-list > li:nth-child(2) .steps", "budget of the controller")
    steps = await normal.text("#gpu-list > li:nth-child(2) .steps")
    assert "\u221210.00 kW" in steps.replace("\u00a0", " ")
    assert "facility-a" in steps
    await normal.page.keyboard.press("Enter")
    await expect(normal.page.locator(lead)).to_be_hidden(timeout=WITHIN_MS)


async def test_the_first_stop_of_the_keyboard_leads_past_the_chart(normal: Screen) -> None:
    await normal.page.keyboard.press("Tab")
    focused = normal.page.locator(":focus")
    assert await focused.text_content() == "Skip to the GPUs"
    assert await focused.is_visible()
    await normal.page.keyboard.press("Enter")
    await normal.page.keyboard.press("Tab")
    assert await normal.page.locator(":focus").text_content() == "by index"


async def test_the_order_by_power_is_the_greatest_first(normal: Screen) -> None:
    names = normal.page.locator("#gpu-list .name")
    await expect(names.first).to_contain_text("0", timeout=WITHIN_MS)
    await normal.page.get_by_role("button", name="by power").click()
    await expect(names.first).to_contain_text("5", timeout=WITHIN_MS)
    draws = [await each.text_content() or "" for each in await normal.page.locator("#gpu-list .draws").all()]
    known = [int(text.split()[0]) for text in draws if text != "unknown"]
    assert known == sorted(known, reverse=True)


async def test_failsafe_cannot_be_missed(normal: Screen) -> None:
    """In words, in the title, and told once to whoever listens instead of looking."""
    await normal.says("#announcement", "WITHIN BUDGET")
    normal.show(in_failsafe(normal.shown[0]), after_s=1.0)
    await normal.says("#word", "FAILSAFE")
    await normal.says("#sentence", "No controller heard since 19:00:01. The rack holds 20.00 kW.")
    await normal.says("#announcement", "r17-n3: FAILSAFE. No controller heard")
    assert await normal.page.title() == "FAILSAFE r17-n3"
    await normal.says("#happenings", "failsafe")


async def test_a_power_brake_is_called_by_its_name(normal: Screen) -> None:
    normal.show(in_failsafe(normal.shown[0], "power_brake"))
    await normal.says("#word", "POWER BRAKE")
    await expect(normal.page).to_have_title("POWER BRAKE r17-n3", timeout=WITHIN_MS)


@pytest.mark.parametrize("mode", ["monitor", "dry-run"])
async def test_a_mode_that_writes_nothing_is_said_in_the_header(normal: Screen, mode: str) -> None:
    normal.show(replace(normal.shown[0], mode=mode))
    await normal.says("#mode", mode.upper())
    await expect(normal.page).to_have_title(f"r17-n3 ({mode})", timeout=WITHIN_MS)


async def test_numbers_that_are_old_are_not_shown_as_if_they_were_live(tab: Page) -> None:
    """The server goes: words and tab say since when, and numbers are struck. It comes back: they are not."""
    quick = replace(host.snapshot(host.decided()), period_s=0.1)
    async with screen(tab, quick) as opened:
        await opened.says("#word", "WITHIN BUDGET")
        await opened.server.stop()
        await opened.says("#word", "NO CONNECTION")
        await opened.says("#sentence", "Nothing heard from powerd since 19:00.")
        assert await opened.page.title() == "NO CONNECTION r17-n3"
        for number in (".keys dd >> nth=0", "#gpu-list .draws >> nth=0", "#hosts .number >> nth=0"):
            await expect(opened.page.locator(number)).to_have_css("text-decoration-line", "line-through")
        opened.server._address = ("127.0.0.1", opened.port)
        await opened.server.start()
        await opened.says("#word", "WITHIN BUDGET")
        await expect(opened.page.locator("body")).not_to_have_class("old", timeout=WITHIN_MS)


async def test_a_stalled_loop_is_said_though_the_server_answers(tab: Page) -> None:
    quick = replace(host.snapshot(host.decided()), period_s=0.1)
    async with screen(tab, quick) as opened:
        opened.clock.after_s = 10.0
        await opened.says("#word", "STALLED")
        await opened.says("#sentence", "has not finished an iteration since 19:00.")
        await expect(opened.page.locator("body")).to_have_class("old")
        assert opened.complaints == []


async def test_a_limit_that_is_not_in_effect_is_told_apart(normal: Screen) -> None:
    readings = (host.gpu(0, enforced_mw=500_000), *normal.shown[0].readings[1:])
    normal.show(replace(normal.shown[0], readings=readings))
    await normal.says("#gpu-list > li:nth-child(1) .why", "500 W in effect")
    assert "in effect" not in await normal.text("#gpu-list > li:nth-child(2) .why")


async def test_text_from_outside_stays_text(normal: Screen) -> None:
    bad = Problem("signal_rejected", "warning", HOSTILE, HOSTILE, host.WALL_S, host.WALL_S, 1)
    readings = (
        host.gpu(0, name=HOSTILE),
        replace(host.gpu(1, state=GpuState.HUNG), detail=HOSTILE),
        *normal.shown[0].readings[2:],
    )
    normal.show(replace(normal.shown[0], problems=(bad,), readings=readings, site=HOSTILE))
    await normal.says("#problems", HOSTILE)
    await normal.says("#place", HOSTILE)
    assert HOSTILE in await normal.text("#gpu-list > li:nth-child(1) .name")
    assert HOSTILE in await normal.text("#gpu-list > li:nth-child(2) .why")
    assert await normal.page.locator("img, body script:not(:last-of-type)").count() == 0


async def test_leases_say_from_whom_to_whom_and_until_when(normal: Screen) -> None:
    normal.show(host.lending())
    await normal.says("#leases", "r17-n3 \u2192 r17-n1 0.65 kW")
    await normal.says("#leases", "unless it is renewed")
    await expect(normal.page.locator("#hosts tr")).to_have_count(4, timeout=WITHIN_MS)
    await normal.says("#hosts", "silent for")
    await normal.says("#hosts", "has another roster")
    normal.show(host.borrowing(), after_s=0.0)
    await normal.says("#leases", "r17-n1 \u2192 r17-n3 0.60 kW")
    await normal.says("#hosts", "never heard")


async def test_a_grid_event_says_what_it_asks_and_how_long_it_lasts(tab: Page) -> None:
    curtailed = host.curtailed()
    obeyed = replace(curtailed, decision=curtailed.decision._replace(compliant=True))
    async with screen(tab, obeyed) as opened:
        await opened.says("#word", "CURTAILED")
        await opened.says("#sentence", "20.00 kW; peak-7 of vtn1 asks for 22.50 kW until 19:30.")
        await opened.says("#events", "peak-7")
        await opened.says("#events", "mandatory, of vtn1")
        await opened.says("#events", "until 19:30, ends in 30 min")
        await opened.says("#meter", "Nothing usable is heard of b: no raises")
        assert "CURTAILED" in await opened.page.title()
        assert opened.complaints == []


async def test_an_event_to_come_says_when_it_starts(tab: Page) -> None:
    (held,) = host.curtailed().decision.schedule.held.values()
    later = (held.event.intervals[0]._replace(start_s=host.WALL_S + 7200.0, end_s=None),)
    decision = host.decided(events=(replace(held.event, intervals=later, targets=()),))
    async with screen(tab, host.snapshot(decision)) as opened:
        await opened.says("#word", "WITHIN BUDGET")
        await opened.says("#events", "PENDING")
        await opened.says("#events", "from 21:00 until it is cancelled, starts in 2 h 0 min, every rack")


async def test_standing_orders_say_who_why_until_and_how_to_end_them(normal: Screen) -> None:
    override = Override("GPU-33aa-3", 312_000, host.BOOT_S + 600.0, "job 7 is late", "ada")
    orders = OrdersView(
        "enforce",
        detached=Detached(host.WALL_S, "bob", "driver upgrade"),
        drill=Drill(host.BOOT_S + 90.0, "eve", "game day", dropped=2),
        overrides=(override,),
    )
    normal.show(replace(normal.shown[0], mode="dry-run", orders=orders))
    await normal.says("#orders", "GPU 3 shall have 312 W")
    said = await normal.text("#orders")
    for part in (
        "ada: job 7 is late, until 19:10, 10 min left",
        "powerctl override --gpu 3 --end --reason",
        "bob: driver upgrade, since 19:00",
        "powerctl attach --reason",
        "eve: game day",
        "Budgets are not heard, for practice: 2 so far. Ctrl-C",
        "dry-run until restart; enforce is configured",
        "powerctl mode enforce --reason",
    ):
        assert part in said.replace("\u00a0", " ")
    await normal.says("#word", "DETACHED")


async def test_the_chart_reads_itself_out(tab: Page) -> None:
    """By the keys, where nobody points: what was given and drawn at a moment of the history."""
    before = host.snapshot(host.decided())
    async with screen(tab, in_failsafe(before), before=[before] * 30) as opened:
        await opened.says("#sentence", "No controller heard since 19:00")
        plot = opened.page.locator("#rack-plot")
        await plot.focus()
        await opened.page.keyboard.press("ArrowLeft")
        await opened.page.keyboard.press("ArrowLeft")
        await opened.says("#moment", "At 18:59:5")
        await opened.says("#moment", "limited")
        told = await plot.get_attribute("aria-valuetext")
        assert told is not None
        assert "budget 30.00\u00a0kW" in told
        await opened.says("#rack-keys", "30.00 kW")
        await opened.page.keyboard.press("Escape")
        await opened.says("#rack-keys", "20.00 kW")
        assert opened.complaints == []


async def test_what_did_not_change_is_not_written_again(normal: Screen) -> None:
    """A page that is left open costs little: the same status again touches the clock and nothing else."""
    await normal.says("#events", "None active")
    await normal.says("#feed", "Live.")
    await normal.page.evaluate(
        """() => {
            window.touched = new Set();
            new MutationObserver((changes) => changes.forEach((change) => {
                const node = change.target.nodeType === 1 ? change.target : change.target.parentElement;
                window.touched.add(node.id || node.closest("[id]").id);
            })).observe(document.body,
                { subtree: true, childList: true, characterData: true, attributes: true });
        }"""
    )
    normal.show(replace(normal.shown[0], iteration=8))
    await normal.says("#version", "iteration 8")
    assert set(await normal.page.evaluate("[...window.touched]")) <= {"version", "clock", "levels"}


async def test_a_phone_needs_no_sideways_scrolling(tab: Page) -> None:
    async with screen(tab, host.lending(), PHONE) as opened:
        await opened.says("#leases", "0.65 kW")
        await opened.page.locator("#gpu-list summary").nth(1).click()
        await opened.says("#gpu-list > li:nth-child(2) .steps", "budget of the controller")
        assert await overflow_px(opened) == 0
        bad = Problem("signal_rejected", "warning", "", HOSTILE, host.WALL_S, host.WALL_S, 1)
        opened.show(replace(host.curtailed(), problems=(bad,), site=HOSTILE, rack=HOSTILE))
        await opened.says("#problems", HOSTILE)
        await opened.says("#events", "peak-7")
        assert await overflow_px(opened) == 0
        assert opened.complaints == []
