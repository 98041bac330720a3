"""The bridge's own configuration file: every key with its unit, range and default (config/openadr.toml).

It is no part of a host's configuration: one machine of a site runs the bridge. Nothing but this file is read,
so that a host's drop-ins and variables are not taken for the bridge's.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from powerd.core.events.grid_event import Baseline, EventClass, EventRamp, Level
from powerd.core.rack.advisory import SignalKind
from powerd.errors import ConfigError
from powerd.files.secret_file import check_secrets, secret
from powerd.openadr.options import (
    BridgeOptions,
    BudgetOptions,
    Program,
    ReportOptions,
    Rule,
    VtnOptions,
)
from powerd.openadr.web import check_url
from powerd.settings.errors import explain
from powerd.settings.layers import read_layers
from powerd.settings.tables import LogSettings, MqttSettings, Positive, Segment, Table

MAX_SOURCE_CHARACTERS = 24


def _short(value: str) -> str:
    if len(value) > MAX_SOURCE_CHARACTERS:
        raise ValueError(
            f"has more than {MAX_SOURCE_CHARACTERS} characters; the name of each event begins with it"
        )
    return value


Priority = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1, max_length=128)]
Source = Annotated[Segment, AfterValidator(_short)]
Ramp = Annotated[float, Field(ge=0, le=86400)]
DAY_S = 86400.0


class VtnSettings(Table):
    """The `[vtn]` table: where the VTN is, and who we are to it; see `VtnOptions`."""

    url: str
    client_id: Name
    client_secret_file: str
    token_url: str = ""
    scope: str = ""
    ven_name: Annotated[str, Field(max_length=128)] = ""
    ca_file: str = ""
    poll_s: Annotated[float, Field(ge=2, le=DAY_S)] = 60.0
    timeout_s: Annotated[float, Field(gt=0, le=300)] = 10.0
    notifier: bool = True
    max_skew_s: Positive = 30.0
    allow_plaintext: bool = False

    @model_validator(mode="after")
    def _addresses(self) -> Self:
        for key, url in (("vtn.url", self.url), ("vtn.token_url", self.token_url)):
            try:
                if url or key == "vtn.url":
                    check_url(key, url, allow_plaintext=self.allow_plaintext)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return self


class SiteSettings(Table):
    """The `[site]` table: the site, and our name in it.

    Attributes:
        signing_kid, signing_key_file: what events and budgets are signed with; both or none.
    """

    name: Segment
    source: Source = "openadr"
    state_dir: str = "/var/lib/powerd-openadr"
    signing_kid: str = ""
    signing_key_file: str = ""

    @model_validator(mode="after")
    def _a_key_has_a_name(self) -> Self:
        if bool(self.signing_kid) != bool(self.signing_key_file):
            raise ValueError("site.signing_kid and site.signing_key_file belong together: set both or none")
        return self


class RuleSettings(Table):
    """A rule for one payload type of a program; see `Rule`."""

    action: Literal["limit_watts", "reduce_watts", "reduce_pct", "level"]
    scale: float
    units: str = ""
    baseline: Literal["budget", "nameplate", "measured"] = "budget"

    @model_validator(mode="after")
    def _some_scale(self) -> Self:
        if not self.scale:
            raise ValueError("scale is 0: every value would mean the same")
        return self


class ProgramSettings(Table):
    """A program, under `[programs.NAME]`; see `Program`."""

    event_class: Literal["", "emergency", "mandatory", "voluntary", "advisory"] = ""
    priority: Priority | None = None
    alerts: Literal["advisory", "floor"] = "advisory"
    level: Literal["site", "feed", "rack"] = "site"
    targets: dict[str, tuple[Segment, ...]] = Field(default_factory=dict)
    ramp_down_s: Ramp = 0.0
    ramp_up_s: Ramp = 0.0
    ramp_up_jitter_s: Ramp = 0.0
    zone: Segment | Literal[""] = ""
    price_kind: Literal["tariff", "spot", "forecast"] = "tariff"
    rules: dict[str, RuleSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _targets_at_a_level(self) -> Self:
        if self.targets and self.level == "site":
            raise ValueError('targets need level = "feed" or "rack"; at "site" there is nothing to choose')
        return self


class ReportSettings(Table):
    """The `[reports]` table; see `ReportOptions`."""

    every_s: Annotated[float, Field(ge=0, le=DAY_S)] = 60.0
    unasked: bool = False
    resource_name: Name = "AGGREGATED_REPORT"
    racks: tuple[Segment, ...] = ()


class BudgetSettings(Table):
    """The `[budget]` table; see `BudgetOptions`."""

    racks: dict[Segment, Annotated[float, Field(gt=0, le=1)]] = Field(default_factory=dict)
    priority: Priority = 200
    lease_s: Annotated[float, Field(ge=15, le=300)] = 60.0


class Settings(Table):
    """The whole file."""

    vtn: VtnSettings
    site: SiteSettings
    mqtt: MqttSettings
    programs: dict[str, ProgramSettings] = Field(default_factory=dict)
    reports: ReportSettings = ReportSettings()
    budget: BudgetSettings = BudgetSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _a_broker(self) -> Self:
        if not self.mqtt.url:
            raise ValueError("mqtt.url is not set: name the site's broker")
        return self

    @property
    def client_id(self) -> str:
        """Return the MQTT client identifier, stable so that a new connection replaces an old one."""
        return self.mqtt.client_id or f"powerd-{self.site.name}-{self.site.source}"


def load(path: Path) -> Settings:
    """Read and validate the file.

    Raises:
        ConfigError: one line per problem: where, which key, what is wrong, what to do.
    """
    layers = read_layers(path, drop_ins=False)
    try:
        settings = Settings.model_validate(layers[0].tree)
    except ValidationError as error:
        # Without its cause, which repeats what was given, and that may be a secret in the wrong place.
        raise ConfigError("\n".join(explain(error, layers, Settings))) from None
    secrets = {
        "site.signing_key_file": settings.site.signing_key_file,
        "vtn.client_secret_file": settings.vtn.client_secret_file,
        "mqtt.password_file": settings.mqtt.password_file,
        "mqtt.key_file": settings.mqtt.key_file,
    }
    check_secrets(path, secrets)
    return settings


def bridge_options(settings: Settings) -> BridgeOptions:
    """Return the options of the bridge."""
    site, reports, budget = settings.site, settings.reports, settings.budget
    return BridgeOptions(
        site=site.name,
        source=site.source,
        programs={name: _program(table, site.name) for name, table in settings.programs.items()},
        others=None if settings.programs else Program(zone=site.name),
        reports=ReportOptions(reports.every_s, reports.unasked, reports.resource_name, reports.racks),
        budget=BudgetOptions(dict(budget.racks), budget.priority, budget.lease_s),
        poll_s=settings.vtn.poll_s,
        use_notifier=settings.vtn.notifier,
    )


def vtn_options(settings: Settings) -> VtnOptions:
    """Return where the VTN is, with the secret read.

    Raises:
        ConfigError: the secret cannot be read, or is empty.
    """
    vtn = settings.vtn
    client_secret = secret(vtn.client_secret_file)
    if not client_secret:
        raise ConfigError(f"vtn.client_secret_file {vtn.client_secret_file} is empty")
    return VtnOptions(
        url=vtn.url.rstrip("/"),
        client_id=vtn.client_id,
        client_secret=client_secret,
        ven_name=vtn.ven_name or f"powerd-{settings.site.name}",
        token_url=vtn.token_url,
        scope=vtn.scope,
        ca_file=vtn.ca_file,
        timeout_s=vtn.timeout_s,
        max_skew_s=vtn.max_skew_s,
        allow_plaintext=vtn.allow_plaintext,
    )


def _program(table: ProgramSettings, site: str) -> Program:
    return Program(
        event_class=EventClass(table.event_class) if table.event_class else None,
        priority=table.priority,
        alerts_floor=table.alerts == "floor",
        level=Level(table.level),
        targets=dict(table.targets),
        ramp=EventRamp(table.ramp_down_s, table.ramp_up_s, table.ramp_up_jitter_s),
        zone=table.zone or site,
        price_kind=SignalKind(f"price_{table.price_kind}"),
        rules={
            kind: Rule(rule.action, rule.scale, rule.units, Baseline(rule.baseline))
            for kind, rule in table.rules.items()
        },
    )
