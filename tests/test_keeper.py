"""Promises are on disk before the message that makes them leaves; what cannot be written is not said."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from powerd.core.leases.host_state import Key
from powerd.core.leases.leases import Promise
from powerd.core.leases.memory import LeaseMemory
from powerd.core.rack.timeline import Timeline
from powerd.core.topology import Host, Rack
from powerd.files.latest_file import RETRY_S
from powerd.files.runtime_file import FILE_NAME, NOTHING, Keeper, Remembered, load
from tests.signals.stubs import until

BOOT = "this boot"
RACK = Rack("s", "r", (Host("h1", 1.0, 1000), Host("h2", 1.0, 1000)), 9000, 4000)


def promise(seq: int) -> Promise:
    return Promise("h2", 500 + seq, Key(1, seq), Key(9, 1), 130.0)


def lent(*seqs: int) -> Remembered:
    """Return a memory with one promise for each of these messages."""
    promises = tuple(promise(seq) for seq in seqs)
    return Remembered(
        Timeline(), 8000, LeaseMemory(1, promises, is_lost=False, wait_until_boot_s=0, rack=RACK)
    )


class Observed:
    """A keeper at work, and all that came of it. Its waits between attempts end when told to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sent: list[str] = []
        self.in_file_when_sent: list[frozenset[Promise]] = []
        self.errors: list[OSError | None] = []
        self.waits_s: list[float] = []
        self._again = asyncio.Event()
        self.keeper = Keeper(directory, BOOT, self.errors.append, sleep=self._sleep)

    def say(self, remembered: Remembered, name: str) -> None:
        def send() -> None:
            self.sent.append(name)
            self.in_file_when_sent.append(self.in_file())

        self.keeper.say(remembered, send)

    def in_file(self) -> frozenset[Promise]:
        # The directory may have been taken away since; what a stalled disk left behind stalls readers too.
        for directory in (self.directory, elsewhere(self.directory)):
            if (directory / FILE_NAME).is_file():
                return load(directory, BOOT).promises
        return frozenset()

    async def written(self, remembered: Remembered) -> None:
        path = self.directory / FILE_NAME
        await until(lambda: path.is_file() and load(self.directory, BOOT) == remembered)

    async def has_failed(self, times: int = 1) -> None:
        await until(lambda: len(self.waits_s) == times)

    def try_again(self) -> None:
        self._again.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.keeper.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        await self._again.wait()
        self._again.clear()


@pytest.fixture
async def at_work(tmp_path: Path) -> AsyncIterator[Observed]:
    """A keeper that has written its first memory, which has no promises."""
    directory = tmp_path / "state"
    directory.mkdir()
    async with Observed(directory) as observed:
        observed.keeper.keep(lent())
        await until(lambda: observed.keeper.works)
        yield observed


@contextlib.contextmanager
def broken(directory: Path) -> Iterator[None]:
    """Take the directory away for a while; not even root can write there then."""
    directory.rename(elsewhere(directory))
    yield
    elsewhere(directory).rename(directory)


def elsewhere(directory: Path) -> Path:
    return directory.with_name("elsewhere")


@contextlib.contextmanager
def stalled(directory: Path) -> Iterator[Callable[[], None]]:
    """Hold up the next write, as a disk that hangs does, until told to go on: opening a pipe does that."""
    pipe = directory / f"{FILE_NAME}.new"
    os.mkfifo(pipe)
    readers: list[int] = []
    try:
        yield lambda: readers.append(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
    finally:
        with contextlib.suppress(FileNotFoundError):
            readers.append(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
            pipe.unlink()
        for reader in readers:
            os.close(reader)


async def test_promises_are_on_disk_before_the_message_that_makes_them_leaves(at_work: Observed) -> None:
    at_work.say(lent(1), "1")
    assert at_work.sent == []
    await until(lambda: at_work.sent == ["1"])
    assert at_work.in_file_when_sent == [{promise(1)}]


async def test_a_message_without_new_promises_waits_for_no_disk(at_work: Observed) -> None:
    at_work.say(lent(1), "1")
    await until(lambda: at_work.sent == ["1"])
    with stalled(at_work.directory):
        at_work.say(replace(lent(1), cap_mw=7000), "the same again")
        at_work.say(lent(), "nothing")
        assert at_work.sent == ["1", "the same again", "nothing"]


async def test_while_the_disk_hangs_only_the_latest_message_waits(at_work: Observed) -> None:
    with stalled(at_work.directory) as go_on:
        at_work.keeper.keep(replace(lent(), cap_mw=7000))
        await asyncio.sleep(0)  # the write begins
        for seq in (1, 2, 3):
            at_work.say(lent(*range(1, seq + 1)), str(seq))
        assert at_work.sent == []
        go_on()
        await until(lambda: at_work.sent != [])
    await at_work.written(lent(1, 2, 3))
    assert at_work.sent == ["3"]
    assert at_work.in_file_when_sent == [{promise(1), promise(2), promise(3)}]


async def test_nothing_leaves_after_what_is_newer(at_work: Observed) -> None:
    """A retained message would take the place of the newer one at the broker."""
    with stalled(at_work.directory) as go_on:
        at_work.say(lent(1), "lends")
        await asyncio.sleep(0)  # the write begins
        newer = replace(lent(), cap_mw=7000)
        at_work.say(newer, "lends nothing")
        go_on()
        await at_work.written(newer)
    assert at_work.sent == ["lends nothing"]


async def test_a_promise_that_ends_while_a_message_waits_does_not_hold_it_up(at_work: Observed) -> None:
    at_work.say(lent(1), "1")
    await until(lambda: at_work.sent == ["1"])
    with stalled(at_work.directory) as go_on:
        at_work.keeper.keep(replace(lent(1), cap_mw=7000))
        await asyncio.sleep(0)  # the write begins
        at_work.say(lent(1, 2), "2")
        at_work.keeper.keep(lent(2))
        go_on()
        await until(lambda: at_work.sent == ["1", "2"])


async def test_what_could_not_be_written_is_never_said(at_work: Observed) -> None:
    with broken(at_work.directory):
        at_work.say(lent(1), "1")
        await at_work.has_failed()
        assert isinstance(at_work.errors[-1], FileNotFoundError)
        assert not at_work.keeper.works
    at_work.try_again()
    await at_work.written(lent(1))
    assert at_work.sent == []


async def test_while_nothing_can_be_written_a_recall_still_gets_out(at_work: Observed) -> None:
    """The promise of the message before counts, but nobody has heard of it."""
    with broken(at_work.directory):
        at_work.say(lent(1), "lends")
        await at_work.has_failed()
        at_work.say(lent(1), "recalls")
        assert at_work.sent == ["recalls"]
        at_work.say(lent(1, 2), "lends again")
        at_work.try_again()
        await at_work.has_failed(2)
        assert at_work.sent == ["recalls"]


async def test_a_directory_that_can_be_written_again_is_noticed_without_any_news(at_work: Observed) -> None:
    with broken(at_work.directory):
        at_work.keeper.keep(lent(1))
        for times in (1, 2):
            await at_work.has_failed(times)
            assert not at_work.keeper.works
            assert len([error for error in at_work.errors if error is not None]) == times
            at_work.try_again()
        await at_work.has_failed(3)
    at_work.try_again()
    await until(lambda: at_work.keeper.works)
    assert at_work.in_file() == {promise(1)}
    assert at_work.errors[-1] is None
    assert at_work.waits_s == [RETRY_S] * 3


async def test_success_is_told_once_and_not_with_every_write(at_work: Observed) -> None:
    at_work.keeper.keep(lent(1))
    await at_work.written(lent(1))
    at_work.keeper.keep(lent(2))
    await at_work.written(lent(2))
    assert at_work.errors == [None]


async def test_it_does_not_work_before_the_first_write_which_comes_at_once(tmp_path: Path) -> None:
    """So a host lends nothing before it is known that it can remember, and a start leaves its mark."""
    async with Observed(tmp_path) as observed:
        await asyncio.sleep(0)
        assert not observed.keeper.works
        observed.keeper.keep(NOTHING)
        await until(lambda: observed.keeper.works)
        assert load(tmp_path, BOOT) == NOTHING


async def test_promises_of_before_the_start_are_no_reason_to_wait_twice(tmp_path: Path) -> None:
    async with Observed(tmp_path) as observed:
        observed.keeper.keep(lent(1))
        observed.say(lent(1), "first")
        await until(lambda: observed.sent == ["first"])
        assert observed.in_file_when_sent == [{promise(1)}]


class Story:
    """What may happen to a keeper, one step after the other; every message has the number of its step."""

    def __init__(self, observed: Observed, faults: contextlib.ExitStack) -> None:
        self.observed = observed
        self.faults = faults
        self.step = 0
        self.live: list[int] = []
        self.lending: set[int] = set()

    def lends(self) -> None:
        self.live.append(self.step)
        self.lending.add(self.step)
        self.lends_nothing_new()

    def lends_nothing_new(self) -> None:
        self.observed.say(lent(*self.live), str(self.step))

    def ends(self) -> None:
        self.live = self.live[1:]
        self.observed.keeper.keep(lent(*self.live))

    def keeps(self) -> None:
        self.observed.keeper.keep(replace(lent(*self.live), cap_mw=self.step))

    def breaks(self) -> None:
        if self.observed.directory.exists():
            self.faults.enter_context(broken(self.observed.directory))

    def heals(self) -> None:
        self.faults.close()
        self.observed.try_again()


EVENTS = st.sampled_from([Story.lends, Story.lends_nothing_new, Story.ends, Story.keeps])
FAULTS = st.sampled_from([Story.breaks, Story.heals])


async def told(events: list[tuple[Callable[[Story], None], bool]], directory: Path) -> Story:
    async with Observed(directory) as observed:
        observed.keeper.keep(lent())
        await until(lambda: observed.keeper.works)
        with contextlib.ExitStack() as faults:
            story = Story(observed, faults)
            for story.step, (event, takes_time) in enumerate(events, start=1):
                event(story)
                await asyncio.sleep(0.001 if takes_time else 0)
        return story


@given(st.lists(st.tuples(EVENTS | FAULTS, st.booleans()), max_size=20))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_whatever_happens_messages_leave_in_order_and_each_with_its_promises_on_disk(
    events: list[tuple[Callable[[Story], None], bool]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "state"
        directory.mkdir()
        story = asyncio.run(told(events, directory))
    left = [int(number) for number in story.observed.sent]
    assert left == sorted(left)
    for number, in_file in zip(left, story.observed.in_file_when_sent, strict=True):
        assert number not in story.lending or promise(number) in in_file
