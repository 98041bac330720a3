"""Time as leases and write logs count it, and waiting until something has come true."""

import http.client
import time
from collections.abc import Callable
from typing import TypeVar

_Value = TypeVar("_Value")

_POLL_S = 0.005


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
    deadline_s = time.monotonic() + within_s
    while True:
        value = _value_of(condition)
        if value:
            return value
        if time.monotonic() >= deadline_s:
            raise AssertionError(f"not within {within_s:g} s: {what or condition}\n{evidence()}")
        time.sleep(_POLL_S)


def _value_of(condition: Callable[[], _Value]) -> _Value | None:
    try:
        return condition()
    except (OSError, http.client.HTTPException):
        return None
