import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import Mosquitto
from tests.openadr.rig import Start, rig


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """The site's broker."""
    with Mosquitto(tmp_path / "broker") as mosquitto:
        yield mosquitto


@pytest.fixture
def start(tmp_path: Path, broker: Mosquitto) -> Start:
    """What gives a rig; the state file is in `tmp_path`."""
    return functools.partial(rig, tmp_path, broker)
