from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guard.live import LiveGuard, live_guard
from tests.guard.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A guard of two GPUs, attached, both at their default of 400 W."""
    return Rig(tmp_path)


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[LiveGuard]:
    with live_guard(tmp_path, call_deadline_s=0.2) as guard:
        yield guard
