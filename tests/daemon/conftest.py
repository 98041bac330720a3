"""Fixtures of the tests with real processes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.observer import unearned_raises
from tests.daemon.rig import Rig
from tests.fake_nvml import build

MakeRig = Callable[..., Rig]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the fake NVML library once."""
    return build(tmp_path_factory.mktemp("lib"))


@pytest.fixture
def make_rig(library: Path, tmp_path: Path) -> Iterator[MakeRig]:
    """Make rigs, none of their processes started; at the end the observer judges their write logs."""
    rigs: list[Rig] = []
    with ExitStack() as stack:

        def make(**tables: dict[str, Any]) -> Rig:
            directory = tmp_path / str(len(rigs))
            directory.mkdir()
            rigs.append(stack.enter_context(Rig(directory, library, tables=tables)))
            return rigs[-1]

        yield make
    assert [found for rig in rigs for found in unearned_raises(rig)] == []


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """Return a rig with nothing started."""
    return make_rig()


@pytest.fixture
def host(rig: Rig) -> Rig:
    """Return a rig that runs and obeys a budget of 3000 W for a minute."""
    rig.start()
    rig.obey(3000, lease_s=60)
    return rig
