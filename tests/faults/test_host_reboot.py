"""A host of a rack reboots: its GPUs are at their defaults, and of what it knew only the disk is left."""

from pathlib import Path

from tests.daemon.host import GPU_MAX_WATTS
from tests.daemon.rack import BUDGET_WATTS, GPUS, NAMES, Rack, entitlement_mw, usable_mw
from tests.daemon.rack_observer import history, violations
from tests.daemon.waiting import boot_s
from tests.faults.host_tools import Mounts

N1, N2, N3, N4 = NAMES
OWN_MW = entitlement_mw(BUDGET_WATTS)
FLOOR_MW = 1_200_000
DEFAULT_MW = 800_000 + GPUS * GPU_MAX_WATTS * 1000
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def reboot(rack: Rack, mounts: Mounts) -> None:
    """Let the last host boot again; nothing of powerd is started on it."""
    host = rack.hosts[N4]
    host.end_processes()
    host.gpus.reload_driver()
    for kept in (host.directory / "g").iterdir():  # a runtime directory does not outlive a boot
        kept.unlink()
    mounts.put_over(BOOT_ID, "6f1c2f2e-0000-4000-8000-000000000002")
    mounts.put_inside(host.guard, host.daemon)


def partners(rack: Rack, name: str) -> set[str]:
    return {lease["host"] for lease in rack.hosts[name].status()["leases"]}


def is_live(rack: Rack, name: str) -> bool:
    """Say whether the first host has heard another one of late."""
    peers = rack.hosts[N1].status()["peers"]
    return any(peer["live"] for peer in peers if peer["host"] == name)


def test_nobody_uses_the_watts_of_a_host_that_rebooted_and_it_begins_at_its_floor(
    library: Path, tmp_path: Path
) -> None:
    """It had lent some of them, and has forgotten it: those come back to it before it uses them itself."""
    with Mounts() as mounts, Rack(tmp_path, library) as rack:
        rack.calm()
        rack.busy(N1)
        rack.wait_for(lambda: N4 in partners(rack, N1) and rack.worst_mw(N1) > OWN_MW, what="its watts lent")
        reboot(rack, mounts)
        assert rack.worst_mw(N4) == DEFAULT_MW

        rack.busy(N2, N3)
        others = (N1, N2, N3)
        rack.wait_for(lambda: not is_live(rack, N4), what="its silence noticed")
        rack.wait_for(lambda: N4 not in partners(rack, N1), what="the end of what it had lent")
        rack.wait_for(lambda: all(rack.is_at(name, OWN_MW) for name in others), what="what is their own")
        assert sum(map(rack.worst_mw, others)) <= usable_mw(BUDGET_WATTS) - OWN_MW
        assert f"{N4} has not been heard" in rack.hosts[N1].problem("peer_silent")

        rebooted, begun_boot_s = rack.hosts[N4], boot_s()
        rebooted.start_guard()
        rebooted.start_daemon()
        assert rack.worst_mw(N4) <= OWN_MW
        lowered_boot_s = boot_s()
        told = rack.wait_for(lambda: rebooted.problem("lease_memory_lost"), what="what it has forgotten")
        assert "what was lent before the start is not known: floor, 1200 W" in told
        assert min(moment.worst_mw[N4] for moment in history(rack, begun_boot_s)) == FLOOR_MW
        rack.busy(N4)
        # The one that the broker has kept is known already: it may be a replay.
        rack.obey(BUDGET_WATTS - 400)
        rack.wait_for(lambda: rack.is_at(N4, entitlement_mw(BUDGET_WATTS - 400)), what="its own watts again")
        assert list(violations(rack, lowered_boot_s)) == []
