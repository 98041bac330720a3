"""What the demo sees of a host: the few numbers of its status document that are shown and added up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from powerd.snapshot import Reaction

# What a host has to do with others that has none.
_ALONE: Mapping[str, Any] = {"lent_watts": 0.0, "borrowed_watts": 0.0, "memory_lost_s": None}


@dataclass(frozen=True, slots=True)
class GpuView:
    """One GPU, in watts.

    Attributes:
        draw_watts: sampled; the most it may draw where there is no fresh sample.
        limit_watts: the limit in effect; likewise.
        worst_case_watts: the most it may draw.
        demand: as in the status: idle, busy, capped, waking, held or unknown.
    """

    draw_watts: float
    limit_watts: float
    worst_case_watts: float
    min_watts: float
    max_watts: float
    demand: str


@dataclass(frozen=True, slots=True)
class HostView:
    """One host after one of its iterations.

    Attributes:
        received_boot_s: when the document arrived.
        sampled_boot_s: when its GPUs were read.
        state: init, limited, unlimited or failsafe.
        lease_watts: the rack budget that it follows; None without a lease.
        share_watts: what its share of the rack is worth, overhead included.
        cap_watts: what it may draw: its share, with what it borrows and without what it lends.
        waits_s: how long it stays at its floor at least, because it does not know what it has lent; None if
            it does.
        reaction: the last time that a message led to cuts, on the boot clock; None if none did yet.
        problems: what is wrong, one line each.
    """

    host: str
    received_boot_s: float
    sampled_boot_s: float
    state: str
    connected: bool
    writes_forbidden: bool
    lease_watts: float | None
    rack_watts: float
    share_watts: float
    cap_watts: float
    overhead_watts: float
    lent_watts: float
    borrowed_watts: float
    waits_s: float | None
    reaction: Reaction | None
    gpus: tuple[GpuView, ...]
    problems: tuple[str, ...]

    @property
    def draw_watts(self) -> float:
        """Return what the host draws, overhead included."""
        return self.overhead_watts + sum(gpu.draw_watts for gpu in self.gpus)

    @property
    def worst_case_watts(self) -> float:
        """Return the most that the host may draw, overhead included."""
        return self.overhead_watts + sum(gpu.worst_case_watts for gpu in self.gpus)


def host_view(document: Mapping[str, Any], received_boot_s: float) -> HostView:
    """Read a status document (`GET /v1/status`, or an event of `/v1/stream`) that has just arrived."""
    budget = document["budget"]
    lease = budget["lease"]
    gpus = document["gpus"]
    lending = document["lending"] or _ALONE
    return HostView(
        host=document["host"],
        received_boot_s=received_boot_s,
        sampled_boot_s=received_boot_s - max((gpu["age_s"] for gpu in gpus), default=0.0),
        state=document["state"],
        connected=document["bus"]["connected"],
        writes_forbidden=document["guard"]["writes_forbidden"],
        lease_watts=None if lease is None else lease["watts"],
        rack_watts=budget["rack_watts"],
        share_watts=budget["entitlement_watts"],
        cap_watts=budget["host_watts"],
        overhead_watts=budget["overhead_watts"],
        lent_watts=lending["lent_watts"],
        borrowed_watts=lending["borrowed_watts"],
        waits_s=lending["memory_lost_s"],
        reaction=_reaction(document["reaction"]),
        gpus=tuple(map(_gpu_view, gpus)),
        problems=tuple(error["text"] for error in document["errors"] if error["severity"] != "info"),
    )


def _reaction(reaction: Mapping[str, Any] | None) -> Reaction | None:
    if reaction is None:
        return None
    return Reaction(reaction["received_boot_s"], reaction["last_cut_boot_s"])


def _gpu_view(gpu: Mapping[str, Any]) -> GpuView:
    worst_case = gpu["worst_case_watts"] if gpu["worst_case_watts"] is not None else gpu["max_watts"]
    return GpuView(
        draw_watts=gpu["draw_watts"] if gpu["draw_watts"] is not None else worst_case,
        limit_watts=gpu["enforced_watts"] if gpu["enforced_watts"] is not None else worst_case,
        worst_case_watts=worst_case,
        min_watts=gpu["min_watts"],
        max_watts=gpu["max_watts"],
        demand=gpu["demand"],
    )
