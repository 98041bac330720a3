"""Configuration of the guard, and of the GPUs: read here with the standard library alone.

The same dataclasses are the `[guard]` and `[gpu]` tables of `powerd.settings.loading`, so each key has one
definition. The guard reads only these two tables; the daemon validates the rest.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from powerd.errors import ConfigError
from powerd.settings.layers import Key, Layer, merge, origin, problem_of_directory, read_layers

_Table = TypeVar("_Table")


def _positive(table: str, **values: float | None) -> None:
    for key, value in values.items():
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"{table}.{key} must be a finite number greater than 0, not {value}")


@dataclass(frozen=True)
class GpuOverride:
    """One GPU's own settings, under `[gpu.overrides."GPU-uuid"]`.

    Attributes:
        floor_watts: never limit this GPU below; None = its own minimum.
        ceiling_watts: never limit this GPU above; None = its own maximum.
        priority: lower is served first.
        weight: share within a priority class, > 0.
        job: GPUs with the same job share one limit; empty = none.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    floor_watts: float | None = None
    ceiling_watts: float | None = None
    priority: int = 100
    weight: float = 1.0
    job: str = ""

    def __post_init__(self) -> None:
        _positive(
            "gpu.overrides",
            floor_watts=self.floor_watts,
            ceiling_watts=self.ceiling_watts,
            weight=self.weight,
        )


@dataclass(frozen=True)
class SimulatedGpus:
    """What `driver = "simulated"` simulates, under `[gpu.simulated]`.

    Attributes:
        count: how many GPUs.
        model: a model of the measured curves that come with powerd, e.g. "A100-SXM".
        load: which measured load trace drives them: "training", "inference", "mixed", "idle" or "full".
        seed: makes placement and phase repeatable.
        time_factor: trace seconds per second; the physics of the GPU itself stay in real time.
        start_boot_s: boot clock at which the traces start, so that processes and hosts agree on the load.
        commands: a JSON file of faults to inject, read again when it changes (`powerd.simulator.faults`),
            for tests and drills; empty = none.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    count: int = 8
    model: str = "A100-SXM"
    load: str = "mixed"
    seed: int = 0
    time_factor: float = 1.0
    start_boot_s: float = 0.0
    commands: str = ""

    def __post_init__(self) -> None:
        if self.load not in ("training", "inference", "mixed", "idle", "full"):
            raise ValueError(
                f'gpu.simulated.load must be training, inference, mixed, idle or full, not "{self.load}"'
            )
        _positive("gpu.simulated", count=self.count, time_factor=self.time_factor)
        if not math.isfinite(self.start_boot_s):
            raise ValueError(f"gpu.simulated.start_boot_s must be a finite number, not {self.start_boot_s}")


@dataclass(frozen=True)
class GpuConfig:
    """The `[gpu]` table.

    Attributes:
        driver: "nvml" for real GPUs, "simulated" for none.
        floor_watts, ceiling_watts: for every GPU without an override; None = its own constraints.
        overrides: per GPU, by UUID.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    driver: str = "nvml"
    floor_watts: float | None = None
    ceiling_watts: float | None = None
    overrides: dict[str, GpuOverride] = field(default_factory=dict)
    simulated: SimulatedGpus = field(default_factory=SimulatedGpus)

    def __post_init__(self) -> None:
        if self.driver not in ("nvml", "simulated"):
            raise ValueError(f'gpu.driver must be "nvml" or "simulated", not "{self.driver}"')
        _positive("gpu", floor_watts=self.floor_watts, ceiling_watts=self.ceiling_watts)


@dataclass(frozen=True)
class GuardConfig:
    """The `[guard]` table.

    Attributes:
        socket: where the guard listens.
        state_dir: where it keeps the plan in force and the baseline; must survive a restart of the
            service, need not survive a reboot. Empty = the directory of the socket.
        client_user: the user that may talk to it, besides root and the guard's own; empty = no other.
        ceiling_watts: no single GPU is ever set above this; None = its own maximum.
        host_ceiling_watts: no plan whose limits sum up to more is executed; None = no such check.
        call_deadline_s: a driver call that takes longer marks its GPU as hung.
        spawn: `powerd run` starts a guard of its own as a child, for development and demos.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    socket: str = "/run/powerd-guard/guard.sock"
    state_dir: str = ""
    client_user: str = ""
    ceiling_watts: float | None = None
    host_ceiling_watts: float | None = None
    call_deadline_s: float = 1.0
    spawn: bool = False

    def __post_init__(self) -> None:
        _positive(
            "guard",
            ceiling_watts=self.ceiling_watts,
            host_ceiling_watts=self.host_ceiling_watts,
            call_deadline_s=self.call_deadline_s,
        )

    @property
    def socket_path(self) -> Path:
        """Return where the guard listens."""
        return Path(self.socket)

    @property
    def state_path(self) -> Path:
        """Return the directory of the plan in force and the baseline."""
        return Path(self.state_dir) if self.state_dir else Path(self.socket).parent


def load(path: Path, environment: Mapping[str, str]) -> tuple[GpuConfig, GuardConfig]:
    """Read the `[gpu]` and `[guard]` tables from the same sources as the daemon; other tables are its own.

    Args:
        path: the main file; `conf.d/*.toml` beside it is read too.
        environment: variables, of which `POWERD_GPU__*` and `POWERD_GUARD__*` are used.

    Raises:
        ConfigError: a source cannot be used, a key is unknown, or a value is wrong; names the place.
    """
    layers = read_layers(path, environment=environment)
    tree = merge(layers)
    gpu, guard = _table(GpuConfig, tree, ("gpu",), layers), _table(GuardConfig, tree, ("guard",), layers)
    if problem := problem_of_directory(guard.state_path):
        raise ConfigError(f"guard.state_dir: {problem}")
    return gpu, guard


def _table(kind: type[_Table], parent: Mapping[str, Any], key: Key, layers: tuple[Layer, ...]) -> _Table:
    table = parent.get(key[-1], {})
    if not isinstance(table, dict):
        raise _wrong(key, layers, "must be a table")
    kinds = {f.name: f.type for f in fields(kind)}  # type: ignore[arg-type]  # every kind is a dataclass
    values = {}
    for name in table:
        if name not in kinds:
            raise _wrong((*key, name), layers, f"unknown key; known are {', '.join(sorted(kinds))}")
        values[name] = _value(kinds[name], table, (*key, name), layers)
    try:
        return kind(**values)
    except ValueError as error:
        name = next((name for name in values if f".{name} " in str(error)), "")
        raise ConfigError(f"{origin(layers, (*key, name) if name else key)}: {error}") from error


def _value(kind: object, table: Mapping[str, Any], key: Key, layers: tuple[Layer, ...]) -> object:
    if isinstance(kind, type) and is_dataclass(kind):
        return _table(kind, table, key, layers)
    value = table[key[-1]]
    if kind == dict[str, GpuOverride]:
        if not isinstance(value, dict):
            raise _wrong(key, layers, "must be a table")
        return {uuid: _table(GpuOverride, value, (*key, uuid), layers) for uuid in value}
    wanted, name = _SCALARS[kind]
    if isinstance(value, str) and wanted is not str and origin(layers, key).startswith("environment"):
        value = _from_text(value, wanted)
    # bool is an int to Python, and to nobody else.
    if isinstance(value, bool) is not (wanted is bool) or not isinstance(value, wanted):
        raise _wrong(key, layers, f"must be {name}, not {value!r}")
    return value


_SCALARS: Final[dict[object, tuple[Any, str]]] = {
    str: (str, "a text"),
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    float | None: ((int, float), "a number"),
}


def _from_text(text: str, wanted: object) -> object:
    """Return what a variable's text says: a boolean, a number, or else the text, which is then wrong."""
    if wanted is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _wrong(key: Key, layers: tuple[Layer, ...], problem: str) -> ConfigError:
    return ConfigError(f"{origin(layers, key)}: {'.'.join(key)}: {problem}")
