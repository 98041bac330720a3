"""The documents about grid events: which there are, and what came of one.

Numbers are defined in docs/proof-of-response.md; what is not known is null, never zero.
"""

from typing import Literal, TypeAlias

from pydantic import Field

from powerd.web.models import Document

Phase: TypeAlias = Literal["pending", "active", "restoring", "ended", "cancelled", "set_aside"]


class GridEventView(Document):
    """A grid event: one that is held, or one that is over and recorded."""

    id: str = Field(description="source/event_id; a report goes by it")
    source: str = Field(description="Who sent it")
    event_id: str = Field(description="Its name at the sender")
    event_class: str = Field(description="emergency, mandatory, voluntary or advisory")
    phase: Phase = Field(
        description="set_aside: in its time, and without a say: it is between two intervals, another event "
        "took its place, its source withdrew it, or this host does not follow it"
    )
    start: str = Field(description="RFC 3339 time at which its first interval starts")
    end: str | None = Field(description="The same of the end of its last interval; null if it is open")
    intervals: int = Field(description="How many intervals it has")
    scope: str = Field(description="site, feed, rack or host")
    targets: list[str] = Field(description="Names at that level; empty: all of them")
    asks: str = Field(description="What it asks of its scope, interval by interval, the first few in words")
    target_watts: float | None = Field(
        description="What it asks of the rack now, or asked last; null if it never did, or sets no limit"
    )
    cap_watts: float | None = Field(
        description="What it lets the rack draw now, on its ramp; null without a say"
    )
    baseline_watts: float | None = Field(description="What its reductions count from; null without a say")
    best_effort: bool = Field(description="As its sender said; without effect")
    origin: str = Field(description="The standard and message it was made from; empty if native")
    recorded: bool = Field(description="There is a report on it")


class EventList(Document):
    """Grid events, those with a say first, then those to come, then those of the past, the latest first."""

    v: Literal[1] = Field(description="Version of this document")
    at: str = Field(description="RFC 3339 time of the iteration")
    ledger_error: str = Field(description="Why events of the past are missing here; empty if they are not")
    events: list[GridEventView] = Field(description="The events")


class IntervalView(Document):
    """What came of one interval of an event."""

    index: int = Field(description="Which interval, from 0")
    scheduled_start: str = Field(description="RFC 3339 time at which it was to start")
    scheduled_end: str | None = Field(description="The same of its end; null if it is open")
    start: str = Field(description="RFC 3339 time from which it had a say")
    end: str = Field(description="Until when it had; while it still has, until when its draw is known")
    over: bool = Field(description="It has no say any more")
    target_watts: float | None = Field(description="What it asked of the rack; null: no limit")
    baseline_watts: float | None = Field(description="What its reduction counts from; null if it is none")
    mean_watts: float | None = Field(description="Mean draw of the rack over the known time")
    measured_by: str = Field(description="meter, hosts, meter+hosts or unknown")
    known_pct: float | None = Field(description="Share of the time in which the draw is known")
    time_to_target_s: float | None = Field(
        description="From the scheduled start, or the receipt if that was later, until the draw was at the "
        "target, with its tolerance, and stayed so for 10 s; null if it was not"
    )
    late_s: float | None = Field(description="The same without the event's own ramp, at least 0")
    overshoot_watt_seconds: float | None = Field(description="Energy above the event's ramped cap")
    missed_watts: float | None = Field(description="Mean of what was drawn above the target after the ramp")
    missed_pct: float | None = Field(
        description="Share of the known time after the ramp above target and tolerance"
    )
    within_pct: float | None = Field(
        description="Share of the known time within the ramped cap and the tolerance"
    )
    compliant: bool | None = Field(
        description="Mean and share of time were good enough; null: too little known"
    )
    shed_kwh: float | None = Field(description="Energy below the baseline; null without one")


class LedgerProof(Document):
    """Where the report comes from, and that nothing of it was changed since."""

    first_entry: int = Field(description="Number of the first entry of the ledger that was used")
    last_entry: int = Field(description="Number of the last one")
    digest: str = Field(description="SHA-256 chain up to the last one, in hexadecimal: keep it")
    intact: bool = Field(description="Nothing from the first to the last was changed, left out or put in")
    cut: bool = Field(description="There is more than one report is made of; the later part is missing here")


class ReportTerms(Document):
    """What counts as obeyed."""

    tolerance_pct: float = Field(description="Draw so much above a target is at the target")
    within_pct: float = Field(description="Share of the known time that has to be within the cap")
    known_pct: float = Field(description="Share of the time that has to be known")


class EventReportView(Document):
    """The proof of response of one event."""

    v: Literal[1] = Field(description="Version of this document")
    id: str = Field(description="source/event_id")
    site: str = Field(description="Site of the rack")
    rack: str = Field(description="The rack whose draw is meant throughout")
    host: str = Field(description="The host that recorded it")
    modes: list[str] = Field(description="What powerd did with its decisions: only enforce obeys")
    event_class: str = Field(description="emergency, mandatory, voluntary or advisory")
    scope: str = Field(description="site, feed, rack or host; one of a host is not judged by the rack's draw")
    origin: str = Field(description="The standard and message it was made from; empty if native")
    received: str = Field(description="RFC 3339 time at which it, as it was asked for last, was received")
    started: str = Field(description="RFC 3339 time from which it had a say")
    ended: str | None = Field(description="The same, when it asked for nothing more; null while it does")
    restored: str | None = Field(description="The same, when the way back up was done")
    reason: Literal["ended", "cancelled", "set_aside"] | None = Field(description="Why it ended; null before")
    ramp_down_s: float = Field(description="The event's own ramp down")
    before_cap_watts: float = Field(description="What the rack might draw before it")
    before_mean_watts: float | None = Field(description="Mean draw in the ten minutes before")
    before_peak_watts: float | None = Field(description="Highest draw in the ten minutes before")
    before_known_pct: float | None = Field(description="Share of these ten minutes that is known")
    intervals: list[IntervalView] = Field(description="Its intervals, in the order in which they had a say")
    known_pct: float | None = Field(description="Share of the whole event in which the draw is known")
    shed_kwh: float | None = Field(description="Energy below the event's own baseline; null without one")
    shed_against_before_kwh: float | None = Field(
        description="Energy below the mean draw of the ten minutes before"
    )
    peak_after_watts: float | None = Field(
        description="Highest draw from the end until 15 min after the way back up was done"
    )
    rebound_watts: float | None = Field(
        description="How far that is above the highest draw before, at least 0"
    )
    compliant: bool | None = Field(description="Every interval with a target is; null: not known")
    clock_steps: int = Field(description="How often the wall clock was set meanwhile: times are doubtful")
    lost_entries: int = Field(description="Entries that could not be written meanwhile")
    terms: ReportTerms = Field(description="What counts as obeyed here")
    ledger: LedgerProof = Field(description="Where this comes from")
