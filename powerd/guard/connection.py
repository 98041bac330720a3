"""One client of the guard: bytes in, whole lines out, and never more memory than a bound.

Invariant: whatever a peer sends or leaves unread, it costs the guard one closed connection at most.
"""

import socket
import struct
from collections.abc import Callable

from powerd.guard.protocol import MAX_LINE_BYTES, Message, encode

_CHUNK_BYTES = 64 * 1024
# A client that has not read this much of its replies is not reading any more.
_MAX_UNSENT_BYTES = 8 * MAX_LINE_BYTES
_UCRED = struct.Struct("3i")


class Connection:
    """One accepted socket; main loop only.

    Args:
        peer: the socket.
        want_write: called with whether the socket is to be watched for room to write.

    Attributes:
        peer: the socket; non-blocking.
        token: what `keeper` gave this connection.
        closing: to be closed by the server as soon as it has the hand.
        outstanding: requests that have not been answered.
    """

    def __init__(self, peer: socket.socket, want_write: Callable[["Connection", bool], None]) -> None:
        peer.setblocking(False)
        self.peer = peer
        self.token = ""
        self.closing = False
        self.outstanding = 0
        self._want_write = want_write
        self._incoming = bytearray()
        self._unsent = bytearray()
        self._wants_write = False

    def peer_uid(self) -> int:
        """Return the user id of the process that connected (SO_PEERCRED, unix(7))."""
        credentials = self.peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        uid: int = _UCRED.unpack(credentials)[1]
        return uid

    def receive(self) -> list[bytearray]:
        """Return the whole lines that have arrived; marks itself as closing at the end of the stream."""
        try:
            chunk = self.peer.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            chunk = b""
        if not chunk:
            self.closing = True
            return []
        searched = len(self._incoming)
        self._incoming += chunk
        if self._incoming.find(b"\n", searched) < 0:
            self._check_length(self._incoming)
            return []
        *lines, self._incoming = self._incoming.split(b"\n")
        for line in (*lines, self._incoming):
            self._check_length(line)
        return [] if self.closing else lines

    def send(self, message: Message) -> None:
        """Send a message as far as the peer takes it now, and the rest later."""
        if self.closing:
            return
        self._unsent += encode(message)
        self.flush()

    def refuse(self, text: str) -> None:
        """Say in one line why the connection is closed, and close it."""
        self.send({"id": 0, "ok": False, "error": text})
        self.closing = True

    def flush(self) -> None:
        """Send what waits; asks to be called again when the peer takes no more."""
        try:
            sent = self.peer.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:  # the peer is gone; nobody is left to be told
            self.closing = True
            return
        del self._unsent[:sent]
        if len(self._unsent) > _MAX_UNSENT_BYTES:
            self.closing = True
        if bool(self._unsent) is not self._wants_write:
            self._wants_write = bool(self._unsent)
            self._want_write(self, self._wants_write)

    def _check_length(self, line: bytearray) -> None:
        if len(line) > MAX_LINE_BYTES and not self.closing:
            self.refuse(f"a line is longer than {MAX_LINE_BYTES} bytes")
