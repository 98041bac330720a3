"""Which trace each target belongs to, so that what powerd says of it can be followed from end to end."""

from powerd.dsx.cloud_event import Trace

MAX_TRACES = 256


class Traces:
    """Remembers the traces of the last targets; a restart forgets them, and begins new ones."""

    def __init__(self) -> None:
        self._by_correlation: dict[str, Trace] = {}

    def remember(self, correlation_id: str, trace: Trace) -> None:
        """Keep the trace of a message that came in."""
        self._by_correlation.pop(correlation_id, None)
        self._by_correlation[correlation_id] = trace
        while len(self._by_correlation) > MAX_TRACES:
            del self._by_correlation[next(iter(self._by_correlation))]

    def of(self, correlation_id: str) -> Trace | None:
        """Return the trace of a target; None if it is not known."""
        return self._by_correlation.get(correlation_id)
