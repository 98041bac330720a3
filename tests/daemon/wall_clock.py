"""A wall clock that tests may set, for processes started with its environment."""

import os
import struct
import subprocess
from pathlib import Path


class WallClock:
    """The wall clock of some processes; as long as nobody sets it, it is right, and kept by a time service.

    Args:
        directory: made, for the library that is preloaded and the file that says how wrong it is.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._library = directory / "wall_clock.so"
        self._file = directory / "wall_clock"
        source = Path(__file__).with_suffix(".c")
        flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
        subprocess.run([os.environ.get("CC", "cc"), *flags, "-o", self._library, source], check=True)
        self._write(0.0, is_synced=True)

    def environment(self) -> dict[str, str]:
        """Return what a process needs in its environment to go by this clock."""
        return {"LD_PRELOAD": str(self._library), "WALL_CLOCK_FILE": str(self._file)}

    def set_ahead(self, seconds: float) -> None:
        """Set it so far ahead of the right time; negative: back."""
        self._write(seconds, is_synced=True)

    def lose_sync(self) -> None:
        """Let no time service keep it any more; it stays right. The daemon asks every ten seconds."""
        self._write(0.0, is_synced=False)

    def _write(self, ahead_s: float, *, is_synced: bool) -> None:
        self._file.touch()
        with self._file.open("r+b") as file:
            file.write(struct.pack("qq", round(ahead_s * 1e9), is_synced))
