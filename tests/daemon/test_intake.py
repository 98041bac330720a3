"""Who hides whom in a flood of messages in good order: nobody but those that share a name."""

from powerd.core.events.grid_event import GridEvent
from powerd.core.model import Notice, Now
from powerd.core.rack.timeline import BudgetMessage
from powerd.core.rack.trust import Trust
from powerd.daemon.intake import STRANGERS, Intake
from tests.core.make import budget
from tests.signals.stubs import until

NOW = Now(1000.0, 1_763_690_000.0)


class Loop:
    """What passes, in order."""

    def __init__(self, *believed: str) -> None:
        self.budgets: list[BudgetMessage] = []
        self.events: list[GridEvent] = []
        self.notices: list[Notice] = []
        self.intake = Intake(self.budgets.append, self.events.append, self.notices.append)
        self.intake.believed = believed

    def flood(self, source: str, trust: Trust = Trust.BROKER, count: int = 500) -> None:
        for seq in range(count):
            self.intake.budget(said(source, seq, trust))


def said(source: str, seq: int, trust: Trust = Trust.BROKER) -> BudgetMessage:
    return budget(4000, seq, NOW, source=source, trust=trust)


async def test_a_flood_of_one_sender_does_not_delay_another() -> None:
    loop = Loop("loud", "quiet")
    loop.flood("loud")
    loop.intake.budget(said("quiet", 1))
    assert loop.budgets[-1] == said("quiet", 1)
    assert len(loop.budgets) < 50
    await until(lambda: said("loud", 499) in loop.budgets)
    await until(lambda: len(loop.notices) == 1)


async def test_a_flood_without_a_signature_does_not_delay_who_signs() -> None:
    loop = Loop("facility")
    loop.flood("facility", Trust.NONE)
    cut = said("facility", 10_000, Trust.SIGNED)
    loop.intake.budget(cut)
    assert loop.budgets[-1] == cut


async def test_strangers_with_a_new_name_each_time_pass_no_faster_than_one() -> None:
    loop = Loop("facility")
    for number in range(500):
        loop.intake.budget(said(f"made-up-{number}", 1))
    assert len(loop.budgets) < 50
    loop.intake.budget(said("facility", 1))
    assert loop.budgets[-1] == said("facility", 1)
    await until(lambda: [STRANGERS in notice.text for notice in loop.notices] == [True])
