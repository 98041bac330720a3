"""A stage: two or three hosts, and a script that says what happens next.

Each host is real: the core, the guard on GPUs in memory, the runtime file on disk. What a network and a
scheduler would do is up to the script: when a daemon takes which step, which message arrives where and how
often, which driver call hangs and when it lands. After every step the stage adds up what all GPUs may draw,
and a sum above the bound is a `Violation`.

    one host: e = 300 W, of which 100 W are its floor; two hosts: a budget of 600 W
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from powerd.core.leases.host_state import HostState
from tests.cluster.stage_gpus import BUSY_W, Setting
from tests.cluster.stage_host import Host
from tests.core.make import W, budget


class Violation(AssertionError):  # noqa: N818 - it is what happened, not what went wrong in the test
    """The hosts may draw more together than the bound.

    Attributes:
        sum_w: how much.
    """

    def __init__(self, sum_w: float, bound_w: float, told: Iterable[str]) -> None:
        super().__init__("\n  ".join([f"{sum_w:g} W above the bound of {bound_w:g} W:", *told]))
        self.sum_w = sum_w


@dataclass
class Stage:
    """The hosts, the time, and the sum that must stay within the bound.

    Attributes:
        now_s: true time, which no host can see.
        bound_w: what all GPUs may draw together at the most.
        told: what happened.
    """

    directory: Path
    setting: Setting
    now_s: float = 0.0
    bound_w: float = 0.0
    told: list[str] = field(default_factory=list)
    _peak_mw: int = 0

    def __post_init__(self) -> None:
        self.rack = self.setting.rack
        self.hosts: list[Host] = []
        for roster_host in self.rack.hosts:
            self.hosts.append(Host(self, roster_host.name, self.directory))
        self._seq = 0
        self.issue(self.setting.budget_w)
        for host in self.hosts[1:]:
            host.driver.load_w = BUSY_W
        for _ in range(3):
            self.advance(0.01)
            for host in self.hosts:
                host.read()
                host.decide()
                host.enforce()

    def issue(self, watts: int, *to: Host) -> None:
        """Publish a budget; it arrives at some hosts, or at all if none is named. The bound never falls."""
        self._seq += 1
        self.bound_w = max(self.bound_w, watts)
        for host in to or self.hosts:
            host.budgets.append(budget(watts, self._seq, host.now, lease_s=300.0))

    def deliver(self, message: HostState, to: Host) -> None:
        """Have a message arrive; the host hears it when it decides."""
        to.inbox.append(replace(message, received_boot_s=to.boot_s))

    def advance(self, seconds: float) -> None:
        """Let time pass for everyone; guards act when they have to."""
        self.advance_to(self.now_s + seconds)

    def advance_to(self, end_s: float) -> None:
        """Let time pass until a moment, exactly."""
        while self.now_s < end_s:
            due = [host.true_s(boot_s) for host in self.hosts if (boot_s := host.guard.due_boot_s())]
            self.now_s = min(end_s, max(self.now_s + 1e-4, min(due, default=end_s)))
            for host in self.hosts:
                host.settle()
            self.step("")

    def note(self) -> None:
        """Take note of the sum, in the middle of a step too."""
        self._peak_mw = max(self._peak_mw, sum(host.may_draw_mw for host in self.hosts))

    def step(self, what: str) -> None:
        """End a step: tell of it, and look whether the bound was kept all along.

        Raises:
            Violation: it was not.
        """
        self.note()
        if what:
            self.told.append(f"{self.now_s:8.3f} s  {what}")
        peak_w, self._peak_mw = self._peak_mw / W, 0
        if peak_w > self.bound_w:
            raise Violation(peak_w, self.bound_w, self.told)


def sequence(
    rule_out: Callable[[pytest.MonkeyPatch], None], *, reaches_w: float, **setting: Any
) -> Callable[[Callable[[Stage], None]], Callable[[Path], None]]:
    """Make a test of a script: it keeps the bound, and with its rule taken out it reaches a sum above it."""

    def make(script: Callable[[Stage], None]) -> Callable[[Path], None]:
        def test(tmp_path: Path) -> None:
            script(Stage(tmp_path / "with", Setting(**setting)))
            with pytest.MonkeyPatch.context() as patch:
                rule_out(patch)
                with pytest.raises(Violation) as violation:
                    script(Stage(tmp_path / "without", Setting(**setting)))
            assert violation.value.sum_w == reaches_w

        test.__name__, test.__doc__ = script.__name__, script.__doc__
        return test

    return make


def grant(stage: Stage, donor: Host, borrower: Host) -> HostState:
    """Have the borrower speak, and the donor lend what it can; return the message that lends."""
    borrower.iterate()
    stage.deliver(borrower.sent[-1], donor)
    donor.iterate()
    return donor.sent[-1]
