"""The daemon's side of the guard's socket: requests by id, any number at once, no thread.

Invariant: every call ends, with the guard's answer or with an error; a broken connection ends all of them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from powerd.core.model import GpuReading, Outcome, Plan
from powerd.errors import GuardRefusedError, GuardUnreachableError, printable, shown
from powerd.guard.protocol import (
    MAX_TEXT_CHARS,
    Message,
    decode,
    encode,
    outcome_from,
    reading_from,
    writes_to,
)
from powerd.snapshot import CallHistogram

_HELLO_ID = 0

Content = TypeVar("Content")


@dataclass(frozen=True, slots=True)
class GuardReport:
    """What the guard knows at one moment.

    Attributes:
        readings: every GPU ever seen since the guard's start, by index.
        generation: grows with every attach of the driver; limits may have been reset in between.
        driver_error: why the driver is not attached; empty when it is.
        writes_forbidden: POWERD_FORBID_WRITES is set at the guard.
        fallback_count: how often the dead-man's switch has fired since the guard's start.
        calls: by driver call: read, read_limits, set_limit.
        keeps_plans: a guard that started now would know the plan in force, and its fallback.
        attachment: "attached", "away", or on order "letting go", then "detached".
    """

    readings: tuple[GpuReading, ...]
    generation: int
    driver_error: str
    writes_forbidden: bool
    fallback_count: int
    calls: dict[str, CallHistogram]
    keeps_plans: bool = True
    attachment: str = "attached"


@dataclass(frozen=True, slots=True)
class PlanReport:
    """How a plan ended.

    Attributes:
        outcomes: one per write, cuts first, in the order of the plan.
        last_cut_boot_s: boot-clock time at which the last confirmed cut was read back; None without one.
    """

    outcomes: tuple[Outcome, ...]
    last_cut_boot_s: float | None


class GuardClient:
    """One connection to the guard; not thread-safe. After an error `connect` may be called again.

    Args:
        socket_path: the guard's Unix socket.
    """

    def __init__(self, socket_path: str | Path) -> None:
        self._path = str(socket_path)
        self._wire: _Wire | None = None
        self._token = ""
        self._number = 0

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._wire is not None and not self._wire.error

    async def connect(self) -> None:
        """Connect and get a token; this voids what earlier connections have queued at the guard.

        Raises:
            GuardUnreachableError: nothing answers on the socket.
            GuardRefusedError: the guard does not accept this user.
        """
        await self.close()
        wire = _Wire(self._path)
        hello = wire.expect(_HELLO_ID)
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: wire, self._path)
        except OSError as error:
            hello.cancel()
            raise GuardUnreachableError(
                f"{self._path}: {error.strerror or error}; is the guard running?"
            ) from error
        try:
            self._token = self._understood(await hello, lambda said: str(said["token"]))
        except BaseException:
            wire.close()
            raise
        self._wire = wire
        self._number = 0

    async def read(self) -> GuardReport:
        """Sample all GPUs.

        Raises:
            GuardError: no answer, or a refusal.
        """
        return self._understood(await self._ask({"op": "read"}), _report)

    async def plan(self, plan: Plan) -> PlanReport:
        """Have a plan executed; it gets the next number of this connection.

        Raises:
            GuardRefusedError: nothing was written; the text says why.
            GuardUnreachableError: the connection broke; what was written is not known.
        """
        self._number += 1
        answer = await self._ask(
            {
                "op": "plan",
                "token": self._token,
                "number": self._number,
                "cuts": writes_to(plan.cuts),
                "raises": writes_to(plan.raises),
                "fallback": writes_to(plan.fallback),
                "end_boot_s": plan.end_boot_s,
            }
        )
        return self._understood(answer, lambda said: PlanReport(_outcomes(said), said["last_cut_boot_s"]))

    async def release(self) -> tuple[Outcome, ...]:
        """Have the limits put back that GPUs had before the first write, and the dead-man's switch disarmed.

        Raises:
            GuardError: no answer, or a refusal.
        """
        return self._understood(await self._ask({"op": "release", "token": self._token}), _outcomes)

    async def detach(self, why: str) -> None:
        """Have the guard begin to let go of the driver, and stay away from it until `attach`.

        Args:
            why: one line, at most 512 characters: who has ordered it, and for what.

        Raises:
            GuardError: no answer, or a refusal.
        """
        await self._ask({"op": "detach", "token": self._token, "reason": why})

    async def attach(self) -> None:
        """Have the guard look for the driver again.

        Raises:
            GuardError: no answer, or a refusal.
        """
        await self._ask({"op": "attach", "token": self._token})

    async def close(self) -> None:
        """Close the connection. What the guard has armed stays armed."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    async def _ask(self, request: Message) -> Message:
        if self._wire is None:
            raise GuardUnreachableError(f"{self._path}: not connected")
        return await self._wire.ask(request)

    def _understood(self, answer: Message, read: Callable[[Message], Content]) -> Content:
        """Return what is in an answer: a guard of another version must not end the daemon."""
        try:
            return read(answer)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise GuardUnreachableError(
                f"{self._path}: the guard's reply cannot be understood: {shown(error)}"
            ) from error


def _report(answer: Message) -> GuardReport:
    return GuardReport(
        readings=tuple(reading_from(fields) for fields in answer["readings"]),
        generation=answer["generation"],
        driver_error=answer["driver_error"],
        writes_forbidden=answer["writes_forbidden"],
        fallback_count=answer["fallback_count"],
        calls={name: _histogram(fields) for name, fields in answer["calls"].items()},
        keeps_plans=answer["keeps_plans"],
        attachment=answer["attachment"],
    )


def _outcomes(answer: Message) -> tuple[Outcome, ...]:
    return tuple(outcome_from(fields) for fields in answer["outcomes"])


def _histogram(fields: dict[str, Any]) -> CallHistogram:
    return CallHistogram(tuple(fields["bounds_s"]), tuple(fields["counts"]), fields["sum_s"])


class _Wire(asyncio.Protocol):
    """Lines and who waits for them.

    A protocol and not a stream: a stream's reader task costs a second trip through the event loop, on the
    path that decides the reaction time.
    """

    def __init__(self, path: str) -> None:
        self.error = ""
        self._path = path
        self._transport: asyncio.Transport | None = None
        self._incoming = bytearray()
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._last_id = _HELLO_ID

    def expect(self, number: int) -> asyncio.Future[Message]:
        """Return the future of the reply with this id."""
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        return future

    async def ask(self, request: Message) -> Message:
        """Send a request and wait for its reply."""
        if self._transport is None or self.error:
            raise GuardUnreachableError(self.error or f"{self._path}: not connected")
        self._last_id += 1
        number = self._last_id
        future = self.expect(number)
        self._transport.write(encode({"id": number, **request}))
        try:
            return await future
        finally:
            self._waiting.pop(number, None)  # also when the caller was cancelled: a late reply is dropped

    def close(self) -> None:
        """Close the connection and end all who wait."""
        self._fail(f"{self._path}: the connection was closed")
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio.Protocol)."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream connection's always is
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """End all who wait (asyncio.Protocol)."""
        reason = f" ({exc})" if exc else ""
        self._fail(f"{self._path}: the guard closed the connection{reason}")

    def data_received(self, data: bytes) -> None:
        """Take lines apart (asyncio.Protocol)."""
        self._incoming += data
        if b"\n" not in data:
            return
        *lines, self._incoming = self._incoming.split(b"\n")
        for line in lines:
            self._take(line)

    def _take(self, line: bytearray) -> None:
        try:
            reply = decode(line)
        except ValueError as error:
            self._fail(f"{self._path}: the guard's reply cannot be understood: {error}")
            return
        number = reply.get("id", _HELLO_ID)
        if type(number) is not int:
            self._fail(f"{self._path}: the guard's reply cannot be understood: its id is {shown(number)}")
            return
        future = self._waiting.pop(number, None)
        if reply.get("ok") is not True:
            text = printable(str(reply.get("error", "refused without a reason"))[:MAX_TEXT_CHARS])
            refusal = GuardRefusedError(text)
            if future is None and number == _HELLO_ID:
                self._fail(str(refusal))
            elif future is not None and not future.done():
                future.set_exception(refusal)
        elif future is not None and not future.done():
            future.set_result(reply)

    def _fail(self, text: str) -> None:
        self.error = self.error or text
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(GuardUnreachableError(self.error))
