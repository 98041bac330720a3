"""What an infrastructure agent is told of a breach: where to save, and how far it may go."""

import pytest

from powerd.core.dsx.breach import Alert, BreachPhase, BreachSeverity
from powerd.dsx.breach import BreachView, HostLoad, breach_data
from tests.core.make import W
from tests.dsx.messages import CORRELATION_ID, FEED, MESSAGE_ID
from tests.dsx.schema import checked

HOSTS = (
    HostLoad("within", 1500 * W, 2000 * W, 1000 * W),
    HostLoad("silent", None, 2000 * W, 1000 * W),
    HostLoad("worst", 2900 * W, 2000 * W, 1000 * W),
    HostLoad("never-heard", None, None, 1000 * W),
    HostLoad("over", 2100 * W, 2000 * W, 1000 * W),
    HostLoad("lent-below-its-floor", 1400 * W, 900 * W, 1000 * W),
)


def told(phase: BreachPhase, *actions: str, hosts: tuple[HostLoad, ...] = HOSTS) -> dict[str, object]:
    view = BreachView(MESSAGE_ID, FEED, 1795280400.0, 9000 * W, CORRELATION_ID, 9900 * W, hosts)
    data = breach_data(view, Alert(phase, BreachSeverity.WARNING), actions, 1795280460.0)
    return checked("PowerBreachAlertData", data)


@pytest.mark.parametrize(
    ("phase", "target_watts"),
    [
        (BreachPhase.ACTIVE, [2000, 1000, 2000, 2000, 2000, 1000]),
        (BreachPhase.ESCALATED, [1000] * 6),
    ],
)
def test_hosts_are_named_by_how_far_they_are_above_their_caps(
    phase: BreachPhase, target_watts: list[int]
) -> None:
    """Each is to keep its cap; once that has not helped, to go to its floor. Guesses come last."""
    hints = told(phase)["shed_hints"]
    assert isinstance(hints, list)
    assert [hint["resource_id"] for hint in hints] == [
        "worst",
        "lent-below-its-floor",
        "over",
        "within",
        "silent",
        "never-heard",
    ]
    assert [hint["priority"] for hint in hints] == [1, 2, 3, 4, 5, 6]
    assert [hint["target_power"]["value"] for hint in hints] == target_watts


def test_the_first_action_comes_first_and_all_of_them_only_when_it_is_escalated() -> None:
    actions = ("SHUTDOWN_NODES", "CUT_DATA_FEEDS", "TRIP_BREAKERS")
    assert told(BreachPhase.ACTIVE, *actions)["infrastructure_actions"] == ["SHUTDOWN_NODES"]
    assert told(BreachPhase.ESCALATED, *actions)["infrastructure_actions"] == list(actions)
    assert told(BreachPhase.RESOLVED, *actions)["infrastructure_actions"] == []


def test_an_operator_may_allow_no_action_at_all() -> None:
    assert told(BreachPhase.ESCALATED)["infrastructure_actions"] == []


def test_what_is_over_says_when_and_asks_for_nothing() -> None:
    data = told(BreachPhase.RESOLVED)
    assert "shed_hints" not in data
    assert data["breach"] == {
        "breach_id": MESSAGE_ID,
        "detected_at": "2026-11-21T17:00:00.000Z",
        "resolved_at": "2026-11-21T17:01:00.000Z",
    }
