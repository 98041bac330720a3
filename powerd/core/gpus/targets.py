"""From a GPU budget and readings to one target per GPU.

GPUs that cannot be limited now (lost, hung, read-only, refusing) are counted at the most they may draw, and
the others share what is left: one bad GPU never stops control of the rest (I5).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from powerd.core.gpus.allocator import Allocation, Request, allocate
from powerd.core.gpus.demand import Demand, GpuDemand
from powerd.core.gpus.gpu_range import Range, Ranges
from powerd.core.gpus.observed import UNKNOWN, Observed
from powerd.core.gpus.plan import whole_watts
from powerd.core.model import Capability, GpuReading, GpuState, Step, Write
from powerd.core.orders.override import NO_OVERRIDES, PRIORITY, Override, chain, narrowed
from powerd.core.topology import GpuPolicies, GpuPolicy
from powerd.core.units import MilliWatts, watts


class GpuTarget(NamedTuple):
    """What was decided for one GPU.

    Attributes:
        limit_mw: the limit it shall have; None for a GPU that cannot be limited now.
        counted_mw: what it takes of the host's GPU budget.
        want_mw: what it would use if it could.
        steps: how `limit_mw` came about, in order; the last one is the rule that binds.
    """

    uuid: str
    limit_mw: MilliWatts | None
    counted_mw: MilliWatts
    want_mw: MilliWatts
    demand: Demand
    steps: tuple[Step, ...] = ()


class Sharing(NamedTuple):
    """The GPUs of a host sorted into those that can be limited now and those that only count.

    Attributes:
        requests: of the GPUs that can be limited.
        ranges: of the same GPUs, by UUID.
        fixed: of all others, what each counts and why.
        overrides: what operators have ordered, by UUID.
        reluctant: those of the others that could be limited if they answered, at their floor: what the guard
            shall try to bring them to when it falls back.
    """

    requests: tuple[Request, ...]
    ranges: dict[str, Range]
    fixed: dict[str, Step]
    reluctant: tuple[Write, ...] = ()
    overrides: Mapping[str, Override] = NO_OVERRIDES

    @property
    def fixed_mw(self) -> MilliWatts:
        """Return what the GPUs that cannot be limited count together."""
        return sum(step.mw for step in self.fixed.values())

    @property
    def wants_mw(self) -> MilliWatts:
        """Return what all GPUs together would use if they could."""
        return self.fixed_mw + sum(request.want_mw for request in self.requests)

    @property
    def floors_mw(self) -> MilliWatts:
        """Return the least that all GPUs together can be limited to."""
        return self.fixed_mw + sum(request.floor_mw for request in self.requests)


def sort_out(
    readings: Sequence[GpuReading],
    policies: GpuPolicies,
    demands: Mapping[str, GpuDemand],
    observed: Mapping[str, Observed],
    ranges: Ranges,
    boot_s: float,
    overrides: Mapping[str, Override] = NO_OVERRIDES,
) -> Sharing:
    """Decide which GPUs can be limited now, and what the others count.

    Args:
        overrides: those that hold now. Such a GPU leaves its job for the time: the others of it go on alike.
    """
    requests, spans, fixed, reluctant = [], {}, {}, []
    for reading in readings:
        uuid, policy = reading.uuid, policies.of(reading.uuid)
        known = observed.get(uuid, UNKNOWN)
        span = ranges[uuid]
        why = _why_fixed(reading, known, boot_s)
        if why or span is None:
            counted = _counted_mw(reading, policy, readings)
            fixed[uuid] = Step("not_controllable", counted, "powerd", why or "tells no constraints")
            # A lost one tells no capability; if it comes back with a new driver, it has its default limit.
            if span is not None and reading.capability in (Capability.SETTABLE, Capability.LOST):
                reluctant.append(Write(uuid, span.floor_mw))
            continue
        override = overrides.get(uuid)
        if override is None:
            want = min(max(demands[uuid].want_mw, span.floor_mw), span.ceiling_mw)
            priority, job = policy.priority, policy.job
        else:
            span = narrowed(span, override)
            want, priority, job = span.ceiling_mw, PRIORITY, ""
        spans[uuid] = span
        requests.append(Request(uuid, span.floor_mw, span.ceiling_mw, want, policy.weight, priority, job))
    return Sharing(tuple(requests), spans, fixed, tuple(reluctant), overrides)


def may_draw_mw(reading: GpuReading) -> MilliWatts | None:
    """Return the most a GPU may draw before it is written again; None if nothing is known.

    That is its requested limit even while less is enforced: whatever limits it out of band can let go at any
    moment, so its watts are free only once the request is down as well.
    """
    if reading.worst_case_mw is None:
        return None
    return max(reading.worst_case_mw, reading.requested_mw or 0)


def _why_fixed(reading: GpuReading, observed: Observed, boot_s: float) -> str:
    if reading.state is not GpuState.OK:
        return f"{reading.state}: {reading.detail}" if reading.detail else str(reading.state)
    if reading.capability is not Capability.SETTABLE:
        return f"its limit is {reading.capability} only"
    if observed.is_stuck(boot_s):
        return "refused its last limit; tried again soon"
    return ""


def _counted_mw(reading: GpuReading, policy: GpuPolicy, all_readings: Iterable[GpuReading]) -> MilliWatts:
    """Return the most a GPU that cannot be limited may draw, from the best knowledge there is."""
    mw = may_draw_mw(reading)
    if mw is not None:
        return mw
    if policy.ceiling_mw is not None:
        return policy.ceiling_mw
    if reading.constraints is not None:
        return reading.constraints.max_mw
    # A GPU that tells nothing at all is taken for the largest of its neighbours.
    return max((r.constraints.max_mw for r in all_readings if r.constraints is not None), default=0)


def share_out(
    sharing: Sharing, budget_mw: MilliWatts, demands: Mapping[str, GpuDemand]
) -> tuple[GpuTarget, ...]:
    """Share a GPU budget among the GPUs of a host, in order of UUID."""
    allocations = allocate(budget_mw - sharing.fixed_mw, sharing.requests)
    targets = [
        _target(request, allocations[request.uuid], sharing, demands[request.uuid])
        for request in sharing.requests
    ]
    for uuid, step in sharing.fixed.items():
        known = demands[uuid]
        targets.append(GpuTarget(uuid, None, step.mw, known.want_mw, known.demand, (step,)))
    return tuple(sorted(targets, key=lambda target: target.uuid))


def fallback(sharing: Sharing, budget_mw: MilliWatts) -> tuple[Write, ...]:
    """Return what the guard shall lower each GPU to when the plan ends: limits as `share_out` gives them."""
    allocations = allocate(budget_mw - sharing.fixed_mw, sharing.requests)
    limits = (
        Write(request.uuid, whole_watts(allocations[request.uuid].limit_mw, request.floor_mw))
        for request in sharing.requests
    )
    return (*limits, *sharing.reluctant)


def _target(request: Request, allocation: Allocation, sharing: Sharing, known: GpuDemand) -> GpuTarget:
    span = sharing.ranges[request.uuid]
    limit = whole_watts(allocation.limit_mw, span.floor_mw)
    override = sharing.overrides.get(request.uuid)
    if override is None:
        steps = _steps(request, allocation, span, known, limit)
    else:
        steps = chain(override, span, limit)
    return GpuTarget(request.uuid, limit, limit, request.want_mw, known.demand, steps)


def _steps(
    request: Request, allocation: Allocation, span: Range, known: GpuDemand, limit: MilliWatts
) -> tuple[Step, ...]:
    wanted = whole_watts(allocation.wanted_mw, span.floor_mw)
    steps = [Step("fair_share", wanted, "powerd", f"{known.demand}: wants {watts(request.want_mw):g} W")]
    if allocation.spare_mw:
        steps.append(Step("spare", limit, "powerd", "watts nobody wants, spread evenly"))
    if limit >= span.ceiling_mw:
        steps.append(Step(span.ceiling_rule, limit, span.ceiling_source))
    elif limit <= span.floor_mw:
        steps.append(Step("floor", limit, "gpu"))
    return tuple(steps)


def settle(
    targets: Sequence[GpuTarget], current: Mapping[str, MilliWatts | None], written: Collection[str]
) -> tuple[GpuTarget, ...]:
    """Leave a GPU whose change is within the dead-band at the limit it has: that is its target then."""
    return tuple(
        target if target.uuid in written else _kept(target, current.get(target.uuid)) for target in targets
    )


def _kept(target: GpuTarget, current_mw: MilliWatts | None) -> GpuTarget:
    if current_mw is None or target.limit_mw is None or current_mw == target.limit_mw:
        return target
    step = Step("dead_band", current_mw, "control.deadband_watts", "too small a change to write")
    return target._replace(limit_mw=current_mw, counted_mw=current_mw, steps=(*target.steps, step))
