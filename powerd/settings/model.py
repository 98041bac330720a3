"""The whole configuration as one validated tree: its tables, and what no single table shows.

Building `Settings` directly reads neither files nor the environment. The `[gpu]` and `[guard]` tables are the
guard's own dataclasses, so each key has one definition.
"""

from typing import Self

from pydantic import model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from powerd.core.gpus.gpu_load import LEAST_S_FOR_A_MEAN
from powerd.guard.config import GpuConfig, GuardConfig
from powerd.settings.signals import SignalSettings
from powerd.settings.tables import (
    ControlSettings,
    HostSettings,
    HttpSettings,
    LedgerSettings,
    LogSettings,
    MqttSettings,
    RackSettings,
)


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
    ledger: LedgerSettings = LedgerSettings()
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
        signals = self.signals
        if self.mqtt.url:
            return self
        if signals.native.enabled:
            raise ValueError("mqtt.url is not set: name the broker, or set signals.native.enabled = false")
        if signals.dsx.enabled or signals.meters.parts:
            deaf = "signals.dsx" if signals.dsx.enabled else "signals.meters"
            raise ValueError(f"mqtt.url is not set: name the broker, without it {deaf} hears nothing")
        return self

    @model_validator(mode="after")
    def _one_standing_budget(self) -> Self:
        if self.rack.default_watts is not None and self.signals.native.enabled:
            raise ValueError(
                "rack.default_watts is the budget where nobody publishes any: set signals.native.enabled = "
                "false, or remove it"
            )
        return self

    @model_validator(mode="after")
    def _flex_targets_are_about_feeds(self) -> Self:
        if self.signals.dsx.enabled and not self.rack.feeds:
            raise ValueError("rack.feeds is empty: signals.dsx needs the feeds that its load targets name")
        return self

    @model_validator(mode="after")
    def _counters_are_fine_enough_to_measure_by(self) -> Self:
        if self.host.accounting == "measured" and self.control.period_s < LEAST_S_FOR_A_MEAN:
            raise ValueError(
                f'control.period_s {self.control.period_s:g} is too short for host.accounting = "measured": '
                f"energy counters move in steps of 0.1 s; set at least {LEAST_S_FOR_A_MEAN:g}"
            )
        return self

    @property
    def client_id(self) -> str:
        """Return the MQTT client identifier, stable per host so that a new connection replaces an old one."""
        return self.mqtt.client_id or f"powerd-{self.host.site}-{self.host.rack}-{self.host.name}"
