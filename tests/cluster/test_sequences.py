"""Known ways to break weaker rules, one by one: with the rules of docs/leases.md each keeps the bound.

Each script runs twice: as powerd is, and with the rule taken out that the sequence is about; then the hosts
reach exactly the sum that is named. Unless said otherwise: two hosts of 300 W each, of which 100 W are their
floor, a budget of 600 W; `a` is idle and lends 200 W, `b` is busy. T = 2 s, G = 1 s.
"""

from powerd.guard.driver import Kind
from tests.cluster import mutants
from tests.cluster.stage import Stage, grant, sequence
from tests.cluster.stage_gpus import IDLE_W

GPU = "GPU-0"
# Past the time that a donor counts what it has lent: T + g = 3.016 s.
PAST_COUNT_S = 3.1


@sequence(mutants.lends_what_it_borrowed, reaches_w=700, floors_w=(100, 100, 100))
def test_01_relending(stage: Stage) -> None:
    """Three hosts of 200 W. b borrows 100 W of a, falls idle, and lends to c what it has just borrowed.

    When the lease of a ends, b has nothing left to lower, c goes on under the lease of b, and a takes its
    watts back.
    """
    a, b, c = stage.hosts
    stage.deliver(grant(stage, a, b), b)
    b.iterate()
    stage.advance(1.6)
    b.driver.load_w = IDLE_W
    stage.deliver(grant(stage, b, c), c)
    c.iterate()
    stage.advance_to(a.true_s(a.leases.promises[0].end_boot_s) + 0.01)
    a.iterate()
    assert (a.limit_w, b.limit_w, c.limit_w) == (200, 100, 300)


@sequence(mutants.falls_back_to_the_entitlement, reaches_w=800, hold_s=0.5)
def test_02_a_fallback_that_does_not_know_the_loan(stage: Stage) -> None:
    """a lends and dies. Its guard falls back, to what is left to a and not to what a is entitled to."""
    a, b = stage.hosts
    stage.deliver(grant(stage, a, b), b)
    a.crash()
    for _ in range(2):
        b.iterate()
        stage.advance(0.4)
    assert (a.limit_w, b.limit_w) == (100, 500)


@sequence(mutants.keeps_its_first_fallback, reaches_w=800, hold_s=0.5)
def test_02_a_fallback_from_before_the_loan(stage: Stage) -> None:
    """The same; a's guard was told what to fall back to before the loan was made, and told anew with it."""
    a, b = stage.hosts
    stage.deliver(grant(stage, a, b), b)
    a.crash()
    for _ in range(2):
        b.iterate()
        stage.advance(0.4)
    assert (a.limit_w, b.limit_w) == (100, 500)


@sequence(mutants.waits_from_host_boot, reaches_w=800)
def test_03_file_lost_on_an_old_host(stage: Stage) -> None:
    """a lends, its service is stopped, its runtime directory goes with it, and it starts again.

    The host has been up for long, so "since boot" is no measure of how long a lease may still be in use.
    """
    a, b = stage.hosts
    stage.advance(30)
    stage.deliver(grant(stage, a, b), b)
    b.iterate()
    a.crash()
    a.lose_file()
    stage.advance(0.1)
    a.start()
    stage.issue(600, a)
    a.iterate()
    assert (a.limit_w, b.limit_w) == (100, 500)
    stage.advance(PAST_COUNT_S)
    a.iterate()
    assert (a.limit_w, b.limit_w) == (300, 300)


@sequence(mutants.forgets_that_it_waits, reaches_w=800)
def test_04_second_start_while_waiting(stage: Stage) -> None:
    """The file is lost; a starts and waits at its floor; a budget comes, and the file exists again.

    It holds no loan. When a starts once more, that must not be taken for "nothing was lent".
    """
    a, b = stage.hosts
    stage.deliver(grant(stage, a, b), b)
    b.iterate()
    a.crash()
    a.lose_file()
    for _ in range(2):
        stage.advance(0.1)
        a.start()
        stage.issue(600, a)
        a.iterate()
        a.crash()
    assert (a.limit_w, b.limit_w) == (100, 500)


@sequence(mutants.runs_plans_that_have_ended, reaches_w=800)
def test_05_stale_plan(stage: Stage) -> None:
    """b makes a plan that uses the lease, and is stopped for long. Then the plan reaches its guard."""
    a, b = stage.hosts
    stage.deliver(grant(stage, a, b), b)
    b.read()
    b.decide()
    plan = b.send_plan()
    stage.advance(PAST_COUNT_S)
    a.iterate()
    assert a.limit_w == 300
    b.run(plan)
    assert b.limit_w == 300


@sequence(mutants.gives_up_the_older_end, reaches_w=800)
def test_06_timer_replaced(stage: Stage) -> None:
    """b uses the lease, and near its end sends a plan that lowers. The cut fails, and b's daemon dies.

    The end of the plan before must still be armed: the new plan, which ends later, has lowered nothing.
    """
    a, b = stage.hosts
    stage.deliver(grant(stage, a, b), b)
    b.iterate()
    stage.advance(1.9)
    b.driver.gpus[GPU].set_error = Kind.UNKNOWN
    b.read()
    b.decide()
    b.run(b.send_plan())
    b.crash()
    b.driver.gpus[GPU].set_error = ""
    assert b.limit_w == 500
    stage.advance(PAST_COUNT_S - 1.9)
    a.iterate()
    assert (a.limit_w, b.limit_w) == (300, 300)


@sequence(mutants.runs_plans_of_older_connections, reaches_w=800, budget_w=400)
def test_07_plan_of_a_dead_daemon(stage: Stage) -> None:
    """a's budget rises, it sends a plan that follows, and dies; the plan waits in the socket.

    A new daemon lends what the old one meant to use. Then the plan is read.
    """
    a, b = stage.hosts
    stage.issue(600)
    a.read()
    a.decide()
    stage.advance(0.01)
    a.decide()
    plan = a.send_plan()
    a.speak()
    a.crash()
    a.start()
    stage.issue(600, a)
    for _ in range(2):
        a.iterate()
        b.iterate()
        stage.advance(0.2)
    stage.deliver(grant(stage, a, b), b)
    b.iterate()
    assert (a.limit_w, b.limit_w) == (100, 500)
    a.run(plan)
    assert a.limit_w == 100


@sequence(mutants.forgets_the_budget, reaches_w=700, failsafe_w=800)
def test_08_budget_forgotten(stage: Stage) -> None:
    """The failsafe budget is 800 W, the budget 600 W. a starts without memory and hears no controller.

    Going to the failsafe then is a raise, without a message and without a lease.
    """
    a, b = stage.hosts
    b.iterate()
    a.iterate()
    a.crash()
    a.lose_file()
    a.start()
    for _ in range(3):
        a.iterate()
        stage.advance(PAST_COUNT_S)
    assert (a.limit_w, b.limit_w) == (100, 300)
    stage.issue(600, a)
    a.iterate()
    assert (a.limit_w, b.limit_w) == (300, 300)


@sequence(mutants.forgets_writes_that_hang, reaches_w=700, budget_w=400)
def test_09_raise_that_hangs(stage: Stage) -> None:
    """a raises its limit, and the driver does not return. As far as can be read, a is low, and could lend."""
    a, b = stage.hosts
    stage.issue(600)
    for host in (a, b):
        host.iterate()
    stage.advance(0.01)
    a.decide()
    a.hang()
    a.enforce()
    stage.deliver(grant(stage, a, b), b)
    b.iterate()
    assert (a.limit_w, b.limit_w) == (200, 300)
    a.land()
    assert (a.limit_w, b.limit_w) == (300, 300)


@sequence(mutants.raises_after_the_end, reaches_w=800)
def test_09_raise_that_waited_past_the_end(stage: Stage) -> None:
    """b's raise waits behind a read that hangs, past the end of the lease, and would hang itself then."""
    a, b = stage.hosts
    message = grant(stage, a, b)
    stage.advance(1.75)
    stage.deliver(message, b)
    b.read()
    b.decide()
    plan = b.send_plan()
    stage.advance(0.1)
    b.hang()
    b.guard.read(lambda _reply: None)
    b.guard.plan(plan.token, plan.number, plan.plan, lambda _reply: None)
    stage.advance(0.17)
    b.runner.finish(GPU)
    stage.advance(PAST_COUNT_S - 2.02)
    a.iterate()
    b.land()
    assert (a.limit_w, b.limit_w) == (300, 300)
