"""The file of faults of simulated GPUs."""

import json
from pathlib import Path

import pytest

from powerd.guard.config import SimulatedGpus
from powerd.guard.driver import DriverError
from powerd.guard.simulated import SimulatedDriver


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    return tmp_path / "faults.json"


@pytest.fixture
def driver(faults: Path) -> SimulatedDriver:
    return SimulatedDriver(SimulatedGpus(count=3, commands=str(faults)), clock=lambda: 0.0)


def test_a_star_means_every_gpu_that_is_not_named(driver: SimulatedDriver, faults: Path) -> None:
    faults.write_text(json.dumps({"gpus": {"1": {}, "*": {"event_reasons": 128}}}))
    assert [driver.read(gpu.uuid).event_reasons & 128 for gpu in driver.attach()] == [128, 0, 128]


def test_faults_end_with_the_file(driver: SimulatedDriver, faults: Path) -> None:
    uuid = driver.attach()[0].uuid
    faults.write_text(json.dumps({"gpus": {"0": {"lost": True}}}))
    with pytest.raises(DriverError):
        driver.read(uuid)
    faults.unlink()
    driver.read(uuid)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"gpus": {"0": {"lostt": true}}}', '{"gpu": {}}', '{"gpus": {"0": 7}}']
)
def test_a_file_that_cannot_be_used_is_named_in_one_line(
    driver: SimulatedDriver, faults: Path, text: str
) -> None:
    faults.write_text(text)
    with pytest.raises(DriverError, match=r"gpu\.simulated\.commands: .*faults\.json") as error:
        driver.attach()
    assert "\n" not in str(error.value)


def test_hosts_with_different_seeds_have_different_gpus() -> None:
    uuids = {gpu.uuid for seed in range(4) for gpu in SimulatedDriver(SimulatedGpus(seed=seed)).attach()}
    assert len(uuids) == 4 * 8
