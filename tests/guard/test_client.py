"""The daemon's client, at a guard with its real threads and socket."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from powerd.clock import boot_s
from powerd.core.model import Plan, Result, Write
from powerd.errors import GuardRefusedError, GuardUnreachableError
from powerd.guard.client import GuardClient
from powerd.guard.connection import Connection
from powerd.guard.protocol import encode
from tests.guard.live import LiveGuard, eventually, live_guard
from tests.guard.rig import W


async def test_the_client_reads_plans_and_releases(guard: LiveGuard) -> None:
    client = GuardClient(guard.path)
    await client.connect()
    report = await client.read()
    assert [reading.uuid for reading in report.readings] == ["GPU-0", "GPU-1"]
    assert (report.generation, report.driver_error, report.writes_forbidden) == (1, "", False)
    plan = Plan(cuts=(Write("GPU-0", 300 * W),), raises=(Write("GPU-1", 500 * W),), end_boot_s=boot_s() + 60)
    answer = await client.plan(plan)
    assert [outcome.result for outcome in answer.outcomes] == [Result.APPLIED, Result.APPLIED]
    assert answer.last_cut_boot_s is not None
    assert boot_s() - 10 < answer.last_cut_boot_s <= boot_s()
    assert len(await client.release()) == 2
    assert (await client.read()).calls["set_limit"].counts
    await client.close()


async def test_requests_overlap_and_one_hung_gpu_delays_only_its_own_plan(guard: LiveGuard) -> None:
    guard.driver.hanging = {"GPU-0"}
    client = GuardClient(guard.path)
    await client.connect()
    end_s = boot_s() + 60
    slow = asyncio.create_task(client.plan(Plan(cuts=(Write("GPU-0", 300 * W),), end_boot_s=end_s)))
    await asyncio.sleep(0)
    fast = await client.plan(Plan(cuts=(Write("GPU-1", 300 * W),), end_boot_s=end_s))
    assert not slow.done()
    assert fast.outcomes[0].result is Result.APPLIED
    assert (await slow).outcomes[0].result is Result.FAILED
    assert (await client.read()).readings[0].state == "hung"
    guard.driver.let_go()
    await client.close()


async def test_the_switch_fires_while_a_driver_call_hangs(guard: LiveGuard) -> None:
    guard.driver.hanging = {"GPU-0"}
    client = GuardClient(guard.path)
    await client.connect()
    fallback = (Write("GPU-0", 200 * W), Write("GPU-1", 200 * W))
    await client.plan(Plan(cuts=(Write("GPU-0", 300 * W),), fallback=fallback, end_boot_s=boot_s() + 0.3))
    await client.close()
    assert eventually(lambda: guard.driver.gpus["GPU-1"].requested_mw == 200 * W)
    assert guard.driver.gpus["GPU-0"].requested_mw == 400 * W
    guard.driver.let_go()
    assert eventually(lambda: guard.driver.gpus["GPU-0"].requested_mw == 200 * W)


async def test_a_refusal_is_an_error_with_the_guards_reason(guard: LiveGuard) -> None:
    client = GuardClient(guard.path)
    await client.connect()
    with pytest.raises(GuardRefusedError, match="no GPU GPU-9"):
        await client.plan(Plan(cuts=(Write("GPU-9", W),), end_boot_s=boot_s() + 60))
    with pytest.raises(GuardRefusedError, match="already ended"):
        await client.plan(Plan(end_boot_s=boot_s() - 1))
    await client.close()


async def test_a_newer_connection_takes_over(guard: LiveGuard) -> None:
    first, second = GuardClient(guard.path), GuardClient(guard.path)
    await first.connect()
    await second.connect()
    with pytest.raises(GuardRefusedError, match="newer connection"):
        await first.plan(Plan(end_boot_s=boot_s() + 60))
    await second.plan(Plan(end_boot_s=boot_s() + 60))
    await first.connect()
    await first.plan(Plan(end_boot_s=boot_s() + 60))
    await first.close()
    await second.close()


async def test_a_guard_that_goes_away_ends_all_who_wait(tmp_path: Path) -> None:
    with live_guard(tmp_path, call_deadline_s=30.0) as guard:
        guard.driver.hanging = {"GPU-0"}
        client = GuardClient(guard.path)
        await client.connect()
        plan = Plan(cuts=(Write("GPU-0", 300 * W),), end_boot_s=boot_s() + 60)
        waiters = [asyncio.create_task(client.plan(plan)), asyncio.create_task(client.read())]
        await asyncio.sleep(0.05)
        assert not any(waiter.done() for waiter in waiters)
        guard.stop()
    for waiter in waiters:
        with pytest.raises(GuardUnreachableError, match="closed the connection"):
            await waiter
    assert not client.is_connected
    with pytest.raises(GuardUnreachableError):
        await client.read()
    await client.close()


async def test_nothing_at_the_socket_is_one_clear_error(tmp_path: Path) -> None:
    client = GuardClient(tmp_path / "none.sock")
    with pytest.raises(GuardUnreachableError, match=r"none\.sock: No such file or directory; is the guard"):
        await client.connect()
    with pytest.raises(GuardUnreachableError, match="not connected"):
        await client.read()


async def test_the_client_hears_that_it_may_not_use_the_guard(
    guard: LiveGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "peer_uid", lambda _self: 12345)
    client = GuardClient(guard.path)
    with pytest.raises(GuardRefusedError, match="user id 12345"):
        await client.connect()
    assert not client.is_connected


@pytest.mark.parametrize(
    "answers",
    [
        [{"id": 0, "ok": True}],
        [{"id": 0, "ok": True, "token": "a"}, {"id": 1, "ok": True}],
        [{"id": 0, "ok": True, "token": "a"}, {"id": 1, "ok": True, "readings": [{}]}],
        [{"id": 0, "ok": True, "token": "a"}, {"id": [1], "ok": True}],
        [{"id": 0, "ok": True, "token": "a"}, {"id": 1, "ok": False, "error": "\x1b[2J" * 1000}],
    ],
)
async def test_a_guard_of_another_mind_costs_the_daemon_one_error(
    tmp_path: Path, answers: list[dict[str, object]]
) -> None:
    answered = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for each in answers:
            writer.write(encode(each))
            await reader.readline()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        answered.set()

    server = await asyncio.start_unix_server(answer, tmp_path / "other.sock")
    client = GuardClient(tmp_path / "other.sock")

    async def read() -> None:
        await client.connect()
        await client.read()

    with pytest.raises((GuardRefusedError, GuardUnreachableError)) as caught:
        await read()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700
    await client.close()
    await answered.wait()
    server.close()
    await server.wait_closed()
