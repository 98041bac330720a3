"""What only the real bindings can get wrong: fields, fallbacks, sentinels, return codes, the library."""

import ctypes
import os
import subprocess
import sys

import pynvml
import pytest

from powerd.guard.driver import DriverError, Kind, Limits
from powerd.guard.nvml import NvmlDriver
from tests import fake_nvml
from tests.fake_nvml import FakeNvml

# Attaches, reads every GPU as the guard does, and prints its resident memory in KiB.
_CHILD = """
from powerd.guard.nvml import NvmlDriver
driver = NvmlDriver()
gpus = driver.attach()
for gpu in gpus:
    driver.set_limit(gpu.uuid, 200000)
    assert driver.read(gpu.uuid).limits == driver.read_limits(gpu.uuid)
print(len(gpus), next(l.split()[1] for l in open("/proc/self/status") if l.startswith("VmRSS")))
"""


@pytest.fixture
def driver(nvml_host: FakeNvml) -> NvmlDriver:
    return NvmlDriver()


def failing_attach(driver: NvmlDriver) -> DriverError:
    with pytest.raises(DriverError) as error:
        driver.attach()
    assert "\n" not in str(error.value)
    return error.value


def test_another_process_sees_the_same_gpus_through_the_loader_and_stays_small(nvml_host: FakeNvml) -> None:
    """LD_LIBRARY_PATH is all that the unmodified bindings need; 18 MiB leaves room in the guard's 20."""
    child = subprocess.run(
        [sys.executable, "-c", _CHILD],
        env=os.environ | nvml_host.environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    count, resident_kib = map(int, child.stdout.split())
    assert count == len(nvml_host.gpus)
    assert [gpu.requested_mw for gpu in nvml_host.gpus] == [200_000] * count
    assert resident_kib < 18 * 1024


def test_attaching_and_reading_write_nothing(driver: NvmlDriver, nvml_host: FakeNvml) -> None:
    for gpu in driver.attach():
        driver.read(gpu.uuid)
        driver.read_limits(gpu.uuid)
    assert [gpu.set_calls for gpu in nvml_host.gpus] == [0] * len(nvml_host.gpus)
    assert nvml_host.writes() == []


def test_a_limit_is_set_by_the_call_whose_return_code_is_checked(
    driver: NvmlDriver, nvml_host: FakeNvml
) -> None:
    """The bindings' _v2 setter reports success whatever the driver says."""
    uuid = driver.attach()[0].uuid
    driver.set_limit(uuid, 200_000)
    assert (nvml_host.gpus[0].set_calls, nvml_host.gpus[0].set_v2_calls) == (1, 0)


def test_a_read_back_is_one_driver_call_and_a_reading_three(driver: NvmlDriver, nvml_host: FakeNvml) -> None:
    """Driver calls may take 20 ms each."""
    uuid = driver.attach()[0].uuid
    probing = nvml_host.gpus[0].get_calls
    driver.read_limits(uuid)
    assert nvml_host.gpus[0].get_calls == probing + 1
    driver.read(uuid)
    assert nvml_host.gpus[0].get_calls == probing + 4


def test_without_fields_the_older_functions_answer(driver: NvmlDriver, nvml_host: FakeNvml) -> None:
    nvml_host.gpus[0].missing = fake_nvml.FIELDS
    gpu = driver.attach()[0]
    assert gpu.capability == "settable"
    driver.set_limit(gpu.uuid, 200_000)
    sample = driver.read(gpu.uuid)
    assert sample.limits == driver.read_limits(gpu.uuid) == Limits(200_000, 200_000)
    assert sample.draw_mw == 60_000
    assert sample.energy_mj is not None
    assert sample.capped_ns is None


def test_a_driver_without_the_newer_functions_still_serves(old_host: FakeNvml) -> None:
    driver = NvmlDriver()
    gpu = driver.attach()[0]
    driver.set_limit(gpu.uuid, 200_000)
    sample = driver.read(gpu.uuid)
    assert gpu.capability == "settable"
    assert sample.limits == Limits(200_000, 200_000)
    assert (sample.draw_mw, sample.event_reasons, sample.capped_ns) == (60_000, 0, None)


def test_sentinels_are_no_readings(driver: NvmlDriver, nvml_host: FakeNvml) -> None:
    uuid = driver.attach()[0].uuid
    nvml_host.gpus[0].blank = 1
    sample = driver.read(uuid)
    assert sample.limits == Limits(None, None)
    assert (sample.draw_mw, sample.energy_mj, sample.capped_ns) == (None, None, None)
    assert sample.sm_clock_mhz is None


def test_a_reading_that_fails_later_is_missing_and_the_rest_stay(
    driver: NvmlDriver, nvml_host: FakeNvml
) -> None:
    uuid = driver.attach()[0].uuid
    nvml_host.gpus[0].missing = fake_nvml.POWER
    sample = driver.read(uuid)
    assert sample.draw_mw is None
    assert sample.limits == Limits(400_000, 400_000)


def test_a_gpu_that_tells_no_clock_is_not_asked_again(driver: NvmlDriver, nvml_host: FakeNvml) -> None:
    nvml_host.gpus[0].missing = fake_nvml.CLOCK
    gpu = driver.attach()[0]
    probing = nvml_host.gpus[0].get_calls
    sample = driver.read(gpu.uuid)
    assert (gpu.capability, gpu.max_sm_clock_mhz, sample.sm_clock_mhz) == ("settable", None, None)
    assert sample.draw_mw == 60_000
    assert nvml_host.gpus[0].get_calls == probing + 2


def test_a_clock_that_fails_later_is_missing_and_the_rest_stay(
    driver: NvmlDriver, nvml_host: FakeNvml
) -> None:
    uuid = driver.attach()[0].uuid
    nvml_host.gpus[0].missing = fake_nvml.CLOCK
    sample = driver.read(uuid)
    assert (sample.sm_clock_mhz, sample.draw_mw) == (None, 60_000)


def test_a_field_that_says_the_gpu_is_lost_is_believed(driver: NvmlDriver, nvml_host: FakeNvml) -> None:
    """The bindings do not raise for a field, and without draw or limits the reading would look harmless."""
    uuid = driver.attach()[0].uuid
    nvml_host.gpus[0].field_error = fake_nvml.GPU_IS_LOST
    with pytest.raises(DriverError) as error:
        driver.read_limits(uuid)
    assert error.value.kind == Kind.LOST


@pytest.mark.parametrize(
    ("missing", "capability"),
    [
        (0, "settable"),
        (fake_nvml.CONSTRAINTS, "readable"),
        (fake_nvml.REQUESTED, "readable"),
        (fake_nvml.ENFORCED, "opaque"),
        (fake_nvml.PERSISTENCE | fake_nvml.DEFAULT_LIMIT | fake_nvml.ENERGY | fake_nvml.REASONS, "settable"),
    ],
)
def test_what_a_gpu_tells_decides_what_powerd_can_do_with_it(
    driver: NvmlDriver, nvml_host: FakeNvml, missing: int, capability: str
) -> None:
    nvml_host.gpus[1].missing = missing
    gpus = driver.attach()
    assert gpus[1].capability == capability
    assert gpus[0].capability == "settable"
    driver.read(gpus[1].uuid)


def test_persistence_mode_is_told_as_off_or_unknown(driver: NvmlDriver, nvml_host: FakeNvml) -> None:
    nvml_host.gpus[0].persistence = 0
    nvml_host.gpus[1].missing = fake_nvml.PERSISTENCE
    assert [gpu.persistence_mode for gpu in driver.attach()[:3]] == [False, None, True]


def test_a_gpu_that_does_not_tell_its_uuid_is_listed_and_cannot_be_read(
    driver: NvmlDriver, nvml_host: FakeNvml
) -> None:
    """It draws power: were it left out, its watts would be given to others."""
    nvml_host.lose(2)
    gpus = driver.attach()
    assert [gpu.capability for gpu in gpus] == ["settable", "settable", "opaque", "settable"]
    assert driver.read_limits(gpus[3].uuid) == Limits(400_000, 400_000)
    with pytest.raises(DriverError) as error:
        driver.read(gpus[2].uuid)
    assert error.value.kind == Kind.LOST


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (pynvml.NVML_ERROR_UNINITIALIZED, Kind.DRIVER_GONE),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, Kind.DRIVER_GONE),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, Kind.DRIVER_REPLACED),
        (pynvml.NVML_ERROR_GPU_IS_LOST, Kind.LOST),
        (pynvml.NVML_ERROR_RESET_REQUIRED, Kind.LOST),
        (pynvml.NVML_ERROR_TIMEOUT, Kind.UNKNOWN),
        (pynvml.NVML_ERROR_OPERATING_SYSTEM, Kind.UNKNOWN),
        (pynvml.NVML_ERROR_UNKNOWN, Kind.UNKNOWN),
        (4242, Kind.UNKNOWN),
    ],
)
def test_every_return_code_has_a_meaning(
    driver: NvmlDriver, nvml_host: FakeNvml, code: int, kind: str
) -> None:
    uuid = driver.attach()[0].uuid
    nvml_host.gpus[0].get_error = code
    with pytest.raises(DriverError) as error:
        driver.read(uuid)
    assert error.value.kind == kind
    assert uuid in str(error.value)


def test_no_permission_says_which_capability_is_missing(driver: NvmlDriver, nvml_host: FakeNvml) -> None:
    uuid = driver.attach()[0].uuid
    nvml_host.gpus[0].set_error = fake_nvml.NO_PERMISSION
    with pytest.raises(DriverError, match="CAP_SYS_ADMIN"):
        driver.set_limit(uuid, 200_000)


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found(name: str) -> ctypes.CDLL:
        raise OSError(name)

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", not_found)
    error = failing_attach(NvmlDriver())
    assert error.kind == Kind.DRIVER_GONE
    assert "libnvidia-ml.so.1" in str(error)
    assert "NVIDIA driver" in str(error)


def test_the_fake_library_refuses_to_pass_for_the_real_one(
    driver: NvmlDriver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FAKE_NVML_STATE")
    assert failing_attach(driver).kind == Kind.DRIVER_GONE
    assert "for tests only" in capfd.readouterr().err


def test_the_write_log_tells_order_and_sums(driver: NvmlDriver, nvml_host: FakeNvml) -> None:
    first, second = (gpu.uuid for gpu in driver.attach()[:2])
    driver.set_limit(second, 200_000)
    driver.set_limit(first, 300_000)
    nvml_host.write_as_rival(1, 350)
    nvml_host.limit_out_of_band(0, 150)
    assert [(write.gpu, write.requested_mw, write.source) for write in nvml_host.writes()] == [
        (1, 200_000, fake_nvml.BY_NVML),
        (0, 300_000, fake_nvml.BY_NVML),
        (1, 350_000, fake_nvml.BY_RIVAL),
        (0, 300_000, fake_nvml.BY_BOARD),
    ]
    sums = nvml_host.limit_sums()
    assert [entry.enforced_mw for entry in sums] == [1_600_000, 1_400_000, 1_300_000, 1_450_000, 1_300_000]
    assert [entry.boot_ns for entry in sums] == sorted(entry.boot_ns for entry in sums)
