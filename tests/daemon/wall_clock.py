"""A wall clock that tests may set, for processes started with its environment."""

import os
import struct
import subprocess
from pathlib import Path


class WallClock:
    """The wall clock of some processes; as long as nobody sets it, it is right.

    Args:
        directory: made, for the library that is preloaded and the file that says how wrong it is.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._library = directory / "wall_clock.so"
        self._offset = directory / "wall_clock_offset"
        source = Path(__file__).with_suffix(".c")
        flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
        subprocess.run([os.environ.get("CC", "cc"), *flags, "-o", self._library, source], check=True)
        self._offset.write_bytes(bytes(8))

    def environment(self) -> dict[str, str]:
        """Return what a process needs in its environment to go by this clock."""
        return {"LD_PRELOAD": str(self._library), "WALL_CLOCK_OFFSET": str(self._offset)}

    def set_ahead(self, seconds: float) -> None:
        """Set it so far ahead of the right time; negative: back."""
        with self._offset.open("r+b") as file:
            file.write(struct.pack("q", round(seconds * 1e9)))
