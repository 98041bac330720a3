"""Faults that the simulation has found, each in the shortest form that shows it."""

from tests.cluster.rack import rack_of
from tests.cluster.scenario import even


def test_a_host_that_has_heard_no_budget_does_not_remember_one() -> None:
    """Waiting for a budget at its floor, it went by a failsafe above it; a restart took that for a budget."""
    with rack_of(even(3, 2, budget_w=1800, failsafe_w=3000)) as rack:
        lonely = rack.hosts[2]
        lonely.client.is_deaf = True
        rack.start()
        rack.world.run_until(3.0)
        lonely.kill_daemon()
        lonely.start_daemon()
        rack.world.run_until(60.0)
        assert lonely.watch.applied_mw == lonely.watch.floor_mw
