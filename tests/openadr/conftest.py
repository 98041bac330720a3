import functools
from pathlib import Path

import pytest

from tests.broker import Mosquitto
from tests.openadr.rig import Start, rig


@pytest.fixture
def start(tmp_path: Path, broker: Mosquitto) -> Start:
    """What gives a rig; the state file is in `tmp_path`."""
    return functools.partial(rig, tmp_path, broker)
