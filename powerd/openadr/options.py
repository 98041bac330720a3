"""What the bridge is told by its configuration; units in the names, defaults where there are any."""

from dataclasses import dataclass, field

from powerd.core.events.grid_event import Baseline, EventClass, EventRamp, Level
from powerd.core.rack.advisory import SignalKind

# How a payload type without a fixed meaning is obeyed.
ACTIONS = ("limit_watts", "reduce_watts", "reduce_pct", "level")


@dataclass(frozen=True, slots=True)
class Rule:
    """What a payload type means in a program, where OpenADR leaves that open.

    Attributes:
        action: one of `ACTIONS`.
        scale: watts, per cent or levels for each unit of the payload; negative where less load is written as
            a negative number.
        units: what the payload's descriptor must say; empty = anything.
        baseline: what a reduction counts from.
    """

    action: str
    scale: float
    units: str = ""
    baseline: Baseline = Baseline.BUDGET


@dataclass(frozen=True, slots=True)
class Program:
    """How the events of a program are obeyed.

    Attributes:
        event_class: None = as the payload type says.
        priority: in place of the events' own; None = theirs.
        alerts_floor: an alert of a grid emergency or a black start brings the racks to their floors.
        level, targets: what its events are about. `targets` gives our names for the VTN's; an event without
            any of them is about the whole site.
        zone: of its prices and emissions; empty = they are not published.
        price_kind: what its prices are.
        rules: by payload type.
    """

    event_class: EventClass | None = None
    priority: int | None = None
    alerts_floor: bool = False
    level: Level = Level.SITE
    targets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ramp: EventRamp = field(default_factory=EventRamp)
    zone: str = ""
    price_kind: SignalKind = SignalKind.PRICE_TARIFF
    rules: dict[str, Rule] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VtnOptions:
    """Where the VTN is, and who we are to it.

    Attributes:
        url: the API's base, without a slash at its end.
        token_url: where access tokens come from; empty = the VTN is asked.
        scope: of the token; empty = the server's default.
        ven_name: registered at the VTN unless it is known there.
        ca_file: PEM; empty = the system's authorities.
        timeout_s: of one request.
        max_skew_s: a VTN whose clock differs more is noticed.
        allow_plaintext: http:// to another machine.
    """

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    ven_name: str
    token_url: str = ""
    scope: str = ""
    ca_file: str = ""
    timeout_s: float = 10.0
    max_skew_s: float = 30.0
    allow_plaintext: bool = False


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What is reported back.

    Attributes:
        every_s: so often; 0 = never.
        unasked: also for events that ask for no report.
        racks: whose sum is reported; empty = all that are heard.
    """

    every_s: float = 60.0
    unasked: bool = False
    resource_name: str = "AGGREGATED_REPORT"
    racks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BudgetOptions:
    """The site's subscribed capacity as budgets of its racks; see `powerd.openadr.advice`.

    Attributes:
        racks: rack to its part of the capacity, 0..1; empty = no budgets.
    """

    racks: dict[str, float] = field(default_factory=dict)
    priority: int = 200
    lease_s: float = 60.0


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """The whole bridge.

    Attributes:
        source: our name on the site's topics, and in its events.
        programs: by name or identifier.
        others: how programs that are not among them are obeyed; None = not at all.
        poll_s: the VTN is asked so often, notified or not.
        use_notifier: listen to the VTN's own broker, if it has one.
    """

    site: str
    source: str
    programs: dict[str, Program] = field(default_factory=dict)
    others: Program | None = None
    reports: ReportOptions = ReportOptions()
    budget: BudgetOptions = BudgetOptions()
    poll_s: float = 60.0
    use_notifier: bool = True
