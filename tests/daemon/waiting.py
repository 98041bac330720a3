"""Time as leases and write logs count it, and waiting until something has come true."""

import http.client
import time
from collections.abc import Callable
from typing import TypeVar

_Value = TypeVar("_Value")

# Looks come after a tenth of the time that was waited so far: often, but no look is a load to who is asked.
_SOONEST_S, _LATEST_S = 0.005, 0.05


def boot_s() -> float:
    """Return seconds since boot, as leases and the write log count them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wait_until(
    condition: Callable[[], _Value], within_s: float, *, what: str = "", evidence: Callable[[], str]
) -> _Value:
    """Wait until the condition is true and return its value; no answer from a daemon counts as false.

    Args:
        what: is waited for, for the error.
        evidence: what to show when it did not come true.

    Raises:
        AssertionError: it did not come true in time.
    """
    begun_s = time.monotonic()
    while True:
        value = _value_of(condition)
        if value:
            return value
        waited_s = time.monotonic() - begun_s
        if waited_s >= within_s:
            raise AssertionError(f"not within {within_s:g} s: {what or condition}\n{evidence()}")
        time.sleep(min(max(_SOONEST_S, waited_s / 10), _LATEST_S))


def _value_of(condition: Callable[[], _Value]) -> _Value | None:
    try:
        return condition()
    except (OSError, http.client.HTTPException):
        return None
