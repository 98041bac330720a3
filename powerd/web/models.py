"""The JSON documents that the endpoint serves, as types: one place for names, units and meaning.

`/openapi.json` is generated from them. Unknown is always null: never zero, never an old number.
"""

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Scope: TypeAlias = Literal["rack", "host", "gpu"]


class Document(BaseModel):
    """Base of every document: immutable, and with no field that is not described."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ErrorDocument(Document):
    """Body of every answer that is not a success."""

    error: str = Field(description="One line: what is wrong and what to do")


class Health(Document):
    """Whether the control loop is alive."""

    healthy: bool = Field(description="The last iteration finished within three control periods")
    age_s: float | None = Field(description="Seconds since it finished; null before the first one")
    period_s: float | None = Field(description="Control period in seconds; null before the first iteration")


class Readiness(Document):
    """Whether the host is under control."""

    ready: bool = Field(description="Attached, with a fresh budget or a failsafe that was read back")
    reasons: list[str] = Field(description="What is missing, one line each; empty when ready")


class ChainStep(Document):
    """One link of the chain from the grid to a number of watts."""

    scope: Scope = Field(description="The level this step works on")
    rule: str = Field(description="Stable slug of the rule, for example hard_limit, budget, guard_band")
    watts: float = Field(description="The value after this step, in watts")
    source: str = Field(description="Whose number it is: a configuration key, a sender, or powerd")
    note: str = Field(description="One phrase for people; may be empty")
    until: str | None = Field(description="RFC 3339 time at which the step ends by itself, or null")
    remaining_s: float | None = Field(description="Seconds from now to `until`; null if it does not end")


class LeaseView(Document):
    """The budget in force and how long its sender is believed to be alive."""

    source: str = Field(description="The sender of the budget")
    epoch: int = Field(description="Start of the sender, Unix milliseconds")
    seq: int = Field(description="Number of the message within the epoch")
    watts: float | None = Field(description="The rack budget in watts; null: controlled, without a limit")
    reason: str = Field(description="What the sender gave as its reason; may be empty")
    correlation_id: str = Field(description="The sender's own mark of the message; may be empty")
    remaining_s: float = Field(description="Seconds until the lease is over; 0 when it is over")
    expires_at: str = Field(description="RFC 3339 time of the end, by this host's wall clock")


class WattLease(Document):
    """Watts that this host lends to another one of the rack, or borrows from it."""

    direction: Literal["lent", "borrowed"] = Field(description="Seen from this host")
    host: str = Field(description="The other host")
    watts: float = Field(description="How much")
    remaining_s: float = Field(
        description="Seconds until it ends unless it is renewed; a donor counts on for a while after that"
    )


class LendingView(Document):
    """How this host takes part in lending watts between the hosts of its rack."""

    taking_part: bool = Field(description="It may lend and borrow now")
    obstacle: str = Field(description="Why it does not; empty when it does")
    roster: str = Field(description="Digest of the [rack] table: hosts with different ones do not deal")
    memory_lost_s: float | None = Field(
        description="What was lent before the start is not known, so the floor holds: seconds it does so at "
        "least; null when nothing was forgotten"
    )
    lent_watts: float = Field(description="Sum of what is lent")
    borrowed_watts: float = Field(description="Sum of what is borrowed")
    given_up_watts: float = Field(
        description="Taken off what this host may draw, for a host that may still follow a higher budget"
    )


class PeerBudget(Document):
    """The budget that another host follows."""

    source: str = Field(description="The sender of the budget")
    watts: float | None = Field(description="The rack budget in watts; null: controlled, without a limit")


class PeerView(Document):
    """Another host of the rack, as its last message has it. Null throughout if it was never heard."""

    host: str = Field(description="Name in the roster")
    live: bool = Field(description="It was heard of late")
    age_s: float | None = Field(description="Seconds since it was heard; null if never")
    roster_agrees: bool | None = Field(description="Its [rack] table is the same as here")
    taking_part: bool | None = Field(description="It may lend and borrow")
    rack_cap_watts: float | None = Field(description="What the rack may draw in its view")
    share_watts: float | None = Field(description="What its share of that is worth: its entitlement")
    demand_watts: float | None = Field(description="What it would use if it could")
    spare_watts: float | None = Field(description="What it could lend, with what it has lent")
    lent_watts: float | None = Field(description="What it counts as lent, to all hosts together")
    worst_case_watts: float | None = Field(description="The most it may draw; null if it does not know")
    draw_watts: float | None = Field(description="What it draws; null if it does not know or is silent")
    over_watts: float | None = Field(
        description="How far that is above its share, with what it borrows and without what it lends"
    )
    budget: PeerBudget | None = Field(description="The budget it follows; null without one")


class BudgetView(Document):
    """The chain grid -> rack -> host -> GPUs. Watts at each level, and the steps that led there."""

    rack_watts: float = Field(description="What the rack may draw at its meter")
    usable_watts: float = Field(description="Of that, what the rack's hosts may draw together")
    entitlement_watts: float = Field(description="What this host's share of it is worth")
    host_watts: float = Field(description="What this host may draw: entitlement + borrowed - lent")
    overhead_watts: float = Field(description="What this host draws that is not GPU")
    gpus_watts: float = Field(description="What this host's GPUs may draw together")
    allocated_watts: float = Field(
        description="What is charged to it: limits, and the worst case of GPUs that cannot be limited"
    )
    draw_watts: float | None = Field(description="What the GPUs draw; null unless every GPU has a reading")
    chain: list[ChainStep] = Field(description="Rack steps, then host steps, in the order they were applied")
    lease: LeaseView | None = Field(description="The lease that the budget stands on; null without one")


class AccountingView(Document):
    """What GPUs are charged with, and how far the host may be above its GPUs' budget for that."""

    mode: Literal["provable", "measured"] = Field(
        description="provable: every GPU is charged its limit; measured: an idle one what it draws"
    )
    granted_watts: float = Field(description="Limits may sum up to so much above the GPUs' budget now")
    worst_excess_watts: float = Field(
        description="The most that may be drawn above it now if idle GPUs wake, ended grants included"
    )
    worst_excess_s: float = Field(
        description="The longest that this can last, even if the daemon dies; 0 with provable"
    )
    claw_back_s: float = Field(description="The longest that it lasts while the daemon runs; 0 with provable")
    excess_joules: float = Field(
        description="Watt-seconds drawn above the GPUs' budget since the daemon's start, at the most"
    )


class GpuView(Document):
    """One GPU: what it does, what it may do, and why."""

    uuid: str = Field(description="Identity of the GPU")
    index: int = Field(description="The driver's index; for people, it may change between boots")
    name: str = Field(description="Product name")
    state: Literal["ok", "hung", "lost"] = Field(description="Whether the driver answers for the GPU")
    capability: Literal["settable", "readable", "opaque", "lost"] = Field(
        description="What can be done with it"
    )
    reason: str = Field(description="Slug: the rule that set the limit last, or its state if that is not ok")
    demand: str = Field(description="unknown, idle, busy, capped, waking or held, by its readings")
    detail: str = Field(description="What the driver says of a GPU that is not ok; may be empty")
    draw_watts: float | None = Field(description="Instantaneous draw; null when there is no fresh reading")
    limit_watts: float | None = Field(description="The limit it shall have; null if it cannot be limited")
    enforced_watts: float | None = Field(description="The limit in effect; null without a fresh reading")
    requested_watts: float | None = Field(description="The limit that software on the host asked for last")
    worst_case_watts: float | None = Field(description="The most it may draw now; null when never known")
    want_watts: float | None = Field(description="What it would use if it could; null when not decided")
    min_watts: float | None = Field(description="Smallest limit the GPU accepts; null if it does not tell")
    max_watts: float | None = Field(description="Largest limit the GPU accepts; null if it does not tell")
    default_watts: float | None = Field(description="Limit after a driver load; null if it does not tell")
    age_s: float = Field(description="Seconds since the GPU was read")


class ProblemView(Document):
    """Something that is wrong, or was a moment ago."""

    event: str = Field(description="Stable slug, the same as in the log")
    severity: str = Field(description="info, warning or critical")
    subject: str = Field(description="GPU UUID, source or rule it is about; may be empty")
    text: str = Field(description="One line for people")
    first: str = Field(description="RFC 3339 time of the first occurrence")
    last: str = Field(description="RFC 3339 time of the latest occurrence")
    count: int = Field(description="Occurrences since `first`")


class EventView(Document):
    """A grid event that has a say in the rack cap now."""

    id: str = Field(description="The sender's name of the event")
    source: str = Field(description="Who sent it")
    event_class: str = Field(description="emergency, mandatory or voluntary")
    phase: Literal["active", "restoring"] = Field(description="restoring: over, the cap on its way back up")
    scope: Literal["site", "feed", "rack", "host"] = Field(description="What it is about")
    targets: list[str] = Field(description="Names of those; empty: all")
    cap_watts: float = Field(description="What it lets the rack draw now, on its way to the target")
    target_watts: float | None = Field(description="What its interval asks for; null when it asks nothing")
    baseline_watts: float | None = Field(description="What reductions count from")
    before_watts: float = Field(description="The rack cap before it started")
    starts: str = Field(description="RFC 3339 time of its start")
    ends: str | None = Field(description="RFC 3339 time of its end; null: until it is cancelled")
    changes: str | None = Field(description="RFC 3339 time at which some event changes next; null: none does")
    origin: str = Field(description="The standard and message it was made from; empty if native")


class SignalView(Document):
    """A price, or emissions: what energy costs or emits now. Kinds are never compared with each other."""

    kind: str = Field(description="ghg_marginal, ghg_average, price_spot, price_tariff or price_forecast")
    zone: str = Field(description="The part of the grid, as its sender calls it")
    value: float = Field(description="Grams of CO2 equivalent, or units of `currency`, per kWh")
    currency: str = Field(description="Three letters; empty for emissions")
    source: str = Field(description="Who says so")
    valid_until: str = Field(description="RFC 3339 time until which it counts")
    valid: bool = Field(description="It counts now, by this host's wall clock")


class MeterPart(Document):
    """One part of the rack that is metered: a feed, or a tap."""

    name: str = Field(description="As configured")
    usable: bool = Field(description="Fresh, of good quality, and a number")
    watts: float | None = Field(description="The last reading; null if it was no number")
    quality: str = Field(description="good, uncertain or bad, as the meter says; empty before the first")
    age_s: float | None = Field(description="Seconds since it was taken; null before the first")


class MeterView(Document):
    """What the whole rack draws."""

    watts: float | None = Field(description="All parts together; null if one is not known")
    source: Literal["meter", "hosts", ""] = Field(
        description="Who says so: the meter, or else the hosts with the rack's configured overhead"
    )
    accounted_watts: float | None = Field(description="What the hosts account for; null if one is silent")
    trim_watts: float = Field(description="Taken off the budget, for what is drawn and not accounted for")
    parts: list[MeterPart] = Field(description="As configured; empty without a meter")


class ShedView(Document):
    """How much less could be drawn, if it were asked for now."""

    watts: float | None = Field(description="What a meter would see go away; null if that is not known")
    limit_watts: float | None = Field(
        description="What limits could be lowered by: as much at full load; null if that is not known"
    )
    within_s: float = Field(description="How soon at the latest after it was asked for")
    for_s: float | None = Field(description="For how long; null: as long as it is asked for")


class ShedViews(Document):
    """How much less this host and its rack could draw."""

    host: ShedView = Field(description="This host's GPUs, down to their floors")
    rack: ShedView = Field(description="All hosts of the rack, down to their floors in the roster")


class GuardView(Document):
    """How the privileged process that writes the limits stands."""

    usable: bool = Field(description="It answers and takes plans")
    error: str = Field(description="Why it cannot be used; empty when it can")
    writes_forbidden: bool = Field(description="POWERD_FORBID_WRITES is set: it writes nothing")
    restarts: int = Field(description="Connections made to it after the first")
    fallbacks: int = Field(description="How often its dead-man's switch has fired since its start")


class ReactionView(Document):
    """How fast a message was obeyed."""

    seconds: float = Field(description="From message received to last cut read back")
    received_boot_s: float = Field(description="When it came in, seconds on this host's CLOCK_BOOTTIME")
    last_cut_boot_s: float = Field(description="When the last cut was read back, on the same clock")


class BusView(Document):
    """How the connection to the MQTT broker stands. A hint only: leases decide."""

    url: str = Field(description="The broker, without credentials")
    connected: bool = Field(description="Whether a session is open now")
    protocol: str = Field(description="MQTT version in use; empty before the first connection")
    error: str = Field(description="Why it is not connected; empty when it is")
    received: int = Field(description="Messages received since the start")
    rejected: int = Field(description="Messages rejected since the start")
    published: int = Field(description="Messages published since the start")


class DetachedView(Document):
    """The driver was given up on somebody's order."""

    since: str = Field(description="RFC 3339 time of the order")
    by: str = Field(description="Who gave it")
    reason: str = Field(description="What they gave as their reason")


class DrillView(Document):
    """Budgets are not heard, for practice."""

    until: str = Field(description="RFC 3339 time from which they are heard again")
    remaining_s: float = Field(description="Seconds until then")
    by: str = Field(description="Who gave the order")
    reason: str = Field(description="What they gave as their reason")
    dropped: int = Field(description="Budgets that arrived meanwhile")


class OverrideView(Document):
    """What one GPU shall have for a while, before all others, as far as the budget reaches."""

    uuid: str = Field(description="Identity of the GPU")
    index: int | None = Field(description="The driver's index; null if the GPU is not there")
    watts: float = Field(description="What it shall have")
    until: str = Field(description="RFC 3339 time at which that ends by itself")
    remaining_s: float = Field(description="Seconds until then")
    by: str = Field(description="Who gave the order")
    reason: str = Field(description="What they gave as their reason")


class OrdersDocument(Document):
    """Which orders of operators hold."""

    configured_mode: str = Field(description="What the configuration says; `mode` is what holds")
    released: bool = Field(description="Limits were put back as they were found; nothing is written since")
    detached: DetachedView | None = Field(description="The driver was given up; null: it was not")
    drill: DrillView | None = Field(description="Budgets are not heard, for practice; null: they are")
    overrides: list[OverrideView] = Field(description="By GPU")


class Status(Document):
    """Everything powerd knows, in one document."""

    v: Literal[1] = Field(description="Version of this document")
    version: str = Field(description="Version of powerd")
    site: str = Field(description="Site of the host")
    rack: str = Field(description="Rack of the host")
    host: str = Field(description="Name of the host in the roster")
    mode: str = Field(description="monitor, dry-run or enforce")
    state: Literal["init", "limited", "unlimited", "failsafe"] = Field(
        description="Where the host stands with its controller; init and failsafe mean the failsafe budget"
    )
    failsafe_cause: str = Field(description="Why the failsafe budget holds; empty when it does not")
    iteration: int = Field(description="Number of the iteration shown, from 1")
    at: str = Field(description="RFC 3339 time of the iteration")
    took_s: float = Field(description="Seconds that the iteration took, to its last read-back")
    age_s: float = Field(description="Seconds since the iteration finished")
    period_s: float = Field(description="The control period in seconds")
    stalled: bool = Field(description="No iteration has finished for three periods: readings are not shown")
    reaction: ReactionView | None = Field(
        description="The last time that a message led to cuts; null if none did yet"
    )
    compliant: bool = Field(description="Every worst case fits the GPU budget, and nothing is infeasible")
    infeasible_watts: float = Field(description="Watts the budget lies below what limiting can reach")
    budget: BudgetView = Field(description="The budget chain")
    accounting: AccountingView = Field(description="What is kept within the GPUs' budget: limits, or draw")
    gpus: list[GpuView] = Field(description="Every GPU of the host, by index")
    lending: LendingView | None = Field(
        description="How it takes part in lending watts between hosts; null where hosts do not lend"
    )
    leases: list[WattLease] = Field(description="Watts lent to and borrowed from other hosts of the rack")
    peers: list[PeerView] = Field(
        description="Every other host of the rack, in the order of the roster; empty where hosts do not lend"
    )
    events: list[EventView] = Field(description="Grid events with a say in the cap, the strictest first")
    signals: list[SignalView] = Field(description="Prices and emissions, the newest of each kind and zone")
    meter: MeterView | None = Field(description="What the rack draws; null: nobody tells")
    shed: ShedViews = Field(description="How much less could be drawn; 0 W unless the mode is enforce")
    orders: OrdersDocument = Field(description="What operators have ordered, as far as it holds")
    guard: GuardView = Field(description="The privileged process")
    bus: BusView = Field(description="The MQTT connection")
    errors: list[ProblemView] = Field(description="Problems, newest last")


class Explanation(Document):
    """Why one GPU has its limit."""

    uuid: str = Field(description="Identity of the GPU")
    index: int = Field(description="The driver's index")
    name: str = Field(description="Product name")
    limit_watts: float | None = Field(description="The limit it shall have; null if it cannot be limited")
    enforced_watts: float | None = Field(description="The limit in effect; null without a fresh reading")
    text: str = Field(description="The same as a paragraph for people")
    steps: list[ChainStep] = Field(description="Rack, then host, then GPU steps, in order")
