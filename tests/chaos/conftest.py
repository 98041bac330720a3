"""Fixtures of the chaos."""

from pathlib import Path

import pytest

from tests.fake_nvml import build


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the fake NVML library once."""
    return build(tmp_path_factory.mktemp("lib"))
