from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import Mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running Mosquitto without persistence."""
    with Mosquitto(tmp_path / "broker") as mosquitto:
        yield mosquitto
