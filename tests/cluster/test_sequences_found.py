"""Sequences that once broke powerd itself, or made it waste watts."""

from pathlib import Path

from powerd.core.leases.leases import CLOCK_RATE_ERROR
from powerd.guard.driver import Kind
from tests.cluster.stage import Stage, grant
from tests.cluster.stage_gpus import BUSY_W, IDLE_W, Setting

GPU = "GPU-0"
# As far as two clocks may drift apart: the borrower's is slower by so much.
SLOWEST = (1 - CLOCK_RATE_ERROR) / (1 + CLOCK_RATE_ERROR)


def test_a_host_that_does_not_know_what_it_lent_is_not_down_before_it_is_at_its_floor(tmp_path: Path) -> None:
    """a has lent to b, then borrows of c: it draws its entitlement, 200 W more than it may on its own.

    Its file is lost, and its GPU refuses the cut to the floor. Entitlement or not: as long as it draws that,
    c must not hear of a new epoch.
    """
    stage = Stage(tmp_path, Setting(floors_w=(100, 100, 100), budget_w=900, failsafe_w=900))
    a, b, c = stage.hosts
    c.driver.load_w = IDLE_W
    stage.deliver(grant(stage, a, b), b)
    b.iterate()
    a.driver.load_w = BUSY_W
    stage.advance(0.1)
    stage.deliver(grant(stage, c, a), a)
    a.iterate()
    assert (a.limit_w, b.limit_w, c.limit_w) == (300, 500, 100)
    a.crash()
    a.lose_file()
    a.driver.gpus[GPU].set_error = Kind.UNKNOWN
    stage.advance(0.1)
    a.start()
    a.iterate()
    stage.deliver(a.sent[-1], c)
    c.iterate()
    assert (a.limit_w, b.limit_w, c.limit_w) == (300, 500, 100)


def test_what_could_not_be_lent_is_not_told_as_excess(tmp_path: Path) -> None:
    """a decides to lend, and its plan does not reach its guard. Nobody has to give up watts for that."""
    stage = Stage(tmp_path, Setting())
    a, b = stage.hosts
    a.iterate()
    b.iterate()
    stage.deliver(b.sent[-1], a)
    stage.advance(0.2)
    a.read()
    a.decide()
    a.speak()
    assert (a.sent[-1].lends[0].mw, a.sent[-1].lent_mw, a.sent[-1].over_mw) == (0, 0, 0)
    stage.deliver(a.sent[-1], b)
    b.iterate()
    assert (a.limit_w, b.limit_w) == (300, 300)


def test_the_last_instant_of_a_wait_for_lost_memory_belongs_to_it(tmp_path: Path) -> None:
    """a lends and loses its file, all in the moment in which b has spoken; b's guard takes all of its time.

    What a has lent would count until the very moment until which a waits, that moment included.
    """
    stage = Stage(tmp_path, Setting(drift=(1.0, SLOWEST)))
    a, b = stage.hosts
    stage.deliver(grant(stage, a, b), b)
    b.iterate()
    a.crash()
    a.lose_file()
    a.start()
    stage.issue(600, a)
    a.iterate()
    b.crash()
    b.hang()
    stage.advance_to(a.true_s(a.leases.wait_until_boot_s))
    assert a.boot_s == a.leases.wait_until_boot_s
    a.iterate()
    b.land()
    stage.advance(0.001)
    a.iterate()
    assert (a.limit_w, b.limit_w) == (300, 300)


def test_a_cut_that_was_refused_is_not_forgotten_by_the_plans_after_it(tmp_path: Path) -> None:
    """b's GPU refuses the cut at the end of the lease. What b sends next leaves that GPU alone for a while.

    The guard keeps the end that was armed: it lowers the GPU as soon as the driver lets it.
    """
    stage = Stage(tmp_path, Setting())
    a, b = stage.hosts
    stage.deliver(grant(stage, a, b), b)
    b.iterate()
    stage.advance(1.9)
    b.driver.gpus[GPU].set_error = Kind.UNKNOWN
    b.iterate()
    b.crash()
    stage.advance(0.2)
    b.driver.gpus[GPU].set_error = ""
    stage.advance(1.0)
    a.iterate()
    assert (a.limit_w, b.limit_w) == (300, 300)
