"""Orders in one process: the real loop and the real guard; what is said, what is refused, what is kept."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from powerd.clock import SystemClock
from powerd.core.model import Notice, Plan, Write
from powerd.core.orders.override import Override
from powerd.daemon.host_gpus import HostGpus
from powerd.desk import file
from powerd.desk.desk import Done
from powerd.desk.file import Kept
from powerd.desk.memory import OrderMemory
from powerd.errors import GuardError, UnknownGpuError
from powerd.guard.client import GuardClient
from powerd.guard.driver import Kind
from powerd.snapshot import Detached
from tests.core.make import W
from tests.desk import ANNA, Daemon, running
from tests.guard.live import live_guard
from tests.guard.rig import DEFAULT_MW

DETACHED = Detached(1.0, "anna", "driver upgrade")


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    """Return a daemon under a budget of 800 W: 400 W for each of its GPUs."""
    async with running(tmp_path) as made:
        await made.obey(800)
        yield made


# Overrides


async def test_an_override_is_in_the_limits_once_it_is_answered(daemon: Daemon) -> None:
    done = await daemon.desk.override("1", 300_500, 60, "a run", ANNA)
    assert daemon.limits_w()[1] == 300
    assert done.text.startswith("GPU 1 wants 300 W until ")
    assert done.text.endswith(": its limit is 300 W")
    assert done.until_wall_s == pytest.approx(daemon.clock.now().wall_s + 60, abs=5)
    entry = daemon.entries[-1]
    assert (entry.order, entry.subject, entry.who, entry.reason) == ("override", "GPU-1", ANNA, "a run")
    assert (entry.outcome, entry.refused) == (done.text, False)
    assert (entry.happening.by, entry.happening.event) == ("anna", "order")


async def test_what_the_budget_leaves_is_told(daemon: Daemon) -> None:
    await daemon.obey(500)
    done = await daemon.desk.override("0", 500_000, 60, "a run", ANNA)
    assert done.text.endswith("its limit is 400 W (fair share)")


async def test_a_second_override_of_a_gpu_takes_the_place_of_the_first(daemon: Daemon) -> None:
    await daemon.desk.override("0", 300_000, 60, "a run", ANNA)
    await daemon.desk.override("0", 200_000, 60, "another", ANNA)
    snapshot = await daemon.loop.changes.next_iteration()
    assert [each.mw for each in snapshot.orders.overrides] == [200_000]
    done = await daemon.desk.override("GPU-0", None, 0, "over", ANNA)
    assert done == Done("GPU 0 has no override: its limit is 400 W (fair share)")
    assert "has no override" in await daemon.refusal(daemon.desk.override("0", None, 0, "again", ANNA))


@pytest.mark.parametrize(
    ("mw", "ttl_s", "text"),
    [
        (99_000, 60, "99 W is out of the range of GPU 0: 100 to 500 W"),
        (501_000, 60, "501 W is out of the range of GPU 0: 100 to 500 W"),
        (300_000, 59.9, "an override lasts 60 to 86400 s, not 59.9 s"),
        (300_000, 86_401, "an override lasts 60 to 86400 s, not 86401 s"),
    ],
)
async def test_an_override_out_of_range_is_refused(daemon: Daemon, mw: int, ttl_s: float, text: str) -> None:
    assert await daemon.refusal(daemon.desk.override("0", mw, ttl_s, "a run", ANNA)) == text


async def test_an_unknown_gpu_is_told_apart(daemon: Daemon) -> None:
    with pytest.raises(UnknownGpuError, match="known: 0 GPU-0, 1 GPU-1"):
        await daemon.desk.override("7", 300_000, 60, "a run", ANNA)
    assert (daemon.entries[-1].subject, daemon.entries[-1].refused) == ("7", True)


async def test_where_nothing_is_written_an_override_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, "dry-run") as daemon:
        daemon.hear(800)
        await daemon.until(lambda s: s.decision.statement is not None)
        done = await daemon.desk.override("0", 300_000, 60, "a run", ANNA)
        assert done.text.endswith("it would have 300 W, but the mode is dry-run")
        assert daemon.guard.driver.writes == []


async def test_an_override_that_was_remembered_ends_by_itself_and_that_is_told(tmp_path: Path) -> None:
    soon = SystemClock().now().boot_s + 1.0
    kept = Kept((Override("GPU-0", 300_000, soon, "a run", "anna"),))
    async with running(tmp_path, kept=kept) as daemon:
        daemon.hear(800)
        await daemon.until(lambda _: daemon.limits_w()[0] == 300)
        await daemon.until(lambda s: not s.orders.overrides)
        told = [notice for report in daemon.reports for notice in report.notices]
        [ended] = [notice for notice in told if notice.event == "override_ended"]
        assert (ended.subject, "a run" in ended.text) == ("GPU-0", True)
        await daemon.until(lambda _: daemon.limits_w() == [400, 400])


# What is common to all


@pytest.mark.parametrize("reason", ["", "two\nlines", "x" * 257])
async def test_no_order_without_a_reason_of_one_line(daemon: Daemon, reason: str) -> None:
    assert "give a reason" in await daemon.refusal(daemon.desk.release(reason, ANNA))


async def test_an_order_goes_on_when_who_gave_it_has_gone(daemon: Daemon) -> None:
    asking = asyncio.create_task(daemon.desk.override("0", 300_000, 60, "a run", ANNA))
    await asyncio.sleep(0)
    asking.cancel()
    await daemon.until(lambda _: bool(daemon.entries))
    assert daemon.limits_w()[0] == 300


async def test_orders_are_carried_out_one_after_another(daemon: Daemon) -> None:
    orders = [daemon.desk.override("0", mw, 60, f"run {mw}", ANNA) for mw in (200_000, 300_000, 250_000)]
    await asyncio.gather(*orders)
    assert [entry.reason for entry in daemon.entries] == ["run 200000", "run 300000", "run 250000"]
    assert daemon.limits_w()[0] == 250


async def test_without_a_guard_what_needs_it_is_an_error(daemon: Daemon) -> None:
    await asyncio.to_thread(daemon.guard.stop)
    await daemon.until(lambda s: bool(s.guard.error))
    with pytest.raises(GuardError):
        await daemon.desk.release("an end", ANNA)
    assert daemon.loop.gate.may_write
    assert "no GPU is known" in await daemon.refusal(daemon.desk.override("0", 300_000, 60, "a run", ANNA))
    await daemon.desk.mode("monitor", "an end", ANNA)
    assert await daemon.refusal(daemon.desk.mode("enforce", "a start", ANNA))


# The mode


async def test_dry_run_and_back(daemon: Daemon) -> None:
    done = await daemon.desk.mode("dry-run", "a look", ANNA)
    assert "fallback within 5 s" in done.text
    assert "host.mode is enforce: change it to keep dry-run" in done.text
    daemon.hear(600)
    snapshot = await daemon.until(lambda s: s.decision.rack_cap_mw == 600 * W)
    assert (snapshot.mode, snapshot.orders.configured_mode) == ("dry-run", "enforce")
    assert daemon.limits_w() == [400, 400]
    assert await daemon.desk.mode("enforce", "on", ANNA) == Done("limits are written until the next start")
    await daemon.until(lambda _: daemon.limits_w() == [300, 300])
    assert await daemon.desk.mode("enforce", "on", ANNA) == Done("the mode is enforce already")
    assert "the mode is" in await daemon.refusal(daemon.desk.mode("off", "a try", ANNA))


async def test_enforce_is_refused_with_what_stands_against_it(tmp_path: Path) -> None:
    async with running(tmp_path, "dry-run") as daemon:
        daemon.guard.driver.gpus["GPU-0"].set_error = Kind.NO_PERMISSION
        await daemon.until(lambda s: bool(s.readings))
        await daemon.gpus.execute(
            Plan(cuts=(Write("GPU-0", 200 * W),), end_boot_s=SystemClock().now().boot_s + 60)
        )
        await daemon.until(lambda s: s.readings[0].capability == "readable")
        text = await daemon.refusal(daemon.desk.mode("enforce", "a start", ANNA))
        assert "rack.hosts.h1.floor_watts is 200" in text
        assert daemon.loop.gate.mode == "dry-run"


async def test_release_puts_back_and_enforce_takes_over_again(daemon: Daemon) -> None:
    await daemon.obey(600)
    daemon.guard.driver.gpus["GPU-1"].set_error = Kind.UNKNOWN
    done = await daemon.desk.release("a day off", ANNA)
    assert daemon.limits_w() == [400, 300]
    assert "GPU-1" in done.text
    snapshot = await daemon.loop.changes.next_iteration()
    assert (snapshot.mode, snapshot.orders.released) == ("dry-run", True)
    assert "limits_released" in [problem.event for problem in snapshot.problems]
    daemon.guard.driver.gpus["GPU-1"].set_error = ""
    await daemon.desk.mode("enforce", "back", ANNA)
    snapshot = await daemon.loop.changes.next_iteration()
    assert not snapshot.orders.released


async def test_release_in_monitor_leaves_it_at_that(tmp_path: Path) -> None:
    async with running(tmp_path, "monitor") as daemon:
        await daemon.until(lambda s: bool(s.readings))
        await daemon.desk.release("a day off", ANNA)
        assert daemon.loop.gate.mode == "monitor"


# The driver


async def test_detach_needs_the_watts_for_what_may_come_back(daemon: Daemon) -> None:
    await daemon.obey(600)
    text = await daemon.refusal(daemon.desk.detach("an upgrade", ANNA))
    assert "lacks 200 W" in text
    assert daemon.holds_driver()
    done = await daemon.desk.detach("an upgrade", ANNA, force=True)
    assert "800 W" in done.text
    assert not daemon.holds_driver()
    snapshot = await daemon.loop.changes.next_iteration()
    assert [reading.worst_case_mw for reading in snapshot.readings] == [DEFAULT_MW] * 2
    assert not snapshot.decision.compliant
    assert not snapshot.decision.place.is_leasing
    assert "given up already" in await daemon.refusal(daemon.desk.detach("again", ANNA))
    assert "powerctl attach" in await daemon.refusal(daemon.desk.release("an end", ANNA))
    events = {problem.event for problem in snapshot.problems}
    assert "driver_detached" in events
    assert not events & {"guard_unusable", "gpu_lost"}, "an order is no fault"


async def test_what_the_guard_says_after_a_write_counts_more_than_the_write(tmp_path: Path) -> None:
    """Also of a GPU that cannot be read any more: its driver has gone, and may bring it back at more."""
    with live_guard(tmp_path, state_dir=str(tmp_path)) as guard:
        clock = SystemClock(assume_synced=True)
        gpus = HostGpus(GuardClient(guard.path), clock, read_within_s=2.0, plan_within_s=2.0)
        await gpus.sample()
        await gpus.execute(Plan(cuts=(Write("GPU-0", 200 * W),), end_boot_s=clock.now().boot_s + 60))
        assert gpus.readings[0].worst_case_mw == 200 * W
        await gpus.detach("detached by anna: an upgrade")
        assert gpus.readings[0].worst_case_mw == DEFAULT_MW
        await gpus._guard.close()


async def test_attach_brings_the_limits_back(daemon: Daemon) -> None:
    await daemon.desk.detach("an upgrade", ANNA)
    daemon.hear(600)
    daemon.guard.driver.reload()
    assert "attached" in (await daemon.desk.attach("done", ANNA)).text
    await daemon.until(lambda _: daemon.limits_w() == [300, 300])
    assert "not given up" in await daemon.refusal(daemon.desk.attach("again", ANNA))


async def test_a_driver_that_cannot_be_let_go_is_told(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("powerd.desk.driver.WITHIN_S", 0.2)
    daemon.guard.driver.hanging = {"GPU-0"}
    daemon.hear(600)
    await daemon.until(lambda s: any(r.state == "hung" for r in s.readings))
    monkeypatch.setattr(daemon.guard.driver, "detach", lambda: daemon.guard.driver._let_go.wait(5))
    done = await daemon.desk.detach("a reset", ANNA, force=True)
    assert "GPU 0 hangs in a call" in done.text
    assert "powerd-guard.service" in done.text
    daemon.guard.driver.let_go()


async def test_a_driver_that_is_not_back_is_told(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("powerd.desk.driver.WITHIN_S", 0.2)
    await daemon.desk.detach("an upgrade", ANNA)
    daemon.guard.driver.attach_error = "not loaded"
    done = await daemon.desk.attach("done", ANNA)
    assert done.text == "the driver is not back yet: not loaded; it is tried again"


async def test_a_start_while_the_driver_is_given_up_keeps_it_so(tmp_path: Path) -> None:
    async with running(tmp_path, kept=Kept((), DETACHED)) as daemon:
        snapshot = await daemon.until(lambda _: daemon.gpus.attachment == "detached")
        assert snapshot.orders.detached == DETACHED
        assert daemon.guard.driver.writes == []


# Drills


async def test_a_drill_keeps_budgets_from_being_heard_and_counts_them(daemon: Daemon) -> None:
    done = await daemon.desk.drill(30, "game day", ANNA)
    assert "longer than that: nothing will change" in done.text
    daemon.hear(900)
    snapshot = await daemon.until(lambda s: s.orders.drill is not None and s.orders.drill.dropped == 1)
    assert snapshot.decision.rack_cap_mw == 800 * W
    assert "the drill has ended" in (await daemon.desk.drill(0, "enough", ANNA)).text
    assert "no drill" in await daemon.refusal(daemon.desk.drill(0, "again", ANNA))
    await daemon.obey(600)


async def test_a_lower_budget_is_obeyed_during_a_drill_and_is_no_lease(daemon: Daemon) -> None:
    """A facility that has to lower its rack must be obeyed whatever is practised there."""
    daemon.hear(800, lease_s=5.0)
    before = await daemon.until(lambda s: s.decision.statement is not None and s.decision.statement.seq == 2)
    await daemon.desk.drill(30, "game day", ANNA)
    daemon.hear(600)
    snapshot = await daemon.until(lambda s: s.decision.rack_cap_mw == 600 * W)
    assert snapshot.decision.statement == before.decision.statement
    assert snapshot.decision.rack_steps[-1].rule != "budget"
    daemon.hear(700)
    snapshot = await daemon.until(lambda s: s.orders.drill is not None and s.orders.drill.dropped == 2)
    assert snapshot.decision.rack_cap_mw == 600 * W


async def test_a_drill_says_what_will_be_seen(daemon: Daemon) -> None:
    daemon.hear(700, lease_s=5.0)
    await daemon.until(lambda s: s.decision.rack_cap_mw == 700 * W)
    done = await daemon.desk.drill(30, "game day", ANNA)
    assert "then the failsafe budget holds" in done.text


@pytest.mark.parametrize("duration_s", [1, 9.9, 3601, -5])
async def test_a_drill_lasts_as_long_as_a_drill(daemon: Daemon, duration_s: float) -> None:
    assert "10 to 3600 s" in await daemon.refusal(daemon.desk.drill(duration_s, "game day", ANNA))


# What outlives the daemon


def test_orders_are_remembered_within_a_boot_only(tmp_path: Path) -> None:
    kept = Kept((Override("GPU-0", 300_000, 500.0, "a run", "anna"),), DETACHED)
    assert file.load(tmp_path, "boot-1") == Kept()
    file.save(tmp_path, "boot-1", kept)
    assert file.load(tmp_path, "boot-1") == kept
    assert file.load(tmp_path, "boot-2") == Kept()


@pytest.mark.parametrize("text", ["{", '{"version":9}', '{"version":1}', "[]"])
def test_a_damaged_file_stops_no_start_and_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / file.FILE_NAME).write_text(text)
    memory = OrderMemory(tmp_path, "boot-1", "enforce", lambda _: None)
    assert memory.orders.view.overrides == ()
    assert memory.damage is not None
    assert str(tmp_path / file.FILE_NAME) in memory.damage.text


async def test_what_holds_is_written_and_an_error_is_told(tmp_path: Path) -> None:
    told: asyncio.Queue[Notice] = asyncio.Queue()
    memory = OrderMemory(tmp_path / "gone", "boot-1", "enforce", told.put_nowait)
    memory.orders.change(detached=DETACHED)
    memory.keep(memory.orders.view)
    task = asyncio.create_task(memory.run())
    async with asyncio.timeout(5):
        assert (await told.get()).event == "orders_file_not_written"
    task.cancel()
