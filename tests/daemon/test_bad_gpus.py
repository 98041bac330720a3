"""One GPU, or someone else on the host, has a bad day: the others stay controlled, and pay for it."""

import pytest

from tests.daemon.conftest import MakeRig
from tests.daemon.observer import excesses
from tests.daemon.rig import FAILSAFE_WATTS, Rig, gpu_budget_mw
from tests.daemon.waiting import boot_s
from tests.fake_nvml import BY_NVML, NO_PERMISSION, UNKNOWN

BAD = 3
CUT_WATTS = 2600
PERIOD_S = 0.2
CALL_DEADLINE_S = 0.3
# On a machine that does other things too.
MARGIN_S = 0.3
HW_POWER_BRAKE = 0x80


def fits(rig: Rig, watts: float) -> bool:
    """Say whether all limits, the bad GPU's too, fit a rack budget."""
    return rig.sum_mw() <= gpu_budget_mw(watts)


def gpu(rig: Rig, index: int) -> dict[str, object]:
    found: dict[str, object] = rig.status()["gpus"][index]
    return found


def cuts_of_others(rig: Rig, since_boot_s: float) -> list[float]:
    """Return when each of the others was first cut after a moment, in seconds from it."""
    first: dict[int, float] = {}
    for write in rig.write_log():
        if write.gpu != BAD and write.source == BY_NVML and write.boot_ns / 1e9 >= since_boot_s:
            first.setdefault(write.gpu, write.boot_ns / 1e9 - since_boot_s)
    return sorted(first.values())


def cut(rig: Rig, within_s: float) -> float:
    """Publish a cut, wait until all limits together fit it, and return when it was published."""
    grant = rig.publish_budget(CUT_WATTS, lease_s=60)
    rig.wait_for(lambda: fits(rig, CUT_WATTS), within_s=within_s, what="the cut, with the bad GPU counted")
    return grant.published_boot_s


def test_a_lost_gpu_counts_with_its_last_limit_and_the_others_obey(host: Rig) -> None:
    begun_boot_s = boot_s()
    host.gpus.lose(BAD)
    host.wait_for(lambda: gpu(host, BAD)["state"] == "lost", within_s=2, what="the loss noticed")
    assert "counted at 267 W" in host.problem("gpu_lost")
    assert gpu(host, BAD)["draw_watts"] is None
    published = cut(host, within_s=1)
    assert cuts_of_others(host, published)[-1] < MARGIN_S
    assert len(cuts_of_others(host, published)) == 7

    host.gpus.lose(BAD, is_lost=False)
    host.wait_for(lambda: gpu(host, BAD)["state"] == "ok", within_s=5, what="its return noticed")
    host.wait_for(lambda: host.limits_mw()[BAD] < 225_000, within_s=3, what="its part of the cut")
    assert list(excesses(host, begun_boot_s)) == []


def test_a_gpu_whose_writes_hang_delays_no_other_and_is_paid_for(host: Rig) -> None:
    begun_boot_s = boot_s()
    host.gpus.gpus[BAD].set_hangs = 1
    published = cut(host, within_s=CALL_DEADLINE_S + PERIOD_S + MARGIN_S)
    assert cuts_of_others(host, published)[-1] < MARGIN_S
    host.wait_for(lambda: gpu(host, BAD)["state"] == "hung", within_s=2, what="the hang shown")
    host.wait_for(lambda: host.problem("gpu_hung"), within_s=2, what="the hang told")
    assert host.get("/healthz").status == 200
    host.obey(2500, lease_s=60)

    host.gpus.gpus[BAD].set_hangs = 0
    host.wait_for(lambda: gpu(host, BAD)["state"] == "ok", within_s=10, what="its return noticed")
    host.wait_for(lambda: host.limits_mw()[BAD] < 215_000, within_s=5, what="its part of the cut")
    assert list(excesses(host, begun_boot_s)) == []


def test_a_gpu_whose_reads_hang_delays_no_cut_of_the_others(host: Rig) -> None:
    host.gpus.gpus[BAD].get_hangs = 1
    host.wait_for(lambda: gpu(host, BAD)["state"] == "hung", within_s=3, what="the hang shown")
    published = cut(host, within_s=1)
    assert cuts_of_others(host, published)[-1] < MARGIN_S
    host.gpus.gpus[BAD].get_hangs = 0
    host.wait_for(lambda: gpu(host, BAD)["state"] == "ok", within_s=10, what="its return noticed")


@pytest.mark.parametrize(
    ("error", "event"), [(UNKNOWN, "gpu_refuses_limit"), (NO_PERMISSION, "gpu_not_settable")]
)
def test_the_watts_of_a_gpu_that_refuses_are_taken_from_the_others_at_once(
    host: Rig, error: int, event: str
) -> None:
    """Exactly its watts, no more: it is counted with the limit that it has."""
    begun_boot_s = boot_s()
    host.gpus.gpus[BAD].set_error = error
    published = cut(host, within_s=PERIOD_S + MARGIN_S)
    assert cuts_of_others(host, published)[-1] < MARGIN_S
    assert host.limits_mw()[BAD] == 267_000
    assert "counted at 267 W" in host.wait_for(lambda: host.problem(event), within_s=1, what=event)
    assert "not confirmed" in host.problem("limit_write_failed")
    assert "not_controllable" in host.get(f"/v1/explain?gpu={BAD}").body

    host.gpus.gpus[BAD].set_error = 0
    if error == NO_PERMISSION:  # the guard lacks a capability: only another guard can have it
        host.guard.terminate()
        host.start_guard()
    host.wait_for(lambda: host.obeyed(CUT_WATTS), within_s=10, what="all of the budget in use")
    host.wait_for(lambda: host.limits_mw()[BAD] < 225_000, within_s=5, what="its own part of the cut")
    # The refusing one itself may pass through its fallback: the guard goes on to lower it, not knowing why.
    others = (write for write in host.write_log() if write.gpu != BAD and write.boot_ns / 1e9 >= published)
    assert min(write.enforced_mw for write in others) >= 209_000
    assert list(excesses(host, begun_boot_s)) == []


def test_a_limit_that_is_accepted_and_not_in_effect_is_found_by_reading_back(host: Rig) -> None:
    begun_boot_s = boot_s()
    host.gpus.gpus[BAD].ignores_writes = 1
    cut(host, within_s=PERIOD_S + MARGIN_S)
    assert host.limits_mw()[BAD] == 267_000
    host.wait_for(lambda: host.problem("limit_write_failed"), within_s=1, what="the failure told")
    assert host.metric("powerd_limit_readback_mismatch_total") >= 1
    host.wait_iterations(3)
    assert "other_writer" not in host.daemon.log
    assert list(excesses(host, begun_boot_s)) == []


def test_when_no_gpu_obeys_powerd_stays_up_and_says_so(host: Rig) -> None:
    for bad in host.gpus.gpus:
        bad.set_error = UNKNOWN
    host.publish_budget(CUT_WATTS, lease_s=60)
    host.wait_for(lambda: host.status()["compliant"] is False, within_s=2, what="not compliant")
    assert host.problem("limit_write_failed")
    assert host.get("/healthz").status == 200
    for bad in host.gpus.gpus:
        bad.set_error = 0
    host.wait_for(lambda: host.obeyed(CUT_WATTS), within_s=10, what="the cut, once they obey again")


def test_when_all_gpus_are_lost_powerd_stays_up_and_goes_on_when_they_are_back(host: Rig) -> None:
    for index in range(8):
        host.gpus.lose(index)
    host.wait_for(lambda: all(g["state"] == "lost" for g in host.status()["gpus"]), within_s=3)
    host.publish_budget(CUT_WATTS, lease_s=60)
    host.wait_iterations(3)
    assert host.get("/healthz").status == 200
    for index in range(8):
        host.gpus.lose(index, is_lost=False)
    host.wait_for(lambda: host.obeyed(CUT_WATTS), within_s=10, what="the cut, once they are back")


def test_a_limit_that_someone_raises_is_set_back_within_a_period(host: Rig) -> None:
    host.gpus.write_as_rival(BAD, 400)
    host.wait_for(lambda: host.limits_mw()[BAD] == 267_000, within_s=PERIOD_S + MARGIN_S, what="set back")
    told = host.wait_for(lambda: host.problem("other_writer"), within_s=1, what="the rival told of")
    assert "another writer set 400 W where powerd wrote 267 W" in told
    assert host.metric("powerd_writer_conflict_total") == 1
    assert len(set(host.limits_mw())) == 1


def test_a_rival_that_does_not_give_up_is_set_back_every_time(host: Rig) -> None:
    for _ in range(5):
        host.gpus.write_as_rival(BAD, 400)
        host.wait_for(lambda: host.limits_mw()[BAD] == 267_000, within_s=PERIOD_S + MARGIN_S, what="set back")
        # Between a write and its read-back a rival's value is a refusal, which is another test.
        host.wait_iterations(1)
    assert host.daemon.log.count("other_writer") == 1


def test_a_limit_that_someone_lowers_is_respected_and_its_watts_are_used_elsewhere(host: Rig) -> None:
    host.gpus.write_as_rival(BAD, 150)
    host.wait_for(lambda: "kept as a ceiling" in host.problem("other_writer"), within_s=2)
    host.wait_for(lambda: host.obeyed(3000), within_s=2, what="its watts with the others")
    host.wait_iterations(3)
    assert host.limits_mw()[BAD] == 150_000
    assert "other_writer" in host.get(f"/v1/explain?gpu={BAD}").body
    host.obey(3400, lease_s=60)
    assert host.limits_mw()[BAD] == 150_000


def test_a_board_that_limits_on_its_own_is_told_of_and_left_alone(host: Rig) -> None:
    host.gpus.limit_out_of_band(BAD, 200)
    assert "limited out of band" in host.wait_for(lambda: host.problem("out_of_band_limit"), within_s=2)
    host.wait_iterations(2)
    assert host.limits_mw()[BAD] == 200_000
    cut(host, within_s=1)


def test_a_driver_reload_is_undone_before_anything_else(host: Rig) -> None:
    """The new driver starts with every GPU at its default of 400 W."""
    begun_boot_s = boot_s()
    host.gpus.reload_driver()
    host.wait_for(lambda: fits(host, 3000), within_s=1, what="limits put back")
    host.wait_for(lambda: host.obeyed(3000), within_s=3, what="the budget in force")
    assert host.get("/healthz").status == 200
    assert "other_writer" not in host.daemon.log
    assert list(excesses(host, begun_boot_s)) == []


def test_a_driver_that_is_away_for_a_while_is_attached_again(host: Rig) -> None:
    host.gpus.unload_driver()
    host.wait_for(lambda: host.get("/readyz").status == 503, within_s=3, what="not ready")
    assert host.get("/healthz").status == 200
    host.publish_budget(CUT_WATTS, lease_s=60)
    host.wait_iterations(3)
    host.gpus.reload_driver()
    host.wait_for(lambda: host.obeyed(CUT_WATTS), within_s=5, what="the cut that came meanwhile")


def test_a_daemon_that_dies_while_a_gpu_is_lost_still_leaves_the_fallback(host: Rig) -> None:
    """The others leave room for the limit that the lost one has, should it come back."""
    host.gpus.lose(BAD)
    host.wait_for(lambda: gpu(host, BAD)["state"] == "lost", within_s=2, what="the loss noticed")
    host.daemon.kill()
    host.wait_for(lambda: fits(host, FAILSAFE_WATTS), within_s=2, what="the fallback of the others")


def test_a_hardware_power_brake_is_failsafe_on_this_host(make_rig: MakeRig) -> None:
    rig = make_rig(control={"brake_hold_s": 1.0})
    rig.start()
    rig.obey(3000, lease_s=60)
    rig.gpus.gpus[BAD].extra_reasons = HW_POWER_BRAKE
    rig.wait_for(lambda: rig.obeyed(FAILSAFE_WATTS), within_s=2 * PERIOD_S + MARGIN_S, what="failsafe")
    assert rig.wait_for(lambda: rig.status()["failsafe_cause"], within_s=1) == "power_brake"
    assert "HW power brake" in rig.problem("power_brake")
    rig.wait_iterations(4)
    assert rig.obeyed(FAILSAFE_WATTS)
    rig.gpus.gpus[BAD].extra_reasons = 0
    rig.wait_for(lambda: rig.obeyed(3000), within_s=5, what="the budget in force again")


def test_a_daemon_that_dies_while_the_driver_is_away_leaves_the_fallback_for_its_return(host: Rig) -> None:
    """The new driver starts at 400 W each, and nobody but the guard is there to lower that."""
    host.gpus.unload_driver()
    host.wait_for(lambda: all(g["state"] == "lost" for g in host.status()["gpus"]), within_s=3)
    host.wait_iterations(3)
    host.daemon.kill()
    host.wait_for(lambda: "the plan has ended" in host.guard.log, within_s=3, what="the end of its plan")
    host.gpus.reload_driver()
    host.wait_for(lambda: fits(host, FAILSAFE_WATTS), within_s=12, what="the fallback after its return")
