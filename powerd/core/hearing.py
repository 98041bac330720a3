"""What comes in is taken in: messages, peers, events, meters; and what has ended, ends."""

from collections.abc import Iterable
from dataclasses import replace

from powerd.core.events.admission import admit_event
from powerd.core.events.grid_event import GridEvent
from powerd.core.events.schedule import EventRules, Schedule
from powerd.core.leases.leases import hear as hear_peers
from powerd.core.metering import meter
from powerd.core.model import Now
from powerd.core.rack import failsafe
from powerd.core.rack.admission import admit
from powerd.core.rack.advisory import keep
from powerd.core.rack.hearsay import adopt
from powerd.core.rack.timeline import STANDING, Timeline, Verdict, VerdictKind, lapse, with_standing
from powerd.core.rack.trust import Trust
from powerd.core.state import Config, Inputs, State

# The guard falls back by itself when a lease ends: powerd steps down this much earlier, so that the guard
# need not.
STEP_DOWN_LEAD_S = 0.25


def expire(state: State, now: Now, config: Config) -> State:
    """Let what ended while nobody decided end, at the time at which it did.

    So a loop that was away past the end of a lease finds itself in failsafe, as the guard does, and what it
    hears then is judged as heard in failsafe.
    """
    end_boot_s = max((s.end_boot_s for s in state.timeline.statements.values()), default=now.boot_s)
    if end_boot_s > now.boot_s:
        return state
    timeline = lapse(state.timeline, now.boot_s, config.failsafe.hold_s)
    ended = replace(now, boot_s=end_boot_s)
    phase = failsafe.step(state.failsafe, None, state.ramp.cap_mw, ended, config.failsafe)
    return state._replace(timeline=timeline, failsafe=phase)


def hear(inputs: Inputs, state: State, now: Now, config: Config) -> tuple[State, tuple[Verdict, ...]]:
    """Take in the messages, then drop what is over."""
    timeline, heard = state.timeline, state.heard
    if config.standing_mw is not None:
        lease_s = config.admission.max_lease_s
        timeline = with_standing(timeline, config.standing_mw, now.boot_s, lease_s)
        heard |= {STANDING}
    verdicts = []
    for message in inputs.messages:
        timeline, verdict = admit(timeline, message, config.admission, state.failsafe.since_boot_s)
        verdicts.append(verdict)
        # A forgery may bear the number of the last word without being it.
        if message.trust is not Trust.NONE and _is_newest(verdict, timeline):
            heard |= {verdict.source}
    timeline = lapse(timeline, now.boot_s + STEP_DOWN_LEAD_S, config.failsafe.hold_s)
    leases = hear_peers(state.leases, inputs.states, config.host) if inputs.states else state.leases
    for peer in inputs.states:
        if peer.budget is not None and peer.roster == config.roster and peer.host != config.host:
            timeline = adopt(timeline, peer.budget, config.admission, now.boot_s)
    schedule, about_events = _hear_events(state.schedule, inputs.events, config.events)
    signals = state.signals
    for signal in inputs.signals:
        signals = keep(signals, signal)
    updated = state._replace(
        signals=signals,
        timeline=timeline,
        heard=heard,
        leases=leases,
        schedule=schedule,
        meter=meter.hear(state.meter, inputs.meters, config.meter) if inputs.meters else state.meter,
    )
    return updated, (*verdicts, *about_events)


def _is_newest(verdict: Verdict, timeline: Timeline) -> bool:
    """Say whether a message, or its repetition, is the last word of its source."""
    seen = timeline.seen.get(verdict.source)
    is_seen = seen is not None and (seen.epoch, seen.seq) == (verdict.epoch, verdict.seq)
    return is_seen and verdict.kind is not VerdictKind.REJECTED


def _hear_events(
    schedule: Schedule, events: Iterable[GridEvent], rules: EventRules
) -> tuple[Schedule, list[Verdict]]:
    verdicts = []
    for event in events:
        schedule, verdict = admit_event(schedule, event, rules)
        verdicts.append(verdict)
    return schedule, verdicts
