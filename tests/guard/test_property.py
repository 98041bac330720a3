"""No sequence of plans, faults and late returns lets the sum of the limits exceed what it may be."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from powerd.guard.driver import Kind
from powerd.guard.plans import RefusedError
from tests.guard.rig import MIN_MW, Rig, W

GPUS = 3
HOLD_S = 5.0
LIMITS_W = st.integers(100, 500)
STEPS = st.one_of(
    st.tuples(st.just("plan"), st.dictionaries(st.integers(0, GPUS - 1), LIMITS_W, min_size=1)),
    st.tuples(st.just("finish"), st.integers(0, GPUS - 1)),
    st.tuples(st.just("read"), st.none()),
    st.tuples(st.just("fault"), st.integers(0, GPUS - 1)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 0.6, 1.1, 6.0])),
    st.tuples(st.just("stall"), st.integers(0, GPUS - 1)),
    st.tuples(st.just("connect"), st.none()),
)
FAULTS = st.sampled_from(["set", "read", "ignore", "clamp", "none"])


class Ledger:
    """What the sum may be: the larger of before and after each plan, unreturned writes at their target."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.bound_mw = rig.driver.sum_mw

    def worst_mw(self) -> int:
        gpus = self.rig.keeper._fleet.gpus.values()
        return sum(gpu.worst_case_mw or 0 for gpu in gpus)

    def plan(self, targets_w: dict[int, int]) -> None:
        """Send what a daemon would: it knows the worst case of each GPU and splits cuts from raises by it."""
        gpus = self.rig.keeper._fleet.gpus
        now_mw = {index: gpus[f"GPU-{index}"].worst_case_mw or 0 for index in range(GPUS)}
        after_mw = sum(targets_w[i] * W if i in targets_w else now_mw[i] for i in range(GPUS))
        self.bound_mw = max(self.worst_mw(), after_mw)
        cuts = {i: w for i, w in targets_w.items() if w * W <= now_mw[i]}
        raises = {i: w for i, w in targets_w.items() if w * W > now_mw[i]}
        fallback = dict.fromkeys(range(GPUS), MIN_MW // W)
        self.rig.send(cuts=cuts, raises=raises, fallback=fallback, hold_s=HOLD_S)

    def check(self) -> None:
        begun = [job for job, _ in self.rig.runner.jobs.values()]
        assert all(job.started_boot_s < job.end_boot_s for job in begun), "no raise begins after its plan"
        assert self.rig.driver.sum_mw <= self.bound_mw
        assert self.rig.driver.sum_mw <= self.worst_mw(), "no limit in effect is above what the guard tells"


def inject(rig: Rig, gpu: int, fault: str) -> None:
    host = rig[gpu]
    host.set_error = Kind.UNKNOWN if fault == "set" else ""
    host.read_error = Kind.UNKNOWN if fault == "read" else ""
    host.ignores_writes = fault == "ignore"
    host.out_of_band_mw = 120 * W if fault == "clamp" else host.out_of_band_mw


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=25), st.data())
def test_no_prefix_of_any_history_exceeds_the_larger_of_before_and_after(
    steps: list[tuple[str, Any]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        rig = Rig(Path(directory), gpus=GPUS)
        rig.report()
        rig.runner.held = set(rig.driver.gpus)
        ledger = Ledger(rig)
        for kind, what in steps:
            if kind == "plan":
                ledger.plan(what)
            elif kind in ("finish", "stall"):
                # A guard that stands still hears of returns before it looks at the clock.
                rig.now_s += HOLD_S + 1 if kind == "stall" else 0
                if f"GPU-{what}" in rig.runner.jobs:
                    rig.runner.finish(f"GPU-{what}")
            elif kind == "read":
                rig.keeper.read(lambda _reply: None)
            elif kind == "fault":
                inject(rig, what, data.draw(FAULTS))
            elif kind == "wait":
                rig.advance(what)
            elif kind == "connect":
                rig.connect()
            ledger.check()
        # Whatever happened: once the GPUs answer again, an end without a newer plan is the fallback, soon.
        for gpu in range(GPUS):
            inject(rig, gpu, "none")
        rig.runner.held = set()
        armed = any(kind == "plan" for kind, _ in steps)
        rig.advance(HOLD_S + 2.0)
        ledger.check()
        assert not armed or rig.driver.sum_mw <= GPUS * MIN_MW


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.integers(0, GPUS - 1), LIMITS_W), st.dictionaries(st.integers(0, GPUS - 1), LIMITS_W)
)
def test_a_refused_plan_writes_nothing(cuts: dict[int, int], raises: dict[int, int]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        rig = Rig(Path(directory), gpus=GPUS)
        try:
            rig.plan(cuts=cuts, raises=raises)
        except RefusedError:
            assert rig.driver.writes == []
        else:
            assert not cuts.keys() & raises.keys()
