"""The whole configuration: validated, with the place of every value, and as the core's records.

Invariant: settings that `load` returned are usable: a rack made of them is feasible (I7), and no unknown key,
unknown variable or unreadable file was passed over. Building `Settings` directly reads neither files nor the
environment. The `[gpu]` and `[guard]` tables are the guard's own dataclasses, so each key has one definition.
"""

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from powerd.core.leases import LeaseRules
from powerd.core.schedule import EventRules
from powerd.core.topology import GpuPolicies, GpuPolicy, Host, Rack
from powerd.core.units import milliwatts
from powerd.errors import ConfigError
from powerd.guard.config import GpuConfig, GuardConfig
from powerd.layers import Key, merge, origin, read_layers
from powerd.settings_errors import explain
from powerd.settings_signals import SignalSettings
from powerd.settings_tables import (
    ControlSettings,
    HostSettings,
    HttpSettings,
    LogSettings,
    MqttSettings,
    RackSettings,
)

# systemd makes these readable for the unit alone and shows their ACL as group bits (systemd.exec(5)).
CREDENTIALS_DIRECTORY = "/run/credentials/"
# Sums of decimal fractions are off by less.
_ROUNDING_S = 1e-6


class Settings(BaseSettings):
    """The whole configuration, validated."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    host: HostSettings
    rack: RackSettings
    control: ControlSettings = ControlSettings()
    gpu: GpuConfig = GpuConfig()
    guard: GuardConfig = GuardConfig()
    signals: SignalSettings = SignalSettings()
    mqtt: MqttSettings = MqttSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the caller alone: `load` merges the sources, and remembers where each stood."""
        return (init_settings,)

    @model_validator(mode="after")
    def _someone_to_listen_to(self) -> Self:
        if self.signals.native.enabled and not self.mqtt.url:
            raise ValueError("mqtt.url is not set: name the broker, or set signals.native.enabled = false")
        return self

    @model_validator(mode="after")
    def _one_standing_budget(self) -> Self:
        native = self.signals.native
        if self.rack.default_watts is not None and native.enabled and native.budgets:
            raise ValueError(
                "rack.default_watts is the budget where nobody publishes any: set signals.native.budgets = "
                "false, or remove it"
            )
        return self

    @property
    def client_id(self) -> str:
        """Return the MQTT client identifier, stable per host so that a new connection replaces an old one."""
        return self.mqtt.client_id or f"powerd-{self.host.site}-{self.host.rack}-{self.host.name}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where they came from.

    Attributes:
        origins: dotted key to "file:line", "environment VARIABLE", "flag" or "default", for every key.
    """

    settings: Settings
    origins: dict[str, str]


def read(
    path: Path, overrides: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Loaded:
    """Read and validate all settings key by key, without asking whether the rack is feasible.

    Raises:
        ConfigError: one line per problem: where, which key, what is wrong, what to do.
    """
    layers = read_layers(path, overrides, environment)
    try:
        settings = Settings(**merge(layers))
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, layers, Settings))) from error
    secrets = {"mqtt.password_file": settings.mqtt.password_file, "mqtt.key_file": settings.mqtt.key_file}
    problems = [
        f"{path}: {key}: {text}" for key, file in secrets.items() if (text := problem_of_secret(file))
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    keys = (key for key, _ in leaves(settings.model_dump()))
    return Loaded(settings, {".".join(key): origin(layers, key) for key in keys})


def load(
    path: Path, overrides: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Loaded:
    """Read, validate, and prove that the rack is feasible and this host belongs to it.

    Args:
        path: the main file; `conf.d/*.toml` beside it is read too, in lexical order.
        overrides: dotted key to value, from flags; None as a value means the flag was not given.
        environment: variables to look through for `POWERD_*`, normally `os.environ`.

    Raises:
        ConfigError: one line per problem: where, which key, what is wrong, what to do.
    """
    loaded = read(path, overrides, environment)
    prove(path, loaded.settings)
    return loaded


def prove(path: Path, settings: Settings) -> None:
    """Prove what no single key shows: the rack is feasible, this host is in it, its times fit together.

    Raises:
        ConfigError: it is not so; one line per problem, with the file and the keys.
    """
    problems = []
    for record in (rack, gpu_policies, lease_rules):
        try:
            record(settings)
        except ConfigError as error:
            problems += [f"{path}: {line}" for line in str(error).splitlines()]
    if problems:
        raise ConfigError("\n".join(problems))


def leaves(tree: Mapping[str, Any], above: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Yield every key that is not a table, with its value; an empty table counts as a value."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name), value


def problem_of_secret(file: str) -> str:
    """Return why a file cannot hold a secret; empty if it can, or if none is configured."""
    # A credential exists only while its unit runs, so checking it from a shell would always fail.
    if not file or file.startswith(CREDENTIALS_DIRECTORY):
        return ""
    try:
        mode = Path(file).stat().st_mode
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return f"{file} is open to others than its owner; run: chmod 0600 {file}"
    return ""


def secret(file: str) -> str | None:
    """Return what a secret file holds, without its line end; None if none is configured.

    Raises:
        ConfigError: it cannot be read.
    """
    if not file:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\n")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error


def rack(settings: Settings) -> Rack:
    """Return the core's record of the rack.

    Raises:
        ConfigError: it is infeasible, or this host is not in its roster.
    """
    table = settings.rack
    try:
        record = Rack(
            site=settings.host.site,
            name=settings.host.rack,
            hosts=tuple(
                Host(name, entry.share, milliwatts(entry.floor_watts)) for name, entry in table.hosts.items()
            ),
            hard_limit_mw=milliwatts(table.hard_limit_watts),
            failsafe_mw=milliwatts(table.failsafe_watts),
            overhead_mw=milliwatts(table.overhead_watts),
            guard_band_pct=table.guard_band_pct,
        )
        record.host(settings.host.name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return record


def event_rules(settings: Settings) -> EventRules:
    """Return the core's record of what grid events mean to the rack."""
    events, table = settings.signals.events, settings.rack
    return EventRules(
        site_fraction=table.site_fraction,
        feeds=dict(table.feeds),
        levels_pct=events.levels_pct,
        obeys_voluntary=events.obey_voluntary,
        own_fraction=own_fraction(settings.host.name),
        max_skew_s=settings.signals.native.max_skew_s,
        unsynced_s=events.unsynced_s,
    )


def own_fraction(name: str) -> float:
    """Return a number in 0..1 that is this host's own and always the same."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) / 2**64


def lease_rules(settings: Settings) -> LeaseRules:
    """Return the core's record of the rack's lease parameters.

    Raises:
        ConfigError: hosts would lend each other watts by times that do not fit together; one line each.
    """
    table = settings.rack.leases
    if table.enabled and len(settings.rack.hosts) > 1:
        problems = list(_lease_problems(settings))
        if problems:
            raise ConfigError("\n".join(problems))
    return LeaseRules(
        enabled=table.enabled,
        ttl_s=table.ttl_s,
        max_ttl_s=table.max_ttl_s,
        guard_bound_s=table.guard_bound_s,
        publish_s=table.publish_s,
        lead_s=table.lead_s,
        silent_s=table.silent_s,
        least_mw=milliwatts(table.least_watts),
    )


def _lease_problems(settings: Settings) -> Iterator[str]:
    """Yield which lease times are too short; docs/leases.md says what they mean.

    The loop steps down by a timer, `lead_s` before a lease ends, so it is late by one iteration at most. One
    that takes longer than a period, because a GPU does not answer, costs a fallback of the guard.
    """
    leases, period_s = settings.rack.leases, settings.control.period_s
    # One message is lost, the next is answered within a period.
    patience_s = 2 * leases.publish_s + period_s
    patience = "2 publish_s + control.period_s"
    calls_s = 2 * settings.guard.call_deadline_s
    at_least = (
        ("publish_s", period_s, "control.period_s", "a state is made once per period"),
        ("lead_s", period_s, "control.period_s", "the guard would lower before a loop that is late"),
        ("silent_s", patience_s, patience, "one lost message would end all lending"),
        ("ttl_s", leases.lead_s + patience_s, f"lead_s + {patience}", "one lost message would end a lease"),
        ("ttl_s", leases.silent_s, "silent_s", "a host that is gone would be lent to; or lower silent_s"),
        ("max_ttl_s", leases.ttl_s, "ttl_s", "a host that lost its memory would not wait for all leases"),
        ("guard_bound_s", calls_s, "2 guard.call_deadline_s", "a call under way and the fallback take that"),
    )
    for key, least_s, bound, why in at_least:
        value_s = getattr(leases, key)
        if value_s < least_s - _ROUNDING_S:
            problem = f"rack.leases.{key} {value_s:g} is less than {bound} = {least_s:g}"
            yield f"{problem}: {why}; set at least {least_s:g}"


def gpu_policies(settings: Settings) -> GpuPolicies:
    """Return the core's record of what the configuration says of each GPU.

    Raises:
        ConfigError: a floor lies above its ceiling.
    """
    gpu = settings.gpu
    return GpuPolicies(
        default=_policy("gpu", GpuPolicy(_optional_mw(gpu.floor_watts), _optional_mw(gpu.ceiling_watts))),
        by_uuid={
            uuid: _policy(
                f"gpu.overrides.{uuid}",
                GpuPolicy(
                    floor_mw=_optional_mw(own.floor_watts),
                    ceiling_mw=_optional_mw(own.ceiling_watts),
                    priority=own.priority,
                    weight=own.weight,
                    job=own.job,
                ),
            )
            for uuid, own in gpu.overrides.items()
        },
    )


def _optional_mw(watts: float | None) -> int | None:
    return None if watts is None else milliwatts(watts)


def _policy(key: str, policy: GpuPolicy) -> GpuPolicy:
    if policy.floor_mw is not None and policy.ceiling_mw is not None and policy.floor_mw > policy.ceiling_mw:
        raise ConfigError(f"{key}.floor_watts is above {key}.ceiling_watts; lower the one or raise the other")
    return policy
