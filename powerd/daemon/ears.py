"""All that the daemon listens to, by its configuration."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from powerd.clock import Clock
from powerd.core.events.grid_event import GridEvent
from powerd.core.leases.host_state import HostState
from powerd.core.metering.meter import MeterAlive, MeterReading
from powerd.core.model import Notice
from powerd.core.rack.advisory import AdvisorySignal
from powerd.core.rack.timeline import STANDING, BudgetMessage, Timeline, only_from
from powerd.core.state import Config
from powerd.dsx.load_target import SOURCE_PREFIX
from powerd.dsx.traces import Traces
from powerd.meters import dsx_bms
from powerd.meters.listener import MeterListener
from powerd.settings.model import Settings
from powerd.settings.rules import meter_options
from powerd.signals.listener import AdvisoryListener, BudgetListener, Ear, EventListener, Hooks, PeerListener
from powerd.signals.topics import Topics
from powerd.signals.turnstile import thinned
from powerd.signatures.envelope import Envelopes
from powerd.signatures.rack_secret import read_rack_secret


@dataclass(frozen=True, slots=True)
class Sinks:
    """Where what was heard goes.

    Attributes:
        rejected: counts a refusal, by source and reason.
        traces: remember which trace a load target belongs to.
    """

    budget: Callable[[BudgetMessage], None]
    event: Callable[[GridEvent], None]
    state: Callable[[HostState], None]
    meter: Callable[[MeterReading | MeterAlive], None]
    signal: Callable[[AdvisorySignal], None]
    notice: Callable[[Notice], None]
    rejected: Callable[[str, str], None]
    traces: Traces


def named_senders(settings: Settings) -> frozenset[str]:
    """Return all whom the configuration names, as refusals of what they send are counted."""
    signals = settings.signals
    isvs = {*signals.dsx.isvs, *(key.source.rsplit("/", 1)[1] for key in signals.dsx.keys.values())}
    return frozenset(
        {
            *signals.native.sources,
            *signals.events.sources,
            *(key.source for table in (signals.native, signals.events) for key in table.keys.values()),
            *signals.advisory.sources,
            *settings.rack.hosts,
            *signals.meters.parts,
            *({dsx_bms.SOURCE} if signals.meters.parts else ()),
            *(f"{SOURCE_PREFIX}{isv}" for isv in isvs),
        }
    )


def listened_to(settings: Settings, timeline: Timeline) -> Timeline:
    """Drop what was said by senders that the configuration does not listen to any more."""
    native = settings.signals.native
    if native.unsigned_may == "refuse":
        timeline = replace(timeline, unsigned={})
    if native.enabled and not native.sources:
        known = timeline.seen.keys() | timeline.ceilings.keys() | timeline.unsigned.keys()
        return only_from(timeline, known - {STANDING})
    return only_from(timeline, native.sources if native.enabled else ())


def meter_ear(
    settings: Settings, config: Config, topics: Topics, clock: Clock, sinks: Sinks
) -> MeterListener | None:
    """Return what listens to the rack's meters, and remembers what they have said; None if there are none."""
    meters = meter_options(settings)
    if not meters.parts:
        return None
    return MeterListener(
        meters,
        topics=topics,
        hard_limit_mw=config.rack.hard_limit_mw,
        clock=clock,
        hooks=Hooks(sinks.meter, sinks.notice, sinks.rejected),
    )


def ears(
    settings: Settings,
    config: Config,
    topics: Topics,
    clock: Clock,
    sinks: Sinks,
    meters: MeterListener | None,
) -> list[Ear]:
    """Return what listens, the busiest first.

    What can ask for a cut is read whatever comes. Of the rest, a flood costs watts or comfort: it is thinned.

    Args:
        meters: as `meter_ear` returned it.

    Raises:
        ConfigError: a file that the configuration names cannot be used.
    """
    signals, hard_limit_mw = settings.signals, config.rack.hard_limit_mw
    told = (sinks.notice, sinks.rejected)
    found: list[Ear] = []
    if signals.native.enabled:
        found.append(
            BudgetListener(
                topics=topics,
                hard_limit_mw=hard_limit_mw,
                sources=signals.native.sources,
                clock=clock,
                hooks=Hooks(sinks.budget, *told),
                envelopes=Envelopes(signals.native.keys, "signals.native.keys"),
                unsigned=signals.native.unsigned_may,
            )
        )
    if config.has_peers:
        found.append(
            thinned(
                PeerListener(
                    topics=topics,
                    rack=config.rack,
                    clock=clock,
                    hooks=Hooks(sinks.state, *told),
                    secret=read_rack_secret(settings.rack.leases.key_file),
                ),
                sinks.notice,
            )
        )
    if signals.events.enabled:
        found.append(
            EventListener(
                topics=topics,
                hard_limit_mw=hard_limit_mw,
                sources=signals.events.sources,
                clock=clock,
                hooks=Hooks(sinks.event, *told),
                envelopes=Envelopes(signals.events.keys, "signals.events.keys"),
            )
        )
    if signals.dsx.enabled:
        from powerd.dsx.wiring import dsx_listener  # noqa: PLC0415 - cryptography is only for those who need it

        hooks = Hooks(sinks.event, *told)
        found.append(dsx_listener(settings, config, clock=clock, traces=sinks.traces, hooks=hooks))
    if meters is not None:
        found.append(thinned(meters, sinks.notice))
    if signals.advisory.enabled:
        found.append(
            thinned(
                AdvisoryListener(
                    topics=topics, sources=signals.advisory.sources, hooks=Hooks(sinks.signal, *told)
                ),
                sinks.notice,
            )
        )
    return found
