"""How long to wait before connecting again."""

import random

# The first waits are spread over so many times the shortest one, since all hosts lose a broker at once.
_SPREAD = 4.0
# Later ones are at most this part of all that was waited before: who was away for a moment is back soon.
_SHARE = 0.5


class Backoff:
    """Random waits that grow with the outage, so that a site's hosts do not come back all at once.

    With waits of 1 to 4 s, the default, all are back within 4 s of any outage; with 1 to 30 s within 5 s of
    one of up to 10 s, and of longer ones within half of their time.

    Args:
        min_s, max_s: bounds of every wait.
        rng: its source of chance.
    """

    def __init__(self, min_s: float, max_s: float, rng: random.Random) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._rng = rng
        self._waited_s = 0.0

    def failed(self, *, lasted_s: float) -> float:
        """Return how long to wait after a connection, or an attempt at one, that lasted `lasted_s`."""
        # A broker that accepts and then hangs up is no better than one that refuses.
        if lasted_s > self._max_s:
            self._waited_s = 0.0
        longest_s = min(self._max_s, max(_SPREAD * self._min_s, _SHARE * self._waited_s))
        wait_s = self._rng.uniform(self._min_s, longest_s)
        self._waited_s += wait_s
        return wait_s

    def silent(self) -> float:
        """Return how long to wait after a connection was given up because nothing was acknowledged on it.

        Not for long: it may be the connection that is broken, not the broker. Should it be the broker, its
        hosts do not come back all at once either, since each gives up so long after a message of its own.
        """
        return self._rng.uniform(0.0, _SHARE * self._min_s)
