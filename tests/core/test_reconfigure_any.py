"""Any configurations of a host, one after the other: no limit rises by the change alone.

But up to the host's floor in the roster, which nothing that is shared out goes below.
"""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from powerd.core.leases.leases import LeaseRules
from powerd.core.reconfigure import reconfigured
from powerd.core.state import Config
from powerd.core.topology import Host
from tests.core.bench import Bench
from tests.core.make import W, at, budget, config, rack

BUDGETS = st.sampled_from([2400, 3000, 3600, 4000, 5000, 6000, None])
SHARES = st.floats(0.2, 5.0)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Return a feasible configuration of h1; its floor is what its GPUs need, so it is always the same."""
    overhead = draw(st.integers(0, 300))
    of = rack(
        hosts=tuple(Host(name, draw(SHARES), 1000 * W) for name in ("h1", "h2")),
        hard_limit=draw(st.integers(4000, 7000)),
        failsafe=draw(st.integers(2700, 4000)),
        overhead=overhead,
        guard_band_pct=draw(st.floats(0.0, 10.0)),
    )
    made = config(
        of=of,
        overhead=draw(st.integers(0, 200)),
        watts_per_s=draw(st.sampled_from([1.0, 50.0])),
        leases=LeaseRules(enabled=draw(st.booleans())),
    )
    return replace(made, ramp=replace(made.ramp, jitter_s=draw(st.sampled_from([0.0, 5.0]))))


@given(
    before=configs(),
    between=configs(),
    after=configs(),
    budgets=st.tuples(BUDGETS, BUDGETS),
    late=st.booleans(),
)
def test_no_limit_rises_by_a_change_of_the_configuration_alone(
    before: Config, between: Config, after: Config, budgets: tuple[int | None, int | None], late: bool
) -> None:
    bench = Bench(before)
    bench.tick(at(99.0))
    bench.tick(at(99.5), budget(budgets[0], 1, at(99.5), lease_s=300))
    bench.until(at(130.0), every_s=5.0)
    bench.tick(at(131.0), budget(budgets[1], 2, at(131.0), lease_s=300))
    if late:  # a climb is under way, or over
        bench.until(at(150.0), every_s=5.0)
    now = at(160.0 if late else 131.2)
    bench.tick(now)
    for new in (between, after):
        floor_mw = new.rack.host(new.host).floor_mw - (new.overhead_mw or 0)
        highest_mw = max(floor_mw, sum(gpu.limit_mw for gpu in bench.gpus))
        bench.state = reconfigured(bench.state, bench.config, new, now)
        bench.config = new
        bench.tick(now)
        assert sum(gpu.limit_mw for gpu in bench.gpus) <= highest_mw
        assert max(bench.sums_mw) <= highest_mw
