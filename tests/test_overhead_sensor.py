"""What the host draws besides its GPUs, as the kernel tells it."""

from pathlib import Path

import pytest

from powerd.core.gpus.overhead import OverheadSample
from powerd.daemon.overhead_sensor import HostMeter, RaplSensor, overhead_sensor
from powerd.errors import ConfigError


def rapl_tree(root: Path, *energies_uj: int) -> list[Path]:
    files = []
    for number, energy_uj in enumerate(energies_uj):
        zone = root / f"intel-rapl:{number}"
        zone.mkdir()
        files.append(zone / "energy_uj")
        files[-1].write_text(f"{energy_uj}\n")
    return files


def test_rapl_is_the_mean_power_of_all_packages_since_the_last_reading(tmp_path: Path) -> None:
    first, second = rapl_tree(tmp_path, 1_000_000, 5_000_000)
    sensor = RaplSensor(tmp_path)
    assert sensor.read(0, 100.0) is None
    first.write_text("301000000")
    second.write_text("105000000")
    assert sensor.read(0, 102.0) == OverheadSample(200_000, 102.0, "rapl")


def test_a_counter_that_wrapped_is_no_measurement(tmp_path: Path) -> None:
    (counter,) = rapl_tree(tmp_path, 262_000_000_000)
    sensor = RaplSensor(tmp_path)
    sensor.read(0, 100.0)
    counter.write_text("1000")
    assert sensor.read(0, 101.0) is None


def test_a_host_meter_counts_what_its_gpus_do_not_draw_and_never_less_than_nothing(tmp_path: Path) -> None:
    meter = tmp_path / "power1_input"
    meter.write_text("2000000000\n")
    assert HostMeter(meter).read(1_400_000, 5.0) == OverheadSample(600_000, 5.0, str(meter))
    sample = HostMeter(meter).read(2_400_000, 6.0)
    assert sample is not None
    assert sample.mw == 0


def test_a_sensor_that_is_not_there_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no RAPL counters"):
        RaplSensor(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        overhead_sensor(str(tmp_path / "power1_input"))
    assert overhead_sensor("") is None
