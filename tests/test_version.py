"""What a report of a fault begins with."""

import subprocess
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest


@pytest.mark.parametrize("program", ["powerd", "powerctl"])
def test_each_program_tells_its_version(program: str) -> None:
    path = Path(sysconfig.get_path("scripts"), program)
    told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=True)
    assert (told.stdout, told.stderr) == (f"{program} {version('powerd')}\n", "")
