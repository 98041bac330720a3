"""What an energy service sends: a load target, in its envelope and signed. For people who try powerd out."""

import uuid
from dataclasses import dataclass

from powerd.clock import Clock
from powerd.core.units import milliwatts
from powerd.dsx.cloud_event import ISV_ROLE, MAX_IDENTIFIER_CHARACTERS, NAMESPACE, build, source_of
from powerd.dsx.load_target import KIND, SUBJECT
from powerd.dsx.status import power
from powerd.facility.publish import Publisher
from powerd.signals import rfc3339
from powerd.signals.outbox import Outgoing
from powerd.signals.strict_json import JsonObject
from powerd.signals.wire import encode
from powerd.signatures.jws import Signer

_NOT_IN_IDENTIFIERS = frozenset("/+#")


@dataclass(frozen=True, slots=True)
class FlexTarget:
    """A load target.

    Attributes:
        watts: for the whole feed; None = back to the default.
        feeds: empty = all feeds.
        start_s: Unix seconds; None = now.
        end_s: None = until it is replaced.
    """

    watts: float | None
    feeds: tuple[str, ...] = ()
    start_s: float | None = None
    end_s: float | None = None
    is_best_effort: bool = False


class FlexTargetPublisher(Publisher[FlexTarget]):
    """One energy service.

    Args:
        isv: its identifier.
        signer: None = plain data, which powerd takes only if it is configured to.

    Raises:
        ValueError: `isv` cannot be part of a topic.
    """

    def __init__(self, *, isv: str, clock: Clock, signer: Signer | None) -> None:
        super().__init__(source=isv, clock=clock)
        if len(isv) > MAX_IDENTIFIER_CHARACTERS or not _NOT_IN_IDENTIFIERS.isdisjoint(isv):
            raise ValueError(f'isv "{isv}" cannot be part of a topic')
        self._isv = isv
        self._signer = signer

    def message(self, said: FlexTarget) -> Outgoing:
        """Return the next message; nothing keeps it, as nothing says that a broker should."""
        data: JsonObject = {"targets": [_target(said)]}
        payload = build(
            kind=KIND,
            subject=SUBJECT,
            source=source_of(ISV_ROLE, self._isv),
            data=data if self._signer is None else self._signer.sign(encode(data)),
            wall_s=self._clock.now().wall_s,
            correlation_id=str(uuid.uuid4()),
        )
        return Outgoing(f"{NAMESPACE}/{ISV_ROLE}/{self._isv}/loadtarget/set", payload, qos=1)


def _target(said: FlexTarget) -> JsonObject:
    times = {"start_time": said.start_s, "end_time": said.end_s}
    return {
        "interval": {name: rfc3339.utc(at_s) for name, at_s in times.items() if at_s is not None},
        "feed_tags": list(said.feeds),
        "load_constraint": None if said.watts is None else power(milliwatts(said.watts)),
        "strategy": {"best_effort": said.is_best_effort},
    }
