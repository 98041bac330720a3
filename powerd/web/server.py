"""The endpoint: a read-only application on TCP, and on a Unix socket the same, which takes orders too.

Invariant: it shows what is, and passes orders on; it changes nothing itself. A slow, broken or hostile client
costs a bounded amount of memory and never time of the control loop's.
"""

import asyncio
import errno
import grp
import os
import socket
import stat
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.typedefs import Middleware
from multidict import CIMultiDict, CIMultiDictProxy

from powerd.clock import Clock
from powerd.desk.desk import Desk
from powerd.errors import ConfigError
from powerd.history.history import History
from powerd.ledger.reader import LedgerReader
from powerd.metrics.exposition import Metrics
from powerd.snapshot import Snapshot
from powerd.web.checks import host_check, no_body_to_read, one_line_errors, read_only, secure_headers
from powerd.web.door import Admit, Door, most_connections
from powerd.web.order_routes import MAX_BODY_BYTES, ORDERS, OrderInterface
from powerd.web.routes import STREAM, GetSnapshot, Interface
from powerd.web.stream import Stream

SOCKET_MODE = 0o660
# A client that has not finished its request line and headers by then is disconnected.
_IDLE_TIMEOUT_S = 15.0
_SHUTDOWN_TIMEOUT_S = 1.0
_MAX_HEADER_BYTES = 4096
_MAX_HEADERS = 64
_BACKLOG = 64
_MAX_PORT = 0xFFFF


class WebServer:
    """Serves views of the latest snapshot.

    Args:
        get_snapshot: returns the latest finished iteration, None before the first.
        clock: tells how old it is.
        metrics: served at `/metrics`.
        listen: `address:port`; port 0 takes a free one; empty for no TCP.
        socket_path: Unix socket; None for none.
        socket_group: group that may use the socket besides the owner; empty for the process's own.
        names: host names that clients may use for this server, besides `localhost` and that of `listen`.
        ledger: of grid events; None if none is kept.
        history: what was of late; by default nothing.
        desk: takes orders that come over the socket; None: none are taken.

    Raises:
        ConfigError: by `start`, when an address cannot be used; the text names the key.
    """

    def __init__(
        self,
        get_snapshot: GetSnapshot,
        clock: Clock,
        metrics: Metrics,
        *,
        listen: str = "",
        socket_path: Path | None = None,
        socket_group: str = "",
        names: Collection[str] = (),
        ledger: LedgerReader | None = None,
        history: History | None = None,
        desk: Desk | None = None,
    ) -> None:
        self._stream = Stream()
        self._interface = Interface(get_snapshot, clock, metrics, self._stream, history or History(), ledger)
        self._orders = OrderInterface(desk) if desk is not None else None
        self._address = parse_listen(listen) if listen else None
        self._socket_path = socket_path
        self._socket_group = socket_group
        self._names = names
        self._runners: list[web.AppRunner] = []
        self._servers: list[asyncio.Server] = []
        self._socket_inode: tuple[int, int] | None = None
        self.port: int | None = None

    async def start(self) -> None:
        """Open both doors."""
        try:
            if self._address is not None:
                await self._start_tcp(*self._address)
            if self._socket_path is not None:
                await self._start_unix(self._socket_path)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End all streams, close both doors, remove the socket if it is still ours."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self._stream.close()
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))
        self._runners.clear()
        if self._socket_path is not None and self._socket_inode == _inode(self._socket_path):
            self._socket_path.unlink(missing_ok=True)
        self._socket_inode = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def listeners(self) -> int:
        """Return how many clients listen to `/v1/stream`."""
        return self._stream.listeners

    def publish(self, snapshot: Snapshot) -> None:
        """Tell the listeners of `/v1/stream`; called once for each finished iteration."""
        if self.listeners:
            self._stream.send(self._interface.event(snapshot))

    async def _start_tcp(self, host: str, port: int) -> None:
        where = "http.socket is not set, so no orders are taken"
        if self._socket_path is not None:
            where = f"give orders over the Unix socket {self._socket_path}"
        orders = frozenset(operation.path for operation in ORDERS)
        admit = await self._application(
            self._views(), host_check((host, *self._names)), read_only(orders, where)
        )
        try:
            server = await asyncio.get_running_loop().create_server(admit, host, port, backlog=_BACKLOG)
        except OSError as error:
            raise ConfigError(f"http.listen: cannot listen on {host}:{port}: {_why(error)}") from error
        self._servers.append(server)
        self.port = server.sockets[0].getsockname()[1]

    async def _start_unix(self, path: Path) -> None:
        admit = await self._application([*self._views(), *self._order_routes()])
        listener = bind_unix(path, self._socket_group)
        self._socket_inode = _inode(path)
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_unix_server(admit, sock=listener, backlog=_BACKLOG))

    def _views(self) -> list[web.RouteDef]:
        # A HEAD of the stream would have nothing to end it.
        return [
            web.get(operation.route, handler, allow_head=operation is not STREAM)
            for operation, handler in self._interface.routes()
        ]

    def _order_routes(self) -> list[web.RouteDef]:
        if self._orders is None:
            return []
        return [web.post(operation.route, handler) for operation, handler in self._orders.routes()]

    async def _application(self, routes: list[web.RouteDef], *checks: Middleware) -> Admit:
        door = Door(most_connections())
        app = web.Application(
            middlewares=[door.middleware(), one_line_errors, *checks, no_body_to_read],
            client_max_size=MAX_BODY_BYTES,
        )
        app.on_response_prepare.append(secure_headers)
        app.router.add_routes(routes)
        runner = web.AppRunner(
            app,
            access_log=None,
            # Else four kilobytes could become a thousand times as many.
            auto_decompress=False,
            handle_signals=False,
            keepalive_timeout=_IDLE_TIMEOUT_S,
            lingering_time=0,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
            shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
        )
        await runner.setup()
        _expect_nothing(runner)
        self._runners.append(runner)
        return door.admission(runner)


def _expect_nothing(runner: web.AppRunner) -> None:
    """Have `Expect` passed over: no body here is long, and aiohttp's answer to an odd one is a traceback.

    It is answered before any middleware, so that no check of ours would see it.
    """
    server = runner.server
    assert server is not None  # noqa: S101 - the runner is set up
    make = server.request_factory

    def request(message: RawRequestMessage, *others: Any) -> web.BaseRequest:  # noqa: ANN401 - passed on
        if "Expect" in message.headers:
            kept = CIMultiDict(
                (name, each) for name, each in message.headers.items() if name.lower() != "expect"
            )
            message = message._replace(headers=CIMultiDictProxy(kept))
        return make(message, *others)

    server.request_factory = request


def parse_listen(listen: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `[v6 address]:port`.

    Raises:
        ConfigError: it has another form.
    """
    host, _, port = listen.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT:
        raise ConfigError(f'http.listen "{listen}" is not host:port, for example 127.0.0.1:9780')
    return bare, int(port)


def bind_unix(path: Path, group: str = "") -> socket.socket:
    """Return a socket bound to `path` with mode 0660, in place of one that nobody listens on.

    It is private until group and mode are set, so there is no moment at which a stranger could connect.

    Raises:
        ConfigError: something else lives at `path`, or it cannot be created.
    """
    gid = _gid(group) if group else -1
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
        os.chown(path, -1, gid)
        path.chmod(SOCKET_MODE)
    except OSError as error:
        listener.close()
        raise ConfigError(f"http.socket: cannot listen on {path}: {_why(error)}") from error
    finally:
        os.umask(mask)
    return listener


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(f'http.socket_group: there is no group "{group}"') from None


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"http.socket: {path} exists and is not a socket: remove it or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        if probe.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise ConfigError(f"http.socket: another process listens on {path}")
    path.unlink()


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _why(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
