"""What is expected of a host whose controller is lost, and whether it was so, from one status after another.

budgets are not heard -> the lease ends -> failsafe holds -> every limit is read back -> control is back
"""

from collections.abc import Iterator
from typing import NamedTuple

from powerd.ctl import checks
from powerd.ctl.client import Document
from powerd.ctl.reasons import power

# From the end of the lease to failsafe in the status, and from there to the last limit read back: a few
# control periods, and what a slow driver takes.
LATE_S = 5.0
# How long to wait for a controller after the drill: they repeat themselves well within this.
BACK_WITHIN_S = 120.0
CONTROLLED = ("limited", "unlimited")


class Entry(NamedTuple):
    """One line of the timeline."""

    after_s: float
    event: str
    text: str


class Course:
    """The course of a drill so far. Seconds count from its start.

    Args:
        lease_s: what was left of the controller's lease.
        period_s: the control period.
    """

    def __init__(self, lease_s: float, period_s: float) -> None:
        self.failsafe_by_s = lease_s + 3 * period_s + LATE_S
        self.failsafe_s: float | None = None
        self.verified_s: float | None = None
        self.over_s: float | None = None
        self.back_s: float | None = None
        self.mode = ""
        self._unfit: list[str] = []

    def take(self, after_s: float, status: Document) -> Iterator[Entry]:
        """Take in a status and yield what is new in it."""
        self.mode = status["mode"]
        if status["state"] == "failsafe":
            yield from self._in_failsafe(after_s, status)
        if self.over_s is None and not status["orders"]["drill"]:
            self.over_s = after_s
            yield Entry(after_s, "drill_over", "the drill is over: budgets are heard again")
        if self.over_s is not None and self.back_s is None and status["state"] in CONTROLLED:
            self.back_s = after_s
            lease = status["budget"]["lease"]
            who = f"{lease['source']} is heard" if lease else "a controller is heard"
            watts = power(status["budget"]["rack_watts"])
            yield Entry(after_s, "control_back", f"control is back: {who}, the rack has {watts} now")

    def is_over(self, after_s: float) -> bool:
        """Say whether nothing more is to be waited for."""
        if self.over_s is None:
            return False
        return self.back_s is not None or after_s > self.over_s + BACK_WITHIN_S

    def failures(self) -> list[str]:
        """Return what went otherwise than it should, one line each; nothing if the drill is passed."""
        if self.failsafe_s is None:
            return ["failsafe was not reached before the drill was over"]
        found = []
        if self.failsafe_s > self.failsafe_by_s:
            found.append(f"failsafe came after {self.failsafe_s:.1f} s, due by {self.failsafe_by_s:.1f} s")
        if self.mode == "enforce":
            found += self._limits()
        if self.back_s is None:
            found.append(f"no controller was heard within {BACK_WITHIN_S:.0f} s after the drill")
        return found

    def verdict(self) -> str:
        """Return one line."""
        if failures := self.failures():
            return f"failed: {'; '.join(failures)}"
        if self.mode != "enforce":
            return f"passed, but no limit was written: the mode is {self.mode}"
        when = f"failsafe after {self.failsafe_s:.1f} s, every limit read back after {self.verified_s:.1f} s"
        return f"passed: {when}"

    def _in_failsafe(self, after_s: float, status: Document) -> Iterator[Entry]:
        watts = power(status["budget"]["rack_watts"])
        if self.failsafe_s is None:
            self.failsafe_s = after_s
            yield Entry(after_s, "failsafe", f"failsafe holds: the rack has {watts}")
        if status["mode"] != "enforce":
            return
        self._unfit = checks.differences(status)
        if not self._unfit and not status["compliant"]:
            self._unfit = ["what the GPUs may draw is above their budget"]
        if not self._unfit and self.verified_s is None:
            self.verified_s = after_s
            may, has = power(status["budget"]["gpus_watts"]), power(status["budget"]["allocated_watts"])
            count = len(status["gpus"])
            yield Entry(after_s, "verified", f"{count} GPUs read back: they may draw {has} of {may}")

    def _limits(self) -> Iterator[str]:
        if self.failsafe_s is None or self.verified_s is None:
            yield "limits did not come to fit: " + "; ".join(self._unfit)
        elif self.verified_s > self.failsafe_s + LATE_S:
            yield f"limits were read back only {self.verified_s - self.failsafe_s:.1f} s after failsafe began"
        elif self._unfit:
            yield "limits did not stay as decided: " + "; ".join(self._unfit)
