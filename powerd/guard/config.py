"""Configuration of the guard, and of the GPUs: read here with the standard library alone.

The same dataclasses are the `[guard]` and `[gpu]` tables of `powerd.settings`, so each key has one
definition. The guard reads only these two tables; the daemon validates the rest.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

ENVIRONMENT_PREFIX = "POWERD_"
DROP_IN_DIRECTORY = "conf.d"


def _positive(table: str, **values: float | None) -> None:
    for key, value in values.items():
        if value is not None and value <= 0:
            raise ValueError(f"{table}.{key} must be greater than 0, not {value}")


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
        commands: a directory to watch for faults to inject, for tests and drills; empty = none.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    count: int = 8
    model: str = "A100-SXM"
    load: str = "mixed"
    seed: int = 0
    time_factor: float = 1.0
    commands: str = ""

    def __post_init__(self) -> None:
        _positive("gpu.simulated", count=self.count, time_factor=self.time_factor)


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
    def state_path(self) -> Path:
        """Return the directory of the plan in force and the baseline."""
        return Path(self.state_dir) if self.state_dir else Path(self.socket).parent
