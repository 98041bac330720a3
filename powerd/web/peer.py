"""Who is at the other end of a Unix socket, by the kernel's word."""

import asyncio
import pwd
import socket
import struct

from aiohttp import web

from powerd.desk.desk import Who

# struct ucred of unix(7): pid, uid, gid.
_CREDENTIALS = struct.Struct("iII")
# A name service can hang; the order does not wait for a name.
_NAME_WITHIN_S = 1.0


class Peers:
    """Tells who sent a request."""

    def __init__(self) -> None:
        self._is_asking = False

    async def who(self, request: web.Request) -> Who:
        """Return who opened the connection of a request.

        Raises:
            ConnectionResetError: the connection is gone.
        """
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client left before it was known")
        connection: socket.socket = transport.get_extra_info("socket")
        found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, gid = _CREDENTIALS.unpack(found)
        return Who(uid, gid, pid, await self._name(uid))

    async def _name(self, uid: int) -> str:
        """Return the user's name. One question at a time: a service that hangs takes one thread, not all."""
        unnamed = f"uid {uid}"
        if self._is_asking:
            return unnamed
        self._is_asking = True
        lookup = asyncio.ensure_future(asyncio.to_thread(_user_name, uid))
        lookup.add_done_callback(self._answered)
        try:
            return await asyncio.wait_for(asyncio.shield(lookup), _NAME_WITHIN_S) or unnamed
        except TimeoutError:
            return unnamed

    def _answered(self, _lookup: "asyncio.Future[str]") -> None:
        self._is_asking = False


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
