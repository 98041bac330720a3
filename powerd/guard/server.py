"""The event loop of the guard: one thread, one selector, no call that can block.

It is made by hand because asyncio alone would take a third of the memory that the guard may use. Whatever
the driver does, this loop goes on: the dead-man's switch, the other GPUs and the watchdog depend on it.
"""

import os
import selectors
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from powerd.clock import boot_s
from powerd.guard import journal
from powerd.guard.config import GuardConfig
from powerd.guard.connection import Connection
from powerd.guard.driver import Driver
from powerd.guard.keeper import Keeper
from powerd.guard.listener import Listener, allowed_uids
from powerd.guard.plans import RefusedError
from powerd.guard.protocol import (
    PROTOCOL_VERSION,
    Message,
    decode,
    integer_from,
    line_from,
    plan_from,
)
from powerd.guard.workers import LOOK_AGAIN_S, Completions, Workers
from powerd.notify import notify, watchdog_interval_s

# CLOCK_BOOTTIME goes on during suspend, the selector's timeout does not: look at the clock at least so often.
_MAX_SLEEP_S = 1.0
# How long each step of an orderly end may take: workers coming out of the driver, detaching it. Nobody lowers
# anything meanwhile, so it counts against the guard bound (powerd-guard.service).
STOP_WITHIN_S = 1.0
_MAX_CONNECTIONS = 16
_MAX_OUTSTANDING = 64
_TELL_AGAIN_S = 60.0
# What waits to be accepted keeps a socket readable: without a pause the loop would do nothing but try.
_ACCEPT_AGAIN_S = 1.0


class Loop:
    """Keeper, workers and the selector that drives them; `Server` adds the socket.

    Args:
        config: the `[guard]` table.
        driver: called from worker threads only.
    """

    def __init__(self, config: GuardConfig, driver: Driver) -> None:
        self.selector = selectors.DefaultSelector()
        self._completions = Completions()
        self._workers = Workers(driver, self._completions)
        self.keeper = Keeper(config, self._workers, boot_s)
        self._watchdog_s = watchdog_interval_s()
        self._watchdog_due_s = 0.0
        self._later: list[tuple[float, Callable[[], None]]] = []
        self.selector.register(self._completions.readable, selectors.EVENT_READ, self._completions.woken)

    def stop_on_signals(self, stop: Callable[[], None]) -> None:
        """Call `stop` on SIGTERM and SIGINT; the wake-up pipe gets the loop out of its sleep."""
        signal.set_wakeup_fd(self._completions.writable, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: stop())

    def call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Make a call once, so much later."""
        self._later.append((boot_s() + delay_s, call))

    def run_until(self, finished: Callable[[], bool], within_s: float | None = None) -> bool:
        """Serve until `finished`; return whether it was, before `within_s` seconds had passed."""
        end_s = None if within_s is None else boot_s() + within_s
        while not finished():
            now = boot_s()
            if end_s is not None and now >= end_s:
                return False
            self._step(now, end_s)
        return True

    def detach(self) -> None:
        """Let the workers come out of the driver and detach it, as far as that does not take too long."""
        if not self.run_until(lambda: self.keeper.is_quiet, STOP_WITHIN_S):
            return
        detached: list[bool] = []
        self._workers.detach(lambda: detached.append(True))
        self.run_until(lambda: bool(detached), STOP_WITHIN_S)

    def _step(self, now: float, end_s: float | None) -> None:
        longest_s = _MAX_SLEEP_S if self.keeper.is_quiet else LOOK_AGAIN_S
        watchdog_due_s = None if self._watchdog_s is None else self._watchdog_due_s
        later_s = (due_s for due_s, _ in self._later)
        times = (self.keeper.due_boot_s(), end_s, watchdog_due_s, now + longest_s, *later_s)
        timeout_s = max(0.0, min(time for time in times if time is not None) - now)
        for key, events in self.selector.select(timeout_s):
            key.data(events)
        self._completions.drain()
        now = boot_s()
        self.keeper.tick(now)
        due = [call for due_s, call in self._later if due_s <= now]
        self._later = [(due_s, call) for due_s, call in self._later if due_s > now]
        for call in due:
            call()
        if self._watchdog_s is not None and now >= self._watchdog_due_s:
            self._watchdog_due_s = now + self._watchdog_s
            notify("WATCHDOG=1")


class Server:
    """Accepts clients and turns their lines into operations.

    Args:
        config: the `[guard]` table.
        loop: not running yet.

    Raises:
        ConfigError: the socket cannot be had.
    """

    def __init__(self, config: GuardConfig, loop: Loop) -> None:
        self._loop = loop
        self._keeper = loop.keeper
        self._selector = loop.selector
        self._uids = allowed_uids(config.client_user)
        self._listener = Listener(config.socket_path, config.client_user)
        self._connections: list[Connection] = []
        self._refused = _Seldom()
        self._not_accepted = _Seldom()
        self._start_accepting()

    def close(self) -> None:
        """Stop listening and close every connection; limits and what is armed stay as they are."""
        with suppress(KeyError):  # it is not watched while no descriptor is free
            self._selector.unregister(self._listener.socket)
        self._listener.close()
        for connection in list(self._connections):
            self._drop(connection)

    def _start_accepting(self) -> None:
        if self._listener.socket.fileno() != -1:  # else it was closed meanwhile
            self._selector.register(self._listener.socket, selectors.EVENT_READ, self._accept)

    def _accept(self, _events: int) -> None:
        try:
            peer, _address = self._listener.socket.accept()
        except OSError as error:  # the client has gone again, or no descriptor is left
            self._not_accepted.tell(f"cannot accept a connection: {error.strerror}")
            self._selector.unregister(self._listener.socket)
            self._loop.call_later(_ACCEPT_AGAIN_S, self._start_accepting)
            return
        connection = Connection(peer, self._watch)
        uid = connection.peer_uid()
        if uid not in self._uids:
            self._refused.tell(f"refused a connection of user id {uid}")
            connection.refuse(f"user id {uid} may not use the guard; see guard.client_user")
            peer.close()
            return
        if len(self._connections) >= _MAX_CONNECTIONS:
            self._connections[0].refuse("too many connections; this was the oldest")
            self._drop(self._connections[0])
        self._connections.append(connection)
        self._selector.register(peer, selectors.EVENT_READ, partial(self._serve, connection))
        connection.token = self._keeper.new_client()
        connection.send({"id": 0, "ok": True, "token": connection.token, "protocol": PROTOCOL_VERSION})

    def _watch(self, connection: Connection, want_write: bool) -> None:
        if connection not in self._connections:
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if want_write else 0)
        self._selector.modify(connection.peer, events, partial(self._serve, connection))

    def _serve(self, connection: Connection, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            connection.flush()
        if events & selectors.EVENT_READ:
            for line in connection.receive():
                self._request(connection, line)
        if connection.closing:
            self._drop(connection)

    def _request(self, connection: Connection, line: bytearray) -> None:
        if connection.closing:
            return
        try:
            message = decode(line)
            number = integer_from(message, "id")
        except ValueError as error:
            connection.refuse(f"not a request: {error}")
            return
        connection.outstanding += 1
        try:
            self._dispatch(connection, number, message)
        except (ValueError, RefusedError) as error:
            self._reply(connection, number, {"error": str(error)}, ok=False)

    def _dispatch(self, connection: Connection, number: int, message: Message) -> None:
        if connection.outstanding > _MAX_OUTSTANDING:
            raise RefusedError(f"more than {_MAX_OUTSTANDING} requests are waiting")
        reply = partial(self._reply, connection, number)
        match message.get("op"):
            case "read":
                self._keeper.read(reply)
            case "plan":
                plan = plan_from(message)
                self._keeper.plan(message.get("token"), integer_from(message, "number"), plan, reply)
            case "release":
                self._keeper.release(message.get("token"), reply)
            case "detach":
                self._keeper.detach(message.get("token"), line_from(message, "reason"), reply)
            case "attach":
                self._keeper.attach(message.get("token"), reply)
            case "fallback":
                self._keeper.fall_back("a client asked for the fallback", reply)
            case _:
                raise RefusedError("op must be read, plan, release, detach, attach or fallback")

    def _reply(self, connection: Connection, number: int, body: dict[str, Any], *, ok: bool = True) -> None:
        connection.outstanding -= 1
        connection.send({"id": number, "ok": ok, **body})
        if connection.closing:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        connection.closing = True
        self._connections.remove(connection)
        self._selector.unregister(connection.peer)
        connection.peer.close()


class _Seldom:
    """Tells of one kind of trouble, in one line a minute: whoever makes it fills no log with it."""

    def __init__(self) -> None:
        self._untold = 0
        self._told_boot_s = -_TELL_AGAIN_S

    def tell(self, text: str) -> None:
        """Log a text as a warning, or only count it if another was logged just now."""
        now_boot_s = boot_s()
        if now_boot_s - self._told_boot_s < _TELL_AGAIN_S:
            self._untold += 1
            return
        before = f", and {self._untold} since the last such line" if self._untold else ""
        journal.log(journal.WARNING, f"{text}{before}")
        self._untold = 0
        self._told_boot_s = now_boot_s


def watch_stdin(loop: Loop, on_end: Callable[[], None]) -> None:
    """Call `on_end` once standard input ends: the process that started this guard has ended."""

    def read(_events: int) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.selector.unregister(sys.stdin)
            on_end()

    loop.selector.register(sys.stdin, selectors.EVENT_READ, read)
