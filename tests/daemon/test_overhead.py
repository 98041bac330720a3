"""Host overhead from a meter: it leaves less for the GPUs, and without a measurement nothing is written."""

from pathlib import Path

from tests.daemon.conftest import MakeRig
from tests.daemon.host import GUARD_BAND

HOST_WATTS, GPU_IDLE_WATTS = 1280, 60
UW_PER_W = 1_000_000


def test_enforce_waits_for_the_first_measurement_and_counts_it(make_rig: MakeRig, tmp_path: Path) -> None:
    meter = tmp_path / "power1_input"
    meter.write_text("not yet")
    rig = make_rig(host={"overhead_watts": None, "overhead_sensor": str(meter)})
    rig.broker.start()
    rig.start_guard()
    rig.daemon.start()
    rig.wait_for(lambda: rig.problem("overhead_unknown"), what="the missing measurement to be told")
    rig.wait_iterations(3)
    assert rig.write_log() == []

    meter.write_text(str(HOST_WATTS * UW_PER_W))
    rig.wait_for(lambda: rig.status()["budget"]["overhead_watts"] > 0, what="a measurement")
    gpus_draw = GPU_IDLE_WATTS * len(rig.limits_mw())
    overhead = HOST_WATTS - gpus_draw
    rig.publish_budget(3600)
    allowed_mw = (3600 * (1 - GUARD_BAND) - overhead) * 1000
    rig.wait_for(lambda: 0.9 * allowed_mw < rig.sum_mw() <= allowed_mw, 5, what="limits that leave room")
