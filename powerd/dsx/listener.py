"""From the topics of DSX Flex to the controller: targets become grid events, enforcement becomes notices."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from powerd.clock import Clock
from powerd.core.events.grid_event import GridEvent
from powerd.core.model import Notice, Now, Severity
from powerd.dsx import enforcement as outcomes
from powerd.dsx import load_target
from powerd.dsx.cloud_event import (
    INFRA_ROLE,
    ISV_ROLE,
    MAX_IDENTIFIER_CHARACTERS,
    NAMESPACE,
    CloudEvent,
    parse,
    source_of,
)
from powerd.dsx.load_target import Feeds, Targets, load_targets
from powerd.dsx.traces import Traces
from powerd.errors import SignalRejectedError
from powerd.signals.listener import Hooks, Listener
from powerd.signals.reasons import Reason
from powerd.signals.strict_json import JsonObject
from powerd.signatures.jws import TrustedKey, Verifier

# Counted for all senders that no key or list of the configuration names: anybody can make up names.
UNKNOWN_SENDER = "unknown"

# What is asked for must arrive; an outcome that comes twice is told once anyway.
_QOS = 1


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """Whom powerd listens to.

    Attributes:
        isvs: identifiers of the energy services; empty = all that the broker lets through.
        keys: by `kid`.
        allow_unsigned: take plain data too, but not in the name of those whose keys are configured.
    """

    isvs: tuple[str, ...] = ()
    keys: Mapping[str, TrustedKey] = field(default_factory=dict)
    allow_unsigned: bool = False


class DsxListener(Listener[Targets]):
    """Reads load targets, and what infrastructure agents say that they did.

    Args:
        traces: remembers which trace a target belongs to, for what is said of it later.

    Attributes:
        filters: what to listen to, and at which QoS.

    Raises:
        ConfigError: a key file cannot be used.
    """

    def __init__(
        self, options: ListenOptions, feeds: Feeds, *, clock: Clock, traces: Traces, hooks: Hooks[GridEvent]
    ) -> None:
        super().__init__(Hooks(self._submit_all, hooks.notice, hooks.rejected))
        self._submit = hooks.submit
        self._verifier = Verifier(options.keys)
        self._allow_unsigned = options.allow_unsigned
        self._feeds = feeds
        self._clock = clock
        self._traces = traces
        self._signers = frozenset(key.source for key in options.keys.values())
        self._known = self._signers.union(source_of(ISV_ROLE, each) for each in options.isvs)
        self.filters = {
            **{f"{NAMESPACE}/{ISV_ROLE}/{each}/loadtarget/set": _QOS for each in options.isvs or ("+",)},
            f"{NAMESPACE}/{INFRA_ROLE}/+/powerbreach/enforcement": _QOS,
        }

    def on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        """Take one message from the bus."""
        now = self._clock.now()
        self._take(topic, lambda: self._read(topic, payload, now, retained=retained))

    def _submit_all(self, targets: Targets) -> None:
        for tag in targets.unknown:
            text = f'a load target is about feed "{tag}", which is neither in rack.feeds nor in other_feeds'
            self._hooks.notice(Notice("dsx_feed_unknown", Severity.WARNING, text, tag))
        for event in targets.events:
            self._submit(event)

    def _read(self, topic: str, payload: bytes, now: Now, *, retained: bool) -> Targets:
        role, sender = _sender(topic)
        source = source_of(role, sender)
        label = f"{load_target.SOURCE_PREFIX}{sender}" if source in self._known else UNKNOWN_SENDER
        if role == INFRA_ROLE:
            message = parse(payload, kind=outcomes.KIND, source=source, label=label)
            data = self._data(message, source, label, now)
            self._hooks.notice(outcomes.enforcement(data, label))
            return Targets(())
        message = parse(payload, kind=load_target.KIND, source=source, label=label)
        data = self._data(message, source, label, now)
        targets = load_targets(
            message,
            data,
            sender=sender,
            label=label,
            feeds=self._feeds,
            received=now,
            retained=retained,
            raw=payload,
        )
        self._traces.remember(message.correlation_id or message.id, message.trace)
        return targets

    def _data(self, message: CloudEvent, source: str, label: str, now: Now) -> JsonObject:
        data = message.data
        if isinstance(data, str):
            return self._verifier.payload(data, signer=source, wall_s=now.wall_s, source=label)
        if source in self._signers:
            raise SignalRejectedError(
                Reason.UNSIGNED, f"data is not signed; {source} has a key to sign with", label
            )
        if not self._allow_unsigned:
            text = "data is not signed; powerd takes it so only with signals.dsx.allow_unsigned"
            raise SignalRejectedError(Reason.UNSIGNED, text, label)
        return data


def _sender(topic: str) -> tuple[str, str]:
    """Return role and identifier of the participant that a topic belongs to."""
    role, identifier = topic.split("/")[2:4]
    if not 0 < len(identifier) <= MAX_IDENTIFIER_CHARACTERS or not identifier.isprintable():
        raise SignalRejectedError(Reason.SOURCE, "the identifier in the topic is too long, or not printable")
    return role, identifier
