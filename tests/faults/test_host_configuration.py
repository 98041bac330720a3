"""A configuration that is broken, or takes something away, while a host runs by another one."""

from pathlib import Path

from tests.daemon.conftest import MakeRig
from tests.daemon.rig import FAILSAFE_WATTS, gpu_budget_mw
from tests.faults.host_tools import WITHIN_S, Mounts, Unit

# Where the guard's unit keeps its socket and its plan, by default.
RUN = Path("/run")
DEFAULT_SOCKET = RUN / "powerd-guard" / "guard.sock"


def test_a_guard_that_is_restarted_with_a_file_that_is_no_configuration_leaves_the_fallback(
    make_rig: MakeRig,
) -> None:
    """Its stop action reads the same file: it goes by the defaults, and finds the plan there."""
    rig = make_rig(guard={"socket": str(DEFAULT_SOCKET)})
    with Mounts() as mounts, Unit(rig, rig.guard, name="guard") as unit:
        mounts.disk(RUN, 1 << 20)
        mounts.run("mkdir", "-m", "0700", str(DEFAULT_SOCKET.parent))
        mounts.put_inside(rig.guard, rig.daemon, unit.action)
        rig.broker.start()
        unit.until(rig.guard_listens, what="the guard")
        rig.start_daemon()
        rig.obey(3000, lease_s=60, within_s=WITHIN_S)
        sums_mw: list[int] = []
        unit.on_stop = lambda: sums_mw.append(rig.sum_mw())
        rig.config.write_text("[rack\n", encoding="utf-8")
        rig.guard.terminate()
        unit.until(lambda: len(unit.codes) == 3, what="three ends")
        assert unit.codes == [0, 2, 2]
        assert max(sums_mw) <= gpu_budget_mw(FAILSAFE_WATTS)
        assert "guard.sock" in rig.problem("guard_unusable")

        rig.configure({"guard": {"socket": str(DEFAULT_SOCKET)}})
        unit.until(rig.is_ready, what="the host ready again")
        rig.obey(2600, lease_s=60, within_s=WITHIN_S)
