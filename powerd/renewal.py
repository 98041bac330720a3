"""Starting again in the same process: an upgrade that the service manager does not take for a stop.

The units lower the limits whenever a service stops, and an upgrade must not. So the process stays, and only
its code changes. Should the new code not come up, the process ends, and the unit acts as at every end.
"""

import os
import signal
import sys
from typing import NoReturn, TypeVar, cast

from powerd.notify import notify

SIGNAL = signal.SIGUSR2
# Not POWERD_*: those are settings.
_VARIABLE = "RENEWED_POWERD_MODE"
_Mode = TypeVar("_Mode", bound=str)


def leave_mode(configured: str, in_force: str) -> None:
    """Leave an ordered mode to the code that takes over: an upgrade is no reason to write limits."""
    os.environ[_VARIABLE] = f"{configured} {in_force}"


def mode_left(configured: _Mode) -> _Mode:
    """Return the mode to start in: as it was left, unless the configured one is another by now."""
    before, _, in_force = os.environ.pop(_VARIABLE, "").partition(" ")
    return cast(_Mode, in_force) if before == configured else configured


def start_again() -> NoReturn:
    """Replace this process by one that is called in the same way; the caller has let go of all that it held.

    Raises:
        OSError: the interpreter is not there any more.
    """
    notify("RELOADING=1")
    # Ignored until the new code listens for them: another upgrade, or a reload, must not kill it meanwhile.
    for number in (SIGNAL, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdout.flush()
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - this process's own command line
