"""What must hold at every instant: theorems A and B of docs/leases.md and the lemma, checked at every event.

    A   budgets never fall:  sum of worst cases <= usable(the newest budget issued)
    B   any budgets:         sum of worst cases <= sum of the largest entitlements of the last X = T + g + G
    L   what one host uses of another's watts <= what that one counts as lent to it
    H   each host's worst case <= the limit of a plan that is in force there

Worst cases are read from the plant. What a plan rests on is taken from the decision that made it, and is
checked: the host may follow that budget, its share is worth so much, and what it has lent is subtracted.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from powerd.core.leases.leases import CLOCK_RATE_ERROR, LeaseRules
from powerd.core.topology import Rack
from tests.cluster.world import World

# Clocks are floats, and a timer may be late by as much.
_TICK_S = 0.001


class ViolationError(AssertionError):
    """Something that must hold did not."""


@dataclass(slots=True, eq=False)
class InForce:
    """One plan of a host, from when it was decided until a newer one is confirmed.

    Attributes:
        entitlement_mw: under the budget that it was made for.
        limit_mw: what the host may draw by it: floor, or entitlement + used - lent.
        failsafe_entitlement_mw, failsafe_mw: the same two for what the guard falls back to.
        end_s: when it ends: a guard that it has not reached by then refuses it.
        used_mw: others' watts in it, by donor.
        arrived: its guard has it.
    """

    entitlement_mw: int
    limit_mw: int
    failsafe_entitlement_mw: int
    failsafe_mw: int
    end_s: float = float("inf")
    used_mw: Mapping[str, int] = field(default_factory=dict)
    arrived: bool = False


def worth_mw(rack: Rack, name: str, cap_mw: int) -> int:
    """Return what a host's share of a rack cap is worth: by definition, not by the code under test."""
    usable = Fraction(cap_mw - rack.overhead_mw) - cap_mw * Fraction(str(rack.guard_band_pct)) / 100
    floors_mw = sum(host.floor_mw for host in rack.hosts)
    shares = {host.name: Fraction(str(host.share)) for host in rack.hosts}
    part = shares[name] / sum(shares.values())
    return rack.host(name).floor_mw + int(max(Fraction(0), usable - floors_mw) * part)


def at_floor(mw: int) -> InForce:
    """Return what is in force where GPUs are at their floor."""
    return InForce(mw, mw, mw, mw, arrived=True)


class HostWatch:
    """What is in force at one host, and what was in the last X.

    Attributes:
        applied_mw: the worst case: overhead, and all limits in effect or under way.
        bound_mw: its part of theorem B's bound.
        counts_mw: returns what the host counts as lent to another; None while it has no memory of that.
        lent_mw: returns what it counts as lent to all of them.
        borrows: a plan in force uses others' watts.
    """

    def __init__(self, name: str, floor_mw: int, applied_mw: int) -> None:
        self.name = name
        self.floor_mw = floor_mw
        self.applied_mw = applied_mw
        self.bound_mw = floor_mw
        self.live = [at_floor(floor_mw)]
        self.counts_mw: Callable[[str], int | None] = lambda _borrower: 0
        self.lent_mw: Callable[[], int] = lambda: 0
        self.borrows = False
        # Entitlements that were in force until a moment, the largest first, later ones after.
        self._past: deque[tuple[float, int]] = deque()

    @property
    def limit_mw(self) -> int:
        """Return the most that any plan in force allows."""
        return max(plan.limit_mw for plan in self.live)

    def used_mw(self, donor: str, now_s: float) -> int:
        """Return what is used of one donor's watts by any plan in force."""
        return max(plan.used_mw.get(donor, 0) for plan in self.live if plan.arrived or now_s <= plan.end_s)

    def drop(self, plans: list[InForce], now_s: float) -> None:
        """Note that plans are not in force any more."""
        for plan in plans:
            self.live.remove(plan)
            while self._past and self._past[-1][1] <= plan.entitlement_mw:
                self._past.pop()
            self._past.append((now_s, plan.entitlement_mw))

    def expire(self, before_s: float) -> float:
        """Forget what ended before; renew the bound; return when the next of it is to be forgotten."""
        while self._past and self._past[0][0] < before_s:
            self._past.popleft()
        live_mw = max(plan.entitlement_mw for plan in self.live)
        self.bound_mw = max(self.floor_mw, live_mw, self._past[0][1] if self._past else 0)
        return self._past[0][0] if self._past else float("inf")


class Theorem:
    """Keeps the sums, and says when they are wrong.

    Args:
        never_falls: no budget is below one before it, so theorem A holds too.

    Attributes:
        steps: how often everything was checked.
        above_newest: in how many of these the sum was above the newest budget, as B allows for a while.
    """

    def __init__(self, world: World, rack: Rack, rules: LeaseRules, *, never_falls: bool) -> None:
        self.steps = 0
        self.hosts: dict[str, HostWatch] = {}
        self.above_newest = 0
        self._world = world
        self._rack = rack
        self._never_falls = never_falls
        x_s = rules.count_s + rules.guard_bound_s
        self._x_s = x_s * (1 + 3 * CLOCK_RATE_ERROR) + _TICK_S
        self._sum_mw = 0
        self._bound_mw = 0
        self._newest_mw = 0
        self._next_expiry_s = float("inf")
        self._changed = True
        self._failed = ""

    def watch(self, name: str, applied_mw: int) -> HostWatch:
        """Add a host; its GPUs are at their floor."""
        watch = HostWatch(name, self._rack.host(name).floor_mw, applied_mw)
        self.hosts[name] = watch
        self._sum_mw += applied_mw
        self._bound_mw += watch.bound_mw
        self._changed = True
        return watch

    def applied(self, watch: HostWatch, mw: int) -> None:
        """Take in a host's new worst case."""
        self._sum_mw += mw - watch.applied_mw
        watch.applied_mw = mw
        if mw > watch.limit_mw:
            limit_w = watch.limit_mw / 1000
            self._fail(f"H: {watch.name} may draw {mw / 1000:g} W, its plans allow {limit_w:g} W")
        self._changed = True

    def issued(self, cap_mw: int) -> None:
        """Take in that the facility has issued a budget."""
        self._newest_mw = self._rack.usable_mw(max(cap_mw, self._rack.least_mw))

    def follows(self, watch: HostWatch, cap_mw: int, may_follow_mw: float) -> None:
        """Take in by which rack cap a host goes.

        Args:
            may_follow_mw: the largest budget that the host may follow now, less by the grid events it knows.
        """
        if cap_mw > may_follow_mw:
            text = f"{cap_mw / 1000:g} W, none above {may_follow_mw / 1000:g} W is in force"
            self._fail(f"B: {watch.name} follows a budget of {text}")

    def decided(self, watch: HostWatch, plan: InForce, worth_mw: int) -> None:
        """Take in a plan that is about to be sent to a guard.

        Args:
            worth_mw: what the host's share of the rack cap is worth that the plan was made for.
        """
        most_mw = max(watch.floor_mw, worth_mw + sum(plan.used_mw.values()) - watch.lent_mw())
        if plan.entitlement_mw > worth_mw or plan.limit_mw > most_mw:
            text = f"{plan.limit_mw / 1000:g} W, entitled to {most_mw / 1000:g} W"
            self._fail(f"H: {watch.name} goes to {text}")
        watch.live.append(plan)
        self._renew(watch)
        self._check_used(watch, plan)

    def stands(self, watch: HostWatch, entitlement_mw: int) -> None:
        """Take in that a host which writes nothing is entitled to so much: what that covers is its own."""
        own_mw = entitlement_mw - watch.lent_mw()
        for plan in watch.live:
            if plan.arrived and plan.limit_mw <= own_mw:
                plan.entitlement_mw, plan.used_mw = max(plan.entitlement_mw, entitlement_mw), {}
        self._renew(watch)

    def confirmed(self, watch: HostWatch, plan: InForce) -> None:
        """Take in that a plan was carried out: what is in force begins with the last that the plant shows.

        Where a GPU cannot be written that may be one before it, which asked for no less than there is.
        """
        if plan not in watch.live:
            return
        carried_out = watch.live[: watch.live.index(plan) + 1]
        shown = [each for each in carried_out if each.arrived and watch.applied_mw <= each.limit_mw]
        if shown:
            watch.drop(watch.live[: watch.live.index(shown[-1])], self._world.now_s)
            self._renew(watch)

    def refused(self, watch: HostWatch, plan: InForce) -> None:
        """Take in that a guard did not take a plan."""
        if plan in watch.live:
            watch.drop([plan], self._world.now_s)
            self._renew(watch)

    def fell_back(self, watch: HostWatch) -> None:
        """Take in that the guard has brought all GPUs to the fallback of all plans that it had."""
        had = [plan for plan in watch.live if plan.arrived]
        if not had:
            return
        mw = max(plan.failsafe_mw for plan in had)
        if watch.applied_mw > mw:
            text = f"is at {watch.applied_mw / 1000:g} W, above its fallback of {mw / 1000:g} W"
            self._fail(f"H: {watch.name} has fallen back and {text}")
        entitlement_mw = max(plan.failsafe_entitlement_mw for plan in had)
        watch.live.insert(0, InForce(entitlement_mw, mw, entitlement_mw, mw, arrived=True))
        watch.drop(had, self._world.now_s)
        self._renew(watch)

    def booted(self, watch: HostWatch) -> None:
        """Take in that a host has booted: its GPUs are at their floor, and nothing is in force."""
        plans = list(watch.live)
        watch.live.append(at_floor(watch.floor_mw))
        watch.drop(plans, self._world.now_s)
        self._renew(watch)

    def check_counted(self, donor: str) -> None:
        """Check the lemma for all borrowers of one host."""
        for watch in self.hosts.values():
            if watch.borrows and watch.name != donor:
                self._check_pair(donor, watch)

    def check(self) -> None:
        """Check the sums; called after every event."""
        self.steps += 1
        if self._failed:
            raise ViolationError(self._failed)
        now_s = self._world.now_s
        if now_s > self._next_expiry_s:
            self._expire()
        if not self._changed:
            return
        self._changed = False
        if self._sum_mw > self._bound_mw:
            self._fail(f"B: the rack may draw {self._sum_mw / 1000:g} W of {self._bound_mw / 1000:g} W")
        if self._sum_mw > self._newest_mw:
            self.above_newest += 1
            if self._never_falls:
                self._fail(f"A: the rack may draw {self._sum_mw / 1000:g} W of {self._newest_mw / 1000:g} W")
        if self._failed:
            raise ViolationError(self._failed)

    def _check_used(self, borrower: HostWatch, plan: InForce) -> None:
        for donor in plan.used_mw:
            self._check_pair(donor, borrower)

    def _check_pair(self, donor: str, borrower: HostWatch) -> None:
        used_mw = borrower.used_mw(donor, self._world.now_s)
        if not used_mw:
            return
        counted_mw = self.hosts[donor].counts_mw(borrower.name)
        if counted_mw is not None and used_mw > counted_mw:
            text = f"uses {used_mw / 1000:g} W of {donor}, which counts {counted_mw / 1000:g} W"
            self._fail(f"L: {borrower.name} {text}")

    def _renew(self, watch: HostWatch) -> None:
        watch.borrows = any(plan.used_mw for plan in watch.live)
        before_mw = watch.bound_mw
        next_s = watch.expire(self._world.now_s - self._x_s) + self._x_s
        self._next_expiry_s = min(self._next_expiry_s, next_s)
        self._bound_mw += watch.bound_mw - before_mw
        self._changed = True

    def _expire(self) -> None:
        before_s = self._world.now_s - self._x_s
        self._next_expiry_s = self._x_s + min(watch.expire(before_s) for watch in self.hosts.values())
        self._bound_mw = sum(watch.bound_mw for watch in self.hosts.values())
        self._changed = True

    def _fail(self, text: str) -> None:
        # Raised when the event is over: in the middle of it a daemon would take it for its own failure.
        self._failed = self._failed or text
