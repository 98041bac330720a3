"""How long to wait before connecting again."""

import random


class Backoff:
    """Random waits that grow while attempts fail, so that a site's hosts do not come back all at once.

    Args:
        min_s, max_s: bounds of every wait.
        rng: its source of chance.
    """

    def __init__(self, min_s: float, max_s: float, rng: random.Random) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._rng = rng
        self._failures = 0

    def failed(self, *, lasted_s: float) -> float:
        """Return how long to wait after a connection, or an attempt at one, that lasted `lasted_s`."""
        # A broker that accepts and then hangs up is no better than one that refuses.
        self._failures = 0 if lasted_s > self._max_s else self._failures + 1
        longest_s = min(self._max_s, self._min_s * 2.0 ** min(self._failures, 30))
        return self._rng.uniform(self._min_s, max(self._min_s, longest_s))
