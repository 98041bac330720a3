"""The tables of the configuration: every key with its unit, range and default.

Invariant: a table that exists has only known keys and values in range; messages name the key. Must not read
files or the environment, and must not repeat a value that may hold a secret.
"""

import re
import socket
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from powerd.mode import Mode


def _segment(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]{1,64}", value):
        raise ValueError(f'should be 1 to 64 of a-z, 0-9, "_" and "-", not "{value}"')
    return value


def _prefix(value: str) -> str:
    for level in value.split("/"):
        _segment(level)
    return value


# One level of an MQTT topic.
Segment = Annotated[str, AfterValidator(_segment)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, le=1)]
# As its facility or grid calls it: feed tags of DSX Flex are free text.
FeedName = Annotated[str, Field(min_length=1, max_length=64)]
Percent = Annotated[float, Field(ge=0, lt=100)]

# What a state message has room to speak of.
MAX_HOSTS = 128
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
# sockaddr_un.sun_path, unix(7), less the closing NUL.
SOCKET_PATH_BYTES = 107


class Table(BaseModel):
    """A table of the configuration: unknown keys, infinities and later changes are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _short_hostname() -> str:
    return socket.gethostname().partition(".")[0].lower()


class HostSettings(Table):
    """The `[host]` table: who this host is and how far powerd may go on it.

    Attributes:
        name: as in `[rack.hosts]`; default: the short hostname.
        mode: "monitor" reads, "dry-run" also decides and says what it would write, "enforce" writes.
        overhead_watts: what the host draws besides its GPUs; None = not known.
        overhead_sensor: measures the same: "rapl", the path of a hwmon power file, or empty for none.
        accounting: "provable" charges every GPU with its limit, "measured" an idle one with its draw.
        measured_excess_watts: with "measured", limits may sum up to as much above the GPUs' budget.
        state_dir: where the daemon keeps what must survive a restart.
        allow_without_persistence_mode: enforce although limits may vanish with the last driver client.
        trust_wall_clock: take the wall clock as synchronised without asking the kernel.
    """

    site: Segment
    rack: Segment
    name: Segment = Field(default_factory=_short_hostname, validate_default=True)
    mode: Mode = "dry-run"
    overhead_watts: NotNegative | None = None
    overhead_sensor: str = ""
    accounting: Literal["provable", "measured"] = "provable"
    measured_excess_watts: NotNegative = 200.0
    state_dir: str = "/var/lib/powerd"
    allow_without_persistence_mode: bool = False
    trust_wall_clock: bool = False

    @field_validator("overhead_sensor")
    @classmethod
    def _known_sensor(cls, value: str) -> str:
        if value not in ("", "rapl") and not value.startswith("/"):
            raise ValueError(f'should be "rapl" or the path of a hwmon power file, not "{value}"')
        return value

    @model_validator(mode="after")
    def _enforce_knows_the_overhead(self) -> Self:
        if self.mode == "enforce" and self.overhead_watts is None and not self.overhead_sensor:
            raise ValueError(
                'host.overhead_watts is not set: mode "enforce" needs to know what the host draws besides '
                "its GPUs; set host.overhead_watts or host.overhead_sensor"
            )
        return self


class RosterEntry(Table):
    """One host of the rack, under `[rack.hosts]`; see `powerd.core.topology.Host`."""

    share: Positive
    floor_watts: Positive


class LeaseSettings(Table):
    """The `[rack.leases]` table, the same on every host of the rack; see `core.leases.leases.LeaseRules`.

    Attributes:
        key_file: secrets of the rack, one a line: the first seals this host's states, any opens those of
            others; empty = states are believed as the broker lets them through.
    """

    enabled: bool = True
    ttl_s: Positive = 5.0
    max_ttl_s: Positive = 10.0
    guard_bound_s: Positive = 10.0
    publish_s: Positive = 1.0
    lead_s: Positive = 1.0
    silent_s: Positive = 3.5
    least_watts: NotNegative = 20.0
    key_file: str = ""


class RackSettings(Table):
    """The `[rack]` table, the same on every host of the rack; see `powerd.core.topology.Rack`.

    Attributes:
        default_watts: the budget where nobody publishes any (`signals.native.enabled = false`).
        site_fraction: the rack's part of watts that are asked of the whole site; None = not known.
        feeds: the feeds that supply the rack, each with its part of watts asked of the whole feed.
    """

    hard_limit_watts: Positive
    failsafe_watts: Positive
    overhead_watts: NotNegative = 0.0
    guard_band_pct: Percent = 2.0
    default_watts: Positive | None = None
    site_fraction: Fraction | None = None
    feeds: dict[FeedName, Fraction] = {}
    hosts: dict[Segment, RosterEntry] = Field(min_length=1, max_length=MAX_HOSTS)
    leases: LeaseSettings = LeaseSettings()


class ControlSettings(Table):
    """The `[control]` table: what watts are shared out for, and the loop's times and thresholds.

    Attributes:
        objective: where watts are short, give them where they do most work, or to all alike.
        period_s: an iteration runs this often without any news.
        hold_s: the guard's dead-man's switch fires when no plan arrived for so long; it takes none for longer
            than 300 s.
        failsafe_hold_s: in failsafe, a last cap below the failsafe budget stays in force this long.
        raise_dwell_s: after failsafe, no raise before.
        raise_ramp_pct_per_min: raises after a curtailment, in percent of the hard limit.
        raise_jitter_s: raises start up to this much later, differently per host.
        deadband_watts, deadband_pct: a raise smaller than both is not written, nor a change up to four times
            as large that nobody needs (docs/policy.md).
        idle_after_s: a GPU that draws little counts as idle after so long.
        warmup_s: a GPU that starts work has its ceiling this long.
        brake_hold_s: the host stays in failsafe this long after a hardware power brake.
        other_writer_hold_s: a limit that someone else lowered is respected this long.
    """

    objective: Literal["throughput", "fair"] = "throughput"
    period_s: Annotated[float, Field(ge=0.05, le=60)] = 1.0
    hold_s: Annotated[float, Field(gt=0, le=300)] = 5.0
    failsafe_hold_s: NotNegative = 7200.0
    raise_dwell_s: NotNegative = 30.0
    raise_ramp_pct_per_min: Positive = 16.67
    raise_jitter_s: NotNegative = 15.0
    deadband_watts: NotNegative = 5.0
    deadband_pct: Percent = 2.0
    idle_after_s: NotNegative = 30.0
    warmup_s: NotNegative = 10.0
    brake_hold_s: NotNegative = 300.0
    other_writer_hold_s: NotNegative = 600.0

    @model_validator(mode="after")
    def _one_late_iteration_fires_nothing(self) -> Self:
        if self.hold_s < 2 * self.period_s:
            raise ValueError(
                f"control.hold_s {self.hold_s:g} is less than two periods of {self.period_s:g} s: one late "
                f"iteration would fire the guard's fallback; set at least {2 * self.period_s:g}"
            )
        return self


class MqttSettings(Table):
    """The `[mqtt]` table: the site's broker.

    Attributes:
        url: mqtts://host:port or mqtt://host:port, without user or password.
        client_id: empty = powerd-{site}-{rack}-{host}.
        password_file: readable by its owner alone, or a systemd credential.
        ca_file, cert_file, key_file: PEM; empty = the system's authorities, no client certificate.
        protocol: "auto" tries 5 first.
        reconnect_min_s, reconnect_max_s: a random delay between them, so that a rack does not come at once.
        allow_plaintext: allow mqtt:// to a broker on another machine.
    """

    url: str = ""
    prefix: Annotated[str, AfterValidator(_prefix)] = "powerd/v1"
    client_id: str = ""
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    keepalive_s: Annotated[int, Field(ge=1, le=3600)] = 10
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    reconnect_min_s: Positive = 1.0
    reconnect_max_s: Positive = 4.0
    allow_plaintext: bool = False

    @field_validator("url")
    @classmethod
    def _broker_without_secrets(cls, value: str) -> str:
        # The value is not repeated in any of these messages: it may hold a password.
        if not value:
            return value
        if "@" in value:
            raise ValueError("must not hold a user or password; use mqtt.username and mqtt.password_file")
        try:
            parts = urlsplit(value)
            _ = parts.port  # raises ValueError, with the text that is no port in it
        except ValueError:
            raise ValueError("should look like mqtts://broker.example:8883") from None
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError("should look like mqtts://broker.example:8883")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme == "mqtt" and parts.hostname not in LOOPBACK_HOSTS and not self.allow_plaintext:
            raise ValueError(
                "mqtt.url is not encrypted and leads to another machine; use mqtts:// or, on a network that "
                "you trust, set mqtt.allow_plaintext = true"
            )
        if self.reconnect_max_s < self.reconnect_min_s:
            raise ValueError("mqtt.reconnect_max_s is less than mqtt.reconnect_min_s")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("mqtt.cert_file and mqtt.key_file belong together: set both or none")
        return self


class HttpSettings(Table):
    """The `[http]` table.

    Attributes:
        listen: address and port of the read-only API; port 0 = any free one.
        socket: the Unix socket on which changes are allowed, mode 0660; empty = none.
        socket_group: the group that may use it; empty = the daemon's own.
    """

    listen: str = "127.0.0.1:9780"
    socket: str = "/run/powerd/powerd.sock"
    socket_group: str = ""

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        try:
            parts = urlsplit(f"//{value}")
            complete = bool(parts.hostname) and parts.port is not None and parts.netloc == value
        except ValueError:
            complete = False
        if not complete:
            raise ValueError(f'should be an address and a port like 127.0.0.1:9780, not "{value}"')
        return value

    @field_validator("socket")
    @classmethod
    def _fits_the_kernel(cls, value: str) -> str:
        if len(value.encode()) > SOCKET_PATH_BYTES:
            raise ValueError(f"is longer than the {SOCKET_PATH_BYTES} bytes that a socket path may have")
        return value


class LedgerSettings(Table):
    """The `[ledger]` table: what is written down of grid events.

    Attributes:
        enabled: keep a ledger in `host.state_dir`.
        max_mb: it grows no larger, 1..65536 MiB; nothing is ever deleted from it.
    """

    enabled: bool = True
    max_mb: int = Field(default=1024, ge=1, le=65536)


class LogSettings(Table):
    """The `[log]` table; formats as in `powerd.log`."""

    format: Literal["journal", "json", "console"] = "journal"
    level: Literal["debug", "info", "warning", "error"] = "info"
