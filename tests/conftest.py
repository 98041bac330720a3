"""What all tests have: properties that are searched the same way in every run, and a broker."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.broker import Mosquitto

# So that a failure is a change and not chance.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running Mosquitto without persistence."""
    with Mosquitto(tmp_path / "broker") as mosquitto:
        yield mosquitto
