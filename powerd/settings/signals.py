"""The `[signals]` tables of the configuration: what powerd listens to, and how far it goes by it."""

from collections.abc import Collection, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from powerd.settings.tables import FeedName, NotNegative, Positive, Segment, Table

Qos = Literal[0, 1, 2]
# Of the DSX Flex schema, from least to most disruptive.
InfrastructureAction = Literal["SHUTDOWN_NODES", "SHUTDOWN_RACKS", "CUT_DATA_FEEDS", "TRIP_BREAKERS"]
Unsigned = Literal["accept", "lower_only", "refuse"]
WholePercent = Annotated[float, Field(ge=0, le=100)]


class SourceKeySettings(Table):
    """A public key, below the `keys` of a kind of message under its `kid`: a file, and whom it speaks for."""

    file: str
    source: Annotated[str, Field(min_length=1, max_length=64)]


def _check_signers(table: str, keys: Mapping[str, SourceKeySettings], sources: Collection[str]) -> None:
    """Refuse a key of somebody who is not listened to: what it signs would never count."""
    for kid, entry in keys.items():
        if sources and entry.source not in sources:
            raise ValueError(f'{table}.keys.{kid}: its source "{entry.source}" is not in {table}.sources')


class NativeSettings(Table):
    """The `[signals.native]` table: budgets on the rack's own topic.

    Attributes:
        enabled: somebody publishes budgets; else `rack.default_watts`, or the failsafe, is the budget.
        sources: senders whose budgets count; empty = any.
        max_skew_s: a message whose stamps differ more from our synchronised clock may only lower.
        unsigned: what becomes of budgets that nobody has signed; None = they are accepted as long as no key
            is configured, and may only lower once one is. In the name of who has a key they never do more.
    """

    enabled: bool = True
    sources: tuple[str, ...] = ()
    max_skew_s: NotNegative = 30.0
    unsigned: Unsigned | None = None
    keys: dict[str, SourceKeySettings] = Field(default_factory=dict)

    @property
    def unsigned_may(self) -> Unsigned:
        """Return what becomes of budgets that nobody has signed."""
        return self.unsigned or ("lower_only" if self.keys else "accept")

    @model_validator(mode="after")
    def _somebody_can_sign(self) -> Self:
        if self.unsigned not in (None, "accept") and not self.keys:
            raise ValueError(
                f'signals.native.unsigned = "{self.unsigned}" without a key: nobody could raise a limit; add '
                "[signals.native.keys], or remove it"
            )
        return self

    @model_validator(mode="after")
    def _who_signs_is_listened_to(self) -> Self:
        _check_signers("signals.native", self.keys, self.sources)
        return self


class EventSettings(Table):
    """The `[signals.events]` table: grid events on the site's own topic.

    Attributes:
        sources: senders whose events count; empty = any.
        obey_voluntary: follow events that may be opted out of.
        levels_pct: by how much shed levels 0 to 3 lower the cap, in percent of the baseline; 100 = floor.
        unsynced_s: while no time service keeps the clock, events start so much earlier and end so much later.
        keys: who has one here signs; what others send needs no signature, since it only lowers.
    """

    enabled: bool = True
    sources: tuple[str, ...] = ()
    obey_voluntary: bool = True
    levels_pct: tuple[WholePercent, WholePercent, WholePercent, WholePercent] = (0.0, 10.0, 25.0, 100.0)
    unsynced_s: NotNegative = 30.0
    keys: dict[str, SourceKeySettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _who_signs_is_listened_to(self) -> Self:
        _check_signers("signals.events", self.keys, self.sources)
        return self


class AdvisorySettings(Table):
    """The `[signals.advisory]` table: prices and emissions, which lower the cap only if an operator says so.

    Attributes:
        sources: senders whose signals count; empty = any.
        zone: whose signals the band goes by.
        band_pct: the cap is lowered by this much while a threshold is passed; 0 = signals are only shown.
        price_above: in `currency` per kWh; None = prices lower nothing.
        ghg_above_g_per_kwh: None = emissions lower nothing.
    """

    enabled: bool = True
    sources: tuple[str, ...] = ()
    zone: str = ""
    band_pct: WholePercent = 0.0
    price_above: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    price_kind: Literal["spot", "tariff"] = "spot"
    currency: Annotated[str, Field(pattern=r"^([A-Z]{3})?$")] = ""
    ghg_above_g_per_kwh: Annotated[float, Field(ge=0, le=10_000)] | None = None
    ghg_kind: Literal["marginal", "average"] = "marginal"


class MeterPartSettings(Table):
    """One table below `[signals.meters.parts]`; see `powerd.meters.options`.

    Attributes:
        adapter: how it speaks; each adapter has keys of its own.
    """

    adapter: Literal["native", "dsx-bms", "generic"]
    feed: str = ""
    object_id: str = ""
    rack_location: str = ""
    point: str = ""
    topic: str = ""
    value: str = ""
    unit: str = "W"
    scale: float = 1.0
    time: str = ""
    time_format: str = "none"
    quality: str = ""
    good: tuple[str | int | float | bool | None, ...] = ()
    liveness_topic: str = ""
    dead: tuple[str, ...] = ("offline", "false")


class DsxBmsSettings(Table):
    """The `[signals.meters.dsx]` table; see `powerd.meters.options.DsxOptions`."""

    prefix: str = "BMS/v1/PUB"
    heartbeat: str = "#"
    use_timestamps: bool = True


class MeterSettings(Table):
    """The `[signals.meters]` table; see `powerd.core.metering.meter.MeterRules`.

    Attributes:
        least_watts: a smaller reading, not 0, has the wrong unit; None = a thousandth of the hard limit.
        parts: feeds or taps, whose sum is the rack's power; empty = the rack has no meter.
    """

    fresh_s: Annotated[float, Field(ge=1, le=60)] = 5.0
    alive_s: Annotated[float, Field(ge=10, le=300)] = 30.0
    value_s: Annotated[float, Field(ge=1, le=600)] = 130.0
    max_trim_pct: Annotated[float, Field(ge=0, le=50)] = 20.0
    least_watts: NotNegative | None = None
    dsx: DsxBmsSettings = DsxBmsSettings()
    parts: dict[Segment, MeterPartSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _a_value_lasts_longer_than_it_is_fresh(self) -> Self:
        if self.value_s < self.fresh_s:
            raise ValueError(f"signals.meters.value_s {self.value_s:g} is less than fresh_s {self.fresh_s:g}")
        return self


class BreachSettings(Table):
    """The `[signals.dsx.breach]` table; see `powerd.core.dsx.breach.BreachRules`."""

    threshold_pct: NotNegative = 5.0
    hold_s: NotNegative = 10.0
    escalate_after_s: NotNegative = 60.0
    clear_s: NotNegative = 10.0
    repeat_s: Positive = 60.0


class DsxKeySettings(Table):
    """A public key, below `[signals.dsx.keys]` under its `kid`: a PEM or JWK file, and whom it speaks for."""

    file: str
    source: Annotated[str, Field(pattern=r"^//grid/v1/(isv|infra)/[^/]+$")]


class DsxSettings(Table):
    """The `[signals.dsx]` table: this rack as a DSX Flex agent (docs/dsx-flex.md).

    Attributes:
        identifier: of the agent, unique on the broker; empty = site-rack.
        role: in the topics that are published.
        isvs: energy services that are listened to; empty = all that the broker lets through.
        other_feeds: feed tags of the site that are none of this rack's business.
        allow_unsigned: take plain data from senders that have no key here.
        signing_kid, signing_key_file: what is published is signed with; both or none.
        infrastructure_actions: what infrastructure agents may do about a breach, least disruptive first.
    """

    enabled: bool = False
    identifier: Annotated[str, Field(max_length=64, pattern=r"^[^/+#]*$")] = ""
    role: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^/+#]+$")] = "dsx-flex-agent"
    isvs: tuple[Annotated[str, Field(min_length=1, max_length=59, pattern=r"^[^/+#]+$")], ...] = ()
    other_feeds: tuple[FeedName, ...] = ()
    allow_unsigned: bool = False
    signing_kid: str = ""
    signing_key_file: str = ""
    status_every_s: Positive = 60.0
    status_qos: Qos = 1
    breach_qos: Qos = 2
    infrastructure_actions: tuple[InfrastructureAction, ...] = ("SHUTDOWN_NODES", "SHUTDOWN_RACKS")
    breach: BreachSettings = BreachSettings()
    keys: dict[str, DsxKeySettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _a_key_has_a_name(self) -> Self:
        if bool(self.signing_kid) != bool(self.signing_key_file):
            raise ValueError(
                "signals.dsx.signing_kid and signals.dsx.signing_key_file belong together: set both or none"
            )
        return self


class SignalSettings(Table):
    """The `[signals]` tables."""

    native: NativeSettings = NativeSettings()
    events: EventSettings = EventSettings()
    dsx: DsxSettings = DsxSettings()
    meters: MeterSettings = MeterSettings()
    advisory: AdvisorySettings = AdvisorySettings()
