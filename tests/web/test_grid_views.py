"""Status shows which event holds, what it counts from, and which meter is amiss."""

from dataclasses import replace

from powerd.signals import rfc3339
from powerd.web import grid_views, views
from tests.web import host


def test_an_event_in_force_is_shown_with_all_that_made_its_cap() -> None:
    (event,) = views.status(host.curtailed(), host.moment(0.0)).events
    assert (event.id, event.source, event.phase, event.event_class) == (
        "peak-7",
        "vtn1",
        "active",
        "mandatory",
    )
    assert (event.baseline_watts, event.target_watts, event.cap_watts) == (30000, 22500, 22500)
    assert (event.starts, event.ends) == ("2026-11-21T16:59:58.000Z", "2026-11-21T17:30:00.000Z")
    assert event.origin == "openadr3.1 8842"


def test_the_chain_names_the_event_and_until_when_it_holds() -> None:
    chain = views.status(host.curtailed(), host.moment(0.0)).budget.chain
    (step,) = [step for step in chain if step.rule == "event"]
    assert (step.watts, step.source, step.remaining_s) == (22500, "vtn1", 1800)
    assert "peak-7" in step.note


def test_times_that_only_another_offset_can_name_break_no_document() -> None:
    """An event of the year 1 to the year 9999 at the other end of the world is a good one."""
    snapshot = host.curtailed()
    (status,) = snapshot.decision.events
    begins_s, ends_s = map(rfc3339.parse, ("0001-01-01T00:00:00+12:00", "9999-12-31T23:59:59-12:00"))
    interval = status.event.intervals[0]._replace(start_s=begins_s, end_s=ends_s)
    far = replace(status, event=replace(status.event, intervals=(interval,)))
    (event,) = grid_views.events(replace(snapshot, decision=snapshot.decision._replace(events=(far,))))
    assert event.starts == "0001-01-01T00:00:00.000Z"
    assert str(event.ends).startswith("9999-12-31T23:59:59")


def test_one_feed_without_a_reading_makes_the_rack_unknown_and_says_which() -> None:
    meter = grid_views.meter(host.curtailed(), host.moment(0.0))
    assert meter is not None
    assert (meter.watts, meter.source) == (None, "")
    assert [(part.name, part.usable, part.watts, part.quality) for part in meter.parts] == [
        ("a", True, 14200, "good"),
        ("b", False, None, "bad"),
    ]


def test_a_reading_that_grows_old_is_shown_as_not_usable() -> None:
    meter = grid_views.meter(host.curtailed(), host.moment(30.0))
    assert meter is not None
    assert [(part.usable, part.age_s) for part in meter.parts] == [(False, 31), (False, 32)]


def test_a_rack_of_which_nobody_tells_anything_has_no_meter() -> None:
    assert grid_views.meter(host.lending(), host.moment(0.0)) is None


def test_a_price_is_shown_with_its_unit_and_until_when_it_counts() -> None:
    (price,) = grid_views.signals(host.curtailed(), host.moment(0.0))
    assert (price.kind, price.zone, price.value, price.currency) == ("price_spot", "fi", 0.31, "EUR")
    assert (price.valid, price.valid_until) == (True, "2026-11-21T17:15:00.000Z")


def test_a_price_of_before_is_shown_as_that() -> None:
    (price,) = grid_views.signals(host.curtailed(), host.moment(900.0))
    assert not price.valid
