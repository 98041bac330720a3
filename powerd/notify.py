"""Messages to the service manager (sd_notify(3)): ready, alive, reloading, stopping.

Standard library only, because the guard sends them too. Without a service manager every call does nothing.
"""

import os
import socket
import time


def notify(state: str) -> None:
    """Send one state, e.g. "READY=1", "WATCHDOG=1" or "STATUS=...", to $NOTIFY_SOCKET.

    The service manager is informed, never relied upon: a send that fails is its loss and stays silent, for
    there is nobody else to tell, and the watchdog notices a manager that hears nothing.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # the abstract name space
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), address)
    except OSError:  # also when there is no descriptor left to send with
        return


def notify_reloading() -> None:
    """Say that the configuration is being read again; "READY=1" says that it is over."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval_s() -> float | None:
    """Return how often "WATCHDOG=1" is due: half of WatchdogSec=; None when no watchdog is set."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    meant_for = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdigit() or int(microseconds) == 0 or meant_for != str(os.getpid()):
        return None
    return int(microseconds) / 1e6 / 2
