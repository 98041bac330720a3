"""An observer from outside: replays the write log of the fake GPUs against the budgets that were granted.

It knows what was published and what was written, and nothing of what powerd thinks. Two claims hold in every
test of this folder, whatever happens in it: limits go up only under a grant, and never above the larger of
the budgets before and after a change; and they stay above what is allowed only as long as a change takes.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.daemon.facility import Grant
from tests.daemon.rig import FAILSAFE_WATTS, Rig, gpu_budget_mw
from tests.daemon.waiting import boot_s
from tests.fake_nvml import BY_NVML

# How long a change may take to arrive everywhere: the guard's hold, and a period.
GRACE_S = 1.5


class Moment(NamedTuple):
    """The sum of the limits from one moment on.

    Attributes:
        by_powerd: the change came through NVML, and not from a rival, the board or a driver reload.
    """

    boot_s: float
    sum_mw: int
    by_powerd: bool


def history(rig: Rig) -> list[Moment]:
    """Return how the sum of the limits went, oldest first, a moment per change."""
    limits_mw = {index: gpu.default_mw for index, gpu in enumerate(rig.gpus.gpus)}
    moments = []
    for write in rig.write_log():
        limits_mw[write.gpu] = write.enforced_mw
        moments.append(Moment(write.boot_ns / 1e9, sum(limits_mw.values()), write.source == BY_NVML))
    return moments


def in_force(rig: Rig, at_boot_s: float) -> list[Grant]:
    """Return the grants that may count at a moment: the newest, and the one before while it changes."""
    published = [grant for grant in rig.grants if grant.published_boot_s <= at_boot_s]
    settled = [grant for grant in published if grant.published_boot_s <= at_boot_s - GRACE_S]
    first = len(settled) - 1 if settled else 0
    return [grant for grant in published[first:] if at_boot_s < grant.end_boot_s]


def allowed_mw(rig: Rig, at_boot_s: float) -> int:
    """Return the largest sum of limits that any budget in force allows; without one, the failsafe's."""
    gpus = len(rig.gpus.gpus)
    budgets = [gpu_budget_mw(grant.watts, gpus) for grant in in_force(rig, at_boot_s)]
    return max(budgets, default=gpu_budget_mw(FAILSAFE_WATTS, gpus))


def unearned_raises(rig: Rig) -> Iterator[str]:
    """Yield every change by powerd that raised the sum without a grant, or above every budget in force."""
    before_mw = sum(gpu.default_mw for gpu in rig.gpus.gpus)
    for moment in history(rig):
        if moment.by_powerd and moment.sum_mw > before_mw:
            climb = f"{before_mw / 1000:g} -> {moment.sum_mw / 1000:g} W at {moment.boot_s:.3f}"
            if not in_force(rig, moment.boot_s):
                yield f"{climb}: no budget is in force"
            elif moment.sum_mw > allowed_mw(rig, moment.boot_s):
                yield f"{climb}: {allowed_mw(rig, moment.boot_s) / 1000:g} W are allowed"
        before_mw = moment.sum_mw


def excesses(rig: Rig, since_boot_s: float) -> Iterator[str]:
    """Yield every time in which the sum stayed above what is allowed for longer than a change takes."""
    moments = history(rig)
    ends = [grant.end_boot_s for grant in rig.grants]
    points = sorted(
        [*(moment.boot_s for moment in moments), *ends, *(end + GRACE_S for end in ends), boot_s()]
    )
    above_since_boot_s: float | None = None
    for point_s in (point_s for point_s in points if since_boot_s <= point_s <= boot_s()):
        known = [moment.sum_mw for moment in moments if moment.boot_s <= point_s]
        if not known or known[-1] <= allowed_mw(rig, point_s):
            above_since_boot_s = None
            continue
        above_since_boot_s = above_since_boot_s or point_s
        if point_s - above_since_boot_s > GRACE_S:
            yield f"{known[-1] / 1000:g} W from {above_since_boot_s:.3f} to {point_s:.3f}"
