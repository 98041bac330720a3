from pathlib import Path

import pytest

from tests.guard.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A guard of two GPUs, attached, both at their default of 400 W."""
    return Rig(tmp_path)
