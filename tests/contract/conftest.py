"""Fixtures of the driver contract."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from tests.contract.rigs import GPUS, NvmlRig, Rig, SimulatedRig
from tests.fake_nvml import FakeNvml, build


@pytest.fixture(scope="session")
def fake_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake libnvidia-ml.so.1, built once."""
    return build(tmp_path_factory.mktemp("fake_nvml"))


@pytest.fixture(scope="session")
def old_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without the functions that old drivers lack."""
    return build(tmp_path_factory.mktemp("fake_nvml_old"), old_driver=True)


def _load(library: Path, host: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the bindings use this library and no other, least of all a real one on a GPU host."""
    monkeypatch.setenv("FAKE_NVML_STATE", str(host.state))
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(library)))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})


@pytest.fixture
def nvml_host(fake_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """A host of fake GPUs that this process sees through the bindings."""
    host = FakeNvml(fake_library, tmp_path / "host", gpus=GPUS)
    _load(fake_library, host, monkeypatch)
    return host


@pytest.fixture
def old_host(old_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """The same with an old driver."""
    host = FakeNvml(old_library, tmp_path / "host", gpus=GPUS)
    _load(old_library, host, monkeypatch)
    return host


@pytest.fixture(params=["nvml", "simulated"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Each driver in turn, attached, with all GPUs at work for a second."""
    is_nvml = request.param == "nvml"
    rig: Rig = NvmlRig(request.getfixturevalue("nvml_host")) if is_nvml else SimulatedRig(tmp_path)
    rig.driver.attach()
    rig.advance(1.0)
    yield rig
    rig.driver.detach()
