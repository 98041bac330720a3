"""A network that can be cut: a room with the broker in it, and hosts at the far ends of cables.

The room and the far ends are network namespaces, made for one test, by root or by anyone whom the kernel
gives a user namespace. Packets are lost where they would arrive, so that nobody is told. The test itself is
outside, and reaches what runs in there through Unix sockets and files.
"""

import os
import subprocess
from contextlib import ExitStack
from types import TracebackType
from typing import Self

# From the block that is set apart for the testing of networks.
ROOM_ADDRESS = "198.18.0.1"

_IS_ROOT = os.geteuid() == 0
_LOSE_NOTHING = """
table inet cables {
    set cut { type ifname; }
    set lossy { type ifname; }
    chain incoming {
        type filter hook input priority 0;
        iifname @cut drop;
        iifname @lossy numgen random mod 10 == 0 drop;
    }
}
"""


class Namespace:
    """A network namespace. It ends with this process, whatever becomes of that, once nothing runs in it.

    Args:
        beside: one that cables may lead to; None for the first one.

    Attributes:
        pid: of the process that keeps it.
        enter: what to put before a command so that it runs in there.
    """

    def __init__(self, beside: "Namespace | None" = None) -> None:
        # Whoever keeps it waits for the end of a pipe, and says something once it is there.
        keep = ("sh", "-c", "echo && exec cat")
        command = ("unshare", "--net", *keep) if _IS_ROOT or beside else ("unshare", "-r", "--net", *keep)
        before = beside.enter if beside and not _IS_ROOT else ()
        self._keeper = subprocess.Popen([*before, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self._keeper.pid
        kinds = ("--net",) if _IS_ROOT else ("--user", "--net", "--preserve-credentials")
        self.enter: tuple[str, ...] = ("nsenter", f"--target={self.pid}", *kinds, "--")
        if not self._keeper.stdout or not self._keeper.stdout.readline():
            raise RuntimeError(
                "no network namespace can be had: run the tests as root, or allow user namespaces"
            )
        self.run("ip", "link", "set", "lo", "up")
        self.run("nft", "-f", "-", text=_LOSE_NOTHING)

    def run(self, *command: str, text: str = "") -> None:
        """Run a command in it.

        Raises:
            subprocess.CalledProcessError: it failed; what it said is on standard error.
        """
        subprocess.run([*self.enter, *command], check=True, input=text, text=True, timeout=20)

    def cut(self, plug: str) -> None:
        """Lose all that comes in by this plug; nothing happens if that is so already."""
        self.run("nft", "add", "element", "inet", "cables", "cut", f"{{ {plug} }}")

    def fray(self, plug: str) -> None:
        """Lose every tenth packet that comes in by this plug, at random."""
        self.run("nft", "add", "element", "inet", "cables", "lossy", f"{{ {plug} }}")

    def heal(self) -> None:
        """Lose nothing any more."""
        for kind in ("cut", "lossy"):
            self.run("nft", "flush", "set", "inet", "cables", kind)

    def close(self) -> None:
        """Give it up."""
        self._keeper.communicate(timeout=10)


class Cable:
    """A cable between the room and one host, each direction of which can be cut.

    Attributes:
        enter: what to put before a command so that it runs at the far end.
    """

    def __init__(self, room: Namespace, far: Namespace, number: int) -> None:
        self._room, self._far = room, far
        self._plug = f"cable{number}"
        self.enter = far.enter
        peer = ("peer", "name", self._plug, "netns", str(far.pid))
        room.run("ip", "link", "add", self._plug, "type", "veth", *peer)
        for end, last in ((room, 1), (far, 2)):
            end.run("ip", "address", "add", f"198.18.{number}.{last}/24", "dev", self._plug)
            end.run("ip", "link", "set", self._plug, "up")
        far.run("ip", "route", "add", "default", "via", f"198.18.{number}.1")

    def cut(self, *, to_host: bool = False, to_room: bool = False) -> None:
        """Lose every packet in one direction, or in both, from now on."""
        if to_host:
            self._far.cut(self._plug)
        if to_room:
            self._room.cut(self._plug)

    def fray(self) -> None:
        """Lose every tenth packet, at random, in each direction, from now on."""
        for end in (self._far, self._room):
            end.fray(self._plug)


class Network:
    """A room, and any number of cables that lead out of it. A context manager that leaves nothing behind."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._ends: list[Namespace] = []
        self.room = self._namespace(None)
        self.room.run("ip", "address", "add", f"{ROOM_ADDRESS}/32", "dev", "lo")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def cable(self) -> Cable:
        """Return a new cable, with nothing at its far end yet."""
        far = self._namespace(self.room)
        return Cable(self.room, far, len(self._ends) - 1)

    def heal(self) -> None:
        """Lose nothing any more, on any cable."""
        for end in self._ends:
            end.heal()

    def _namespace(self, beside: Namespace | None) -> Namespace:
        made = Namespace(beside)
        self._stack.callback(made.close)
        self._ends.append(made)
        return made
