"""A turnstile in a running event loop, and an ear behind one."""

from collections.abc import Mapping

from powerd.core.model import Notice
from powerd.signals.inbox import Inbox
from powerd.signals.turnstile import Thinned, Turnstile, thinned
from tests.signals.stubs import until


class Counting:
    """An ear that takes anything."""

    filters: Mapping[str, int] = {"a/+": 1}
    rejected = 3

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []

    def on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        self.heard.append((topic, payload, retained))


async def test_of_a_flood_little_passes_and_its_last_message_does() -> None:
    passed: list[int] = []
    notices: list[Notice] = []
    turnstile = Turnstile[int](passed.append, notices.append, Inbox(rate_per_s=50))
    for number in range(1000):
        turnstile.take("a", number)
    await until(lambda: passed[-1:] == [999])
    assert len(passed) < 200
    assert len(passed) + turnstile.dropped == 1000
    assert [(notice.event, notice.subject) for notice in notices] == [("signal_flood", "a")]


async def test_one_that_cannot_be_delivered_keeps_no_other_from_its_way() -> None:
    passed: list[int] = []

    def deliver(number: int) -> None:
        if number == 1:
            raise ValueError(number)
        passed.append(number)

    turnstile = Turnstile[int](deliver, lambda _: None, Inbox(rate_per_s=50, burst=1))
    for key in ("a", "b"):
        turnstile.take(key, 0)
    turnstile.take("a", 1)
    turnstile.take("b", 2)
    await until(lambda: passed == [0, 0, 2])


async def test_a_flood_under_a_made_up_name_controls_no_terminal() -> None:
    notices: list[Notice] = []
    turnstile = Turnstile[int](lambda _: None, notices.append)
    for number in range(1000):
        turnstile.take("\x1b[2J" + "x" * 60_000, number)
    await until(lambda: len(notices) == 1)
    assert notices[0].subject.isprintable()
    assert len(notices[0].text) < 300


async def test_an_ear_behind_a_turnstile_is_spared_a_flood_and_is_itself_otherwise() -> None:
    ear = Counting()
    spared = thinned(ear, lambda _: None)
    assert (spared.filters, spared.rejected) == (ear.filters, ear.rejected)
    for number in range(1000):
        spared.on_message("a/b", b"%d" % number, True)
    spared.on_message("a/quiet", b"", False)
    assert ear.heard[-1] == ("a/quiet", b"", False)
    await until(lambda: ("a/b", b"999", True) in ear.heard)
    assert len(ear.heard) < 100


async def test_the_same_ear_behind_another_turnstile_is_the_same() -> None:
    """Else a reload would count its refusals twice."""
    ear = Counting()
    assert thinned(ear, print) == thinned(ear, print)
    assert thinned(ear, print) != thinned(Counting(), print)
    assert isinstance(thinned(ear, print), Thinned)
