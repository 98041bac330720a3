"""Known ways to break weaker rules, continued: ends, epochs, acknowledgements, and what is said too early.

As in `test_sequences`: two hosts of 300 W, `a` lends 200 W to `b`, T = 2 s, G = 1 s, unless said otherwise.
"""

import pytest

from powerd.core.leases.leases import CLOCK_GRANULARITY_S, CLOCK_RATE_ERROR
from powerd.guard.driver import Kind
from tests.cluster import mutants
from tests.cluster.stage import Stage, grant, sequence
from tests.cluster.stage_gpus import BUSY_W, IDLE_W

GPU = "GPU-0"
# Past the time that a donor counts what it has lent: T + g = 3.016 s.
PAST_COUNT_S = 3.1
# As far as two clocks may drift apart: the borrower's is slower by so much.
SLOWEST = (1 - CLOCK_RATE_ERROR) / (1 + CLOCK_RATE_ERROR)


@sequence(mutants.count_ends_at_its_end, reaches_w=800, drift=(1.0, SLOWEST))
def test_10_count_ended_one_instant_early(stage: Stage) -> None:
    """b's clock is as slow as it may be, b's daemon dies, and its guard takes all the time it may: G.

    At the very moment at which a's count ends b is still high. That moment has to be counted.
    """
    a, b = stage.hosts
    stage.deliver(grant(stage, a, b), b)
    sent_boot_s = b.boot_s
    b.iterate()
    b.crash()
    b.hang()
    end_boot_s = a.leases.promises[0].end_boot_s
    stage.advance_to(a.true_s(end_boot_s))
    assert a.boot_s == end_boot_s
    late_s = b.boot_s - (sent_boot_s + stage.setting.ttl_s)
    assert late_s == pytest.approx(stage.setting.guard_bound_s + CLOCK_GRANULARITY_S, abs=1e-4)
    a.iterate()
    b.land()
    stage.advance(0.001)
    a.iterate()
    assert (a.limit_w, b.limit_w) == (300, 300)


@sequence(mutants.trusts_all_clocks, reaches_w=800, drift=(1.0, SLOWEST), ttl_s=10.0, guard_bound_s=10.0)
def test_10_guard_time_without_drift(stage: Stage) -> None:
    """The same with T = G = 10 s: within the 20 s b's clock falls behind by more than clocks are coarse."""
    a, b = stage.hosts
    stage.deliver(grant(stage, a, b), b)
    end_boot_s = b.boot_s + stage.setting.ttl_s
    b.iterate()
    b.crash()
    b.hang()
    stage.advance_to(b.true_s(end_boot_s + stage.setting.guard_bound_s))
    a.iterate()
    assert (a.limit_w, b.limit_w) == (100, 500)
    b.land()
    stage.advance(0.02)
    a.iterate()
    assert (a.limit_w, b.limit_w) == (300, 300)


@sequence(mutants.counts_what_it_said_last, reaches_w=800)
def test_11_newest_message_only(stage: Stage) -> None:
    """a lends, then recalls, then takes its watts back; b has not heard the second message yet."""
    a, b = stage.hosts
    message = grant(stage, a, b)
    a.driver.load_w = BUSY_W
    for _ in range(2):
        stage.advance(0.2)
        a.iterate()
    stage.deliver(message, b)
    b.iterate()
    assert (a.limit_w, b.limit_w) == (100, 500)


@sequence(mutants.counts_from_receipt, reaches_w=800)
def test_12_end_counted_from_receipt(stage: Stage) -> None:
    """The lease is on its way for longer than it counts. b must know by its own clock that it is over."""
    a, b = stage.hosts
    message = grant(stage, a, b)
    stage.advance(PAST_COUNT_S)
    a.iterate()
    stage.deliver(message, b)
    b.iterate()
    assert (a.limit_w, b.limit_w) == (300, 300)


@sequence(mutants.ignores_the_epoch_of_a_lease, reaches_w=800)
def test_13_epoch_of_a_lease_ignored(stage: Stage) -> None:
    """The lease answers b's message 1, and is over. b starts again, says a new message 1, and hears it."""
    _restarted_b_hears_an_old_lease(stage)


@sequence(mutants.uses_an_epoch_again, reaches_w=800)
def test_13_epoch_used_again(stage: Stage) -> None:
    """The same, with a b that would go on in the epoch of before."""
    _restarted_b_hears_an_old_lease(stage)


def _restarted_b_hears_an_old_lease(stage: Stage) -> None:
    a, b = stage.hosts
    message = grant(stage, a, b)
    stage.advance(PAST_COUNT_S)
    a.iterate()
    b.crash()
    b.start()
    stage.issue(600, b)
    b.iterate()
    stage.deliver(message, b)
    b.iterate()
    assert (a.limit_w, b.limit_w) == (300, 300)


@sequence(mutants.acknowledges_before_it_has_lowered, reaches_w=700)
def test_14_acknowledgement_before_the_cut_is_confirmed(stage: Stage) -> None:
    """a recalls, b hears it, and b's GPU refuses the cut. What b says next must not free a's watts.

    b says how far it is over, too: a would give up half of that, and keep the other half too much.
    """
    a, b = stage.hosts
    stage.deliver(grant(stage, a, b), b)
    b.iterate()
    a.driver.load_w = BUSY_W
    stage.advance(0.2)
    a.iterate()
    stage.deliver(a.sent[-1], b)
    b.driver.gpus[GPU].set_error = Kind.UNKNOWN
    b.iterate()
    stage.deliver(b.sent[-1], a)
    a.iterate()
    assert (a.limit_w, b.limit_w) == (100, 500)


@sequence(mutants.follows_older_messages, reaches_w=800)
def test_15_older_message_after_an_acknowledgement(stage: Stage) -> None:
    """a recalls, b lets go and says so, a takes its watts back. Then the first message arrives once more."""
    a, b = stage.hosts
    message = grant(stage, a, b)
    stage.deliver(message, b)
    b.iterate()
    _recall(stage)
    assert (a.limit_w, b.limit_w) == (300, 300)
    stage.deliver(message, b)
    b.iterate()
    assert b.limit_w == 300


@sequence(mutants.compares_acknowledgements_by_seq, reaches_w=800)
def test_16_acknowledgement_of_another_epoch(stage: Stage) -> None:
    """b let go of a lease under a's message 2. a starts again and lends under message 1 of its new epoch.

    What b says before it has heard that still names the message 2.
    """
    a, b = stage.hosts
    stage.deliver(grant(stage, a, b), b)
    b.iterate()
    _recall(stage)
    a.driver.load_w = IDLE_W
    a.crash()
    a.start()
    stage.issue(600, a)
    a.read()
    a.decide()
    stage.advance(0.2)
    message = grant(stage, a, b)
    assert message.key.seq == 1
    a.driver.load_w = BUSY_W
    stage.advance(0.2)
    b.iterate()
    stage.deliver(b.sent[-1], a)
    a.iterate()
    stage.deliver(message, b)
    b.iterate()
    assert (a.limit_w, b.limit_w) == (100, 500)


def _recall(stage: Stage) -> None:
    a, b = stage.hosts
    a.driver.load_w = BUSY_W
    stage.advance(0.2)
    a.iterate()
    stage.deliver(a.sent[-1], b)
    b.iterate()
    stage.deliver(b.sent[-1], a)
    a.iterate()


@sequence(mutants.says_before_writing, reaches_w=800)
def test_17_file_after_publication(stage: Stage) -> None:
    """a has lowered its limit and is about to say what it lends, and dies before the file is written."""
    a, b = stage.hosts
    a.iterate()
    b.iterate()
    stage.deliver(b.sent[-1], a)
    a.read()
    a.decide()
    a.enforce()
    a.confirm()
    a.say()
    a.crash()
    a.start()
    stage.issue(600, a)
    stage.deliver(a.sent[-1], b)
    b.iterate()
    a.iterate()
    assert (a.limit_w, b.limit_w) == (300, 300)


@sequence(mutants.speaks_before_it_has_lowered, reaches_w=700)
def test_18_first_message_before_the_cut(stage: Stage) -> None:
    """b uses the lease and starts again; its GPU refuses the cut. A new epoch would end the loan at a.

    As above, a would give up half of what b says it is over.
    """
    a, b = stage.hosts
    stage.deliver(grant(stage, a, b), b)
    b.iterate()
    b.crash()
    b.driver.gpus[GPU].set_error = Kind.UNKNOWN
    stage.advance(0.1)
    b.start()
    b.iterate()
    a.driver.load_w = BUSY_W
    stage.deliver(b.sent[-1], a)
    a.iterate()
    assert (a.limit_w, b.limit_w) == (100, 500)


@sequence(mutants.lends_before_it_has_lowered, reaches_w=800)
def test_19_lease_before_the_cut_is_confirmed(stage: Stage) -> None:
    """a decides to lend; its plan does not reach its guard."""
    a, b = stage.hosts
    a.iterate()
    b.iterate()
    stage.deliver(b.sent[-1], a)
    a.read()
    a.decide()
    a.speak()
    stage.deliver(a.sent[-1], b)
    b.iterate()
    assert (a.limit_w, b.limit_w) == (300, 300)
