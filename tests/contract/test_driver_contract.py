"""What the guard may rely on, whichever driver it runs on."""

import threading
import time

import pytest

from powerd.guard.driver import FORBID_WRITES_VARIABLE, DriverError, Kind, Limits, Sample
from tests.contract.rigs import GPUS, Rig


def uuid_of(rig: Rig, index: int) -> str:
    return rig.driver.attach()[index].uuid


def read(rig: Rig, uuid: str) -> tuple[Sample, int, int, int]:
    """Return a sample with its draw, energy and capped time, all of which must be there."""
    sample = rig.driver.read(uuid)
    assert sample.draw_mw is not None
    assert sample.energy_mj is not None
    assert sample.capped_ns is not None
    return sample, sample.draw_mw, sample.energy_mj, sample.capped_ns


def kind_of(error: pytest.ExceptionInfo[DriverError]) -> str:
    assert "\n" not in str(error.value)
    return error.value.kind


def test_attach_lists_every_gpu_once_with_its_constraints(rig: Rig) -> None:
    gpus = rig.driver.attach()
    assert [gpu.index for gpu in gpus] == list(range(GPUS))
    assert len({gpu.uuid for gpu in gpus}) == GPUS
    for gpu in gpus:
        assert (gpu.capability, gpu.min_mw, gpu.max_mw, gpu.default_mw, gpu.persistence_mode) == (
            "settable",
            100_000,
            400_000,
            400_000,
            True,
        )


def test_gpus_keep_their_uuids_when_the_driver_is_opened_again(rig: Rig) -> None:
    before = rig.driver.attach()
    rig.driver.detach()
    assert rig.driver.attach() == before


def test_limits_start_at_the_default(rig: Rig) -> None:
    assert rig.driver.read_limits(uuid_of(rig, 0)) == Limits(400_000, 400_000)


def test_a_limit_that_was_set_is_read_back_on_its_gpu_and_no_other(rig: Rig) -> None:
    first, second = uuid_of(rig, 0), uuid_of(rig, 1)
    rig.driver.set_limit(first, 250_001)
    assert rig.driver.read_limits(first) == rig.driver.read(first).limits == Limits(250_001, 250_001)
    assert rig.driver.read_limits(second) == Limits(400_000, 400_000)


@pytest.mark.parametrize("limit_mw", [-1, 0, 99_999, 400_001, 2**32 + 200_000])
def test_a_limit_outside_the_constraints_is_refused_and_changes_nothing(rig: Rig, limit_mw: int) -> None:
    uuid = uuid_of(rig, 0)
    with pytest.raises(DriverError) as error:
        rig.driver.set_limit(uuid, limit_mw)
    assert kind_of(error) == Kind.INVALID
    assert rig.driver.read_limits(uuid) == Limits(400_000, 400_000)


def test_a_lower_limit_lowers_the_draw_with_a_lag(rig: Rig) -> None:
    uuid = uuid_of(rig, 0)
    _, before_mw, _, _ = read(rig, uuid)
    rig.driver.set_limit(uuid, 200_000)
    rig.advance(0.02)
    _, soon_mw, _, _ = read(rig, uuid)
    rig.advance(1.0)
    _, late_mw, _, _ = read(rig, uuid)
    assert before_mw > soon_mw > 200_000 >= late_mw > 180_000


def test_a_limit_that_holds_work_back_shows_in_the_clock(rig: Rig) -> None:
    gpu = rig.driver.attach()[0]
    rig.advance(1.0)
    full = rig.driver.read(gpu.uuid).sm_clock_mhz
    assert full == gpu.max_sm_clock_mhz == 1980
    rig.driver.set_limit(gpu.uuid, 200_000)
    rig.advance(1.0)
    held = rig.driver.read(gpu.uuid).sm_clock_mhz
    assert held is not None
    assert 0.6 * full < held < 0.9 * full


def test_energy_is_the_integral_of_the_draw(rig: Rig) -> None:
    uuid = uuid_of(rig, 0)
    _, draw_mw, before_mj, _ = read(rig, uuid)
    rig.advance(10.0)
    _, _, after_mj, _ = read(rig, uuid)
    assert after_mj - before_mj == pytest.approx(10 * draw_mw, rel=0.01)


def test_the_capped_counter_advances_only_while_the_limit_holds_work_back(rig: Rig) -> None:
    uuid = uuid_of(rig, 0)
    rig.advance(1.0)
    sample, _, _, capped_ns = read(rig, uuid)
    assert capped_ns == 0
    assert sample.event_reasons & 0x4 == 0
    rig.driver.set_limit(uuid, 200_000)
    rig.advance(2.0)
    sample, _, _, capped_ns = read(rig, uuid)
    assert capped_ns == pytest.approx(2e9, rel=0.05)
    assert sample.event_reasons & 0x4


def test_nothing_is_written_while_writes_are_forbidden(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    uuid = uuid_of(rig, 0)
    monkeypatch.setenv(FORBID_WRITES_VARIABLE, "1")
    with pytest.raises(DriverError) as error:
        rig.driver.set_limit(uuid, 200_000)
    assert kind_of(error) == Kind.FORBIDDEN
    assert rig.driver.read_limits(uuid) == Limits(400_000, 400_000)


def test_a_lost_gpu_says_so_and_the_others_answer(rig: Rig) -> None:
    lost, other = uuid_of(rig, 1), uuid_of(rig, 2)
    rig.lose(1, is_lost=True)
    for call in (rig.driver.read, rig.driver.read_limits, lambda uuid: rig.driver.set_limit(uuid, 200_000)):
        with pytest.raises(DriverError) as error:
            call(lost)
        assert kind_of(error) == Kind.LOST
    rig.driver.set_limit(other, 200_000)
    assert rig.driver.read_limits(other) == Limits(200_000, 200_000)
    rig.lose(1, is_lost=False)
    assert rig.driver.read_limits(lost) == Limits(400_000, 400_000)


def test_a_gpu_that_was_never_there_is_lost(rig: Rig) -> None:
    with pytest.raises(DriverError) as error:
        rig.driver.read("GPU-unheard-of")
    assert kind_of(error) == Kind.LOST


def test_a_detached_driver_asks_to_be_attached(rig: Rig) -> None:
    uuid = uuid_of(rig, 0)
    rig.driver.detach()
    rig.driver.detach()
    with pytest.raises(DriverError) as error:
        rig.driver.read(uuid)
    assert kind_of(error) == Kind.DRIVER_GONE


def test_a_reload_shows_as_a_driver_gone_then_default_limits_and_a_smaller_energy(rig: Rig) -> None:
    uuid = uuid_of(rig, 0)
    rig.driver.set_limit(uuid, 200_000)
    _, _, before_mj, _ = read(rig, uuid)
    rig.reload_driver()
    with pytest.raises(DriverError) as error:
        rig.driver.read(uuid)
    assert kind_of(error) == Kind.DRIVER_GONE
    assert uuid in [gpu.uuid for gpu in rig.driver.attach()]
    sample, _, after_mj, _ = read(rig, uuid)
    assert sample.limits == Limits(400_000, 400_000)
    assert after_mj < before_mj


def test_without_a_driver_attaching_fails_until_it_is_loaded(rig: Rig) -> None:
    uuid = uuid_of(rig, 0)
    rig.unload_driver()
    for call in (rig.driver.attach, lambda: rig.driver.read(uuid)):
        with pytest.raises(DriverError) as error:
            call()
        assert kind_of(error) == Kind.DRIVER_GONE
    rig.reload_driver()
    assert len(rig.driver.attach()) == GPUS


@pytest.mark.parametrize("kind", [Kind.NO_PERMISSION, Kind.NOT_SUPPORTED, Kind.UNKNOWN])
def test_a_refused_write_says_why_and_reading_goes_on(rig: Rig, kind: str) -> None:
    uuid = uuid_of(rig, 0)
    rig.refuse_writes(0, kind)
    with pytest.raises(DriverError) as error:
        rig.driver.set_limit(uuid, 200_000)
    assert kind_of(error) == kind
    assert rig.driver.read_limits(uuid) == Limits(400_000, 400_000)


def test_a_write_without_effect_succeeds_and_only_the_read_back_tells(rig: Rig) -> None:
    uuid = uuid_of(rig, 0)
    rig.ignore_writes(0)
    rig.driver.set_limit(uuid, 200_000)
    assert rig.driver.read_limits(uuid) == Limits(400_000, 400_000)


def test_an_out_of_band_limit_shows_as_enforced_below_requested(rig: Rig) -> None:
    uuid = uuid_of(rig, 0)
    rig.driver.set_limit(uuid, 300_000)
    rig.limit_out_of_band(0, 250)
    assert rig.driver.read_limits(uuid) == Limits(requested_mw=300_000, enforced_mw=250_000)
    rig.advance(1.0)
    _, draw_mw, _, _ = read(rig, uuid)
    assert draw_mw <= 250_000
    rig.driver.set_limit(uuid, 200_000)
    assert rig.driver.read_limits(uuid) == Limits(200_000, 200_000)


def test_another_writer_shows_in_the_requested_limit(rig: Rig) -> None:
    uuid = uuid_of(rig, 0)
    rig.driver.set_limit(uuid, 200_000)
    rig.write_as_rival(0, 380)
    assert rig.driver.read_limits(uuid) == Limits(380_000, 380_000)
    rig.driver.set_limit(uuid, 200_000)
    assert rig.driver.read_limits(uuid) == Limits(200_000, 200_000)


def test_a_power_brake_shows_in_the_event_reasons(rig: Rig) -> None:
    uuid = uuid_of(rig, 0)
    rig.brake(0)
    assert rig.driver.read(uuid).event_reasons & 0x80


def test_a_slow_gpu_delays_its_own_calls_only(rig: Rig) -> None:
    slow, quick = uuid_of(rig, 0), uuid_of(rig, 1)
    rig.delay(0, get_s=0.3, set_s=0.5)
    started_s = time.monotonic()
    rig.driver.set_limit(slow, 200_000)
    set_at_s = time.monotonic()
    rig.driver.read_limits(slow)
    read_at_s = time.monotonic()
    rig.driver.set_limit(quick, 200_000)
    rig.driver.read_limits(quick)
    assert set_at_s - started_s >= 0.5
    assert read_at_s - set_at_s >= 0.3
    assert time.monotonic() - read_at_s < 0.3, "what the other's calls would take"


@pytest.mark.parametrize("call", ["read", "set"])
def test_a_hung_call_returns_when_the_gpu_does_and_the_others_answer_meanwhile(rig: Rig, call: str) -> None:
    hung, other = uuid_of(rig, 0), uuid_of(rig, 1)
    returned = threading.Event()

    def work() -> None:
        if call == "read":
            rig.driver.read(hung)
        else:
            rig.driver.set_limit(hung, 200_000)
        returned.set()

    rig.hang(0, is_hung=True)
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    rig.driver.set_limit(other, 150_000)
    assert rig.driver.read_limits(other) == Limits(150_000, 150_000)
    assert not returned.wait(0.05)
    rig.hang(0, is_hung=False)
    assert returned.wait(10)
    worker.join()
