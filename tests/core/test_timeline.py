"""What holds at a moment, and which of it governs (docs/signals.md, Precedence)."""

from dataclasses import replace

import pytest

from powerd.core.rack.timeline import SILENT, Ceiling, Seen, Statement, Timeline, governing, lapse, only_from
from tests.core.make import W


def statement(source: str, watts: float | None, priority: int = 100, end_boot_s: float = 60.0) -> Statement:
    return Statement(source, 1, 1, None if watts is None else round(watts * W), priority, end_boot_s)


def of(*statements: Statement) -> Timeline:
    return Timeline({one.source: one for one in statements})


def test_nobody_governs_while_nobody_speaks() -> None:
    assert governing(Timeline()) == (None, ())


@pytest.mark.parametrize(
    ("statements", "winner", "conflict"),
    [
        ([("a", 4000, 100)], "a", ()),
        ([("a", 4000, 100), ("b", 3000, 100)], "b", ("a", "b")),
        ([("a", 4000, 100), ("b", None, 100)], "a", ("a", "b")),
        ([("a", None, 100), ("b", 0, 100)], "b", ("a", "b")),
        ([("b", 4000, 100), ("a", 4000, 100)], "a", ("a", "b")),
        ([("a", 4000, 50), ("b", 3000, 100)], "a", ()),
        ([("a", None, 50), ("b", 3000, 100)], "a", ()),
        ([("a", 4000, 50), ("b", 3000, 50), ("c", 1000, 100)], "b", ("a", "b")),
    ],
)
def test_the_lowest_priority_number_governs_and_between_equals_the_lowest_watts(
    statements: list[tuple[str, float | None, int]], winner: str, conflict: tuple[str, ...]
) -> None:
    for order in (statements, statements[::-1]):
        first, rivals = governing(of(*(statement(*one) for one in order)))
        assert first is not None
        assert (first.source, rivals) == (winner, conflict)


def test_a_lease_is_over_at_its_end_not_after() -> None:
    timeline = of(statement("a", 4000, end_boot_s=60.0))
    assert lapse(timeline, 59.999, 7200.0).statements
    assert not lapse(timeline, 60.0, 7200.0).statements


def test_a_lid_ends_too_but_keys_stay_for_ever() -> None:
    """A replay must be known however late it comes."""
    seen = Seen(1, 1, 0.0, "digest", failsafe_mw=2500 * W)
    timeline = replace(of(), ceilings={"a": Ceiling(1, 1, 3000 * W, 7200.0, "expired")}, seen={"a": seen})
    assert lapse(timeline, 7199.0, 7200.0) == timeline
    assert lapse(timeline, 7200.0, 7200.0) == Timeline(seen={"a": seen})


def test_when_the_strictest_source_falls_silent_its_last_word_stays_as_a_lid() -> None:
    """Silence never raises the cap; what was not the strictest word leaves nothing behind."""
    strict, lax = statement("a", 3000, end_boot_s=60.0), statement("b", 5000, end_boot_s=90.0)
    after = lapse(of(strict, lax), 60.0, 7200.0)
    assert after.statements == {"b": lax}
    assert after.ceilings == {"a": Ceiling(1, 1, 3000 * W, 7260.0, SILENT)}
    assert (
        lapse(of(replace(strict, end_boot_s=90.0), replace(lax, end_boot_s=60.0)), 60.0, 7200.0).ceilings
        == {}
    )


def test_a_source_that_asked_for_no_failsafe_lowers_none() -> None:
    seen = {"a": Seen(1, 1, 0.0, ""), "b": Seen(1, 1, 0.0, "", failsafe_mw=0)}
    assert Timeline(seen=seen).failsafe_mw == 0
    assert Timeline(seen={"a": seen["a"]}).failsafe_mw is None


def test_who_is_not_listened_to_any_more_has_no_say_but_its_keys_stay_known() -> None:
    """An operator took a source out of the configuration while its lease was running."""
    said = Timeline(
        {name: Statement(name, 1, 1, 3000 * W, 100, 160.0) for name in ("kept", "gone")},
        {name: Ceiling(1, 1, 2000 * W, 160.0, SILENT) for name in ("kept", "gone")},
        {name: Seen(1, 1, 0.0, "") for name in ("kept", "gone")},
    )
    left = only_from(said, {"kept"})
    assert (list(left.statements), list(left.ceilings)) == (["kept"], ["kept"])
    assert left.seen == said.seen
