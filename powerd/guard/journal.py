"""One line to stderr, with the priority prefix that the systemd journal reads (sd-daemon(3))."""

import sys
from typing import Final

ERROR: Final = 3
WARNING: Final = 4
NOTICE: Final = 5


def log(priority: int, text: str) -> None:
    """Write one line; line breaks in `text`, which may come from a peer, become spaces."""
    prefix = "" if sys.stderr.isatty() else f"<{priority}>"
    sys.stderr.write(f"{prefix}powerd-guard: {' '.join(text.splitlines())}\n")
    sys.stderr.flush()
