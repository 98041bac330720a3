"""A small JSON file that outlives a crash of the guard, and is void after a reboot.

It lives in a runtime directory, so it is replaced atomically but never synced. A file that cannot be read or
written is reported once and then done without: the guard's work never depends on it.
"""

import errno
import json
import os
from pathlib import Path
from typing import Any

from powerd.clock import boot_id
from powerd.guard import journal
from powerd.guard.protocol import MAX_MW


def stored_mw(value: object) -> int:
    """Return milliwatts out of a file.

    Raises:
        ValueError: they are none that a limit can have.
    """
    if type(value) is not int or not 0 <= value <= MAX_MW:
        raise ValueError(f"{value!a:.40} is no limit in milliwatts")
    return value


_ENCODER = json.JSONEncoder(check_circular=False, separators=(",", ":"))


class StateFile:
    """One file. Content of another boot counts as absent: limits and boot-clock times died with it.

    Args:
        path: the file; its directory must exist for `save` to work.

    Attributes:
        is_written: the last `save` has worked, or there was none yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._boot_id = boot_id()
        self._complained = False
        self.is_written = True

    def load(self) -> dict[str, Any]:
        """Return the content, empty when there is none that can be used."""
        try:
            content = json.loads(Path(self._path).read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            self._complain("read", error)
            return {}
        if not isinstance(content, dict):
            self._complain("read", ValueError("not a JSON object"))
            return {}
        return content if content.get("boot_id") == self._boot_id else {}

    def save(self, content: dict[str, Any]) -> None:
        """Replace the content."""
        line = _ENCODER.encode({"boot_id": self._boot_id, **content}).encode()
        fresh = self._path + ".new"
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            try:
                if os.write(descriptor, line) != len(line):  # as much as there was room for
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)
            os.replace(fresh, self._path)  # noqa: PTH105 - at 1 Hz the plain call costs a third
        except OSError as error:
            self.is_written = False
            self._complain("write", error)
        else:
            self.is_written = True
            self._complained = False

    def remove(self) -> None:
        """Delete the file if there is one."""
        try:
            Path(self._path).unlink(missing_ok=True)
        except OSError as error:
            self._complain("delete", error)

    def _complain(self, verb: str, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            journal.log(journal.WARNING, f"cannot {verb} {self._path}: {error}; going on without it")
