"""What the demo reads of a host's own status document."""

from dataclasses import replace

import pytest

from powerd.demo.observation import HostView, host_view
from powerd.snapshot import Snapshot
from powerd.web import views
from tests.web import host


def seen(snapshot: Snapshot) -> HostView:
    return host_view(views.status(snapshot, snapshot.now).model_dump(mode="json"), 7.0)


def test_watts_lent_and_borrowed_are_those_of_the_status() -> None:
    donor, borrower = seen(host.lending()), seen(host.borrowing())
    assert (donor.share_watts, donor.lent_watts, donor.borrowed_watts, donor.cap_watts) == (
        7350,
        650,
        0,
        6700,
    )
    assert (borrower.share_watts, borrower.lent_watts, borrower.borrowed_watts) == (5880, 0, 600)
    assert borrower.cap_watts == 6480
    assert (donor.waits_s, borrower.waits_s) == (None, None)


def test_a_host_that_waits_at_its_floor_says_how_long() -> None:
    assert seen(host.snapshot(host.decided(memory=None))).waits_s == pytest.approx(5.05, abs=0.1)


def test_a_host_alone_in_its_rack_lends_nothing() -> None:
    made = host.snapshot(host.decided())
    place = made.decision.place._replace(has_peers=False)
    alone = seen(replace(made, decision=made.decision._replace(place=place)))
    assert (alone.lent_watts, alone.borrowed_watts, alone.waits_s) == (0, 0, None)
