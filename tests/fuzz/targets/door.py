"""The HTTP endpoint: raw bytes to the real parser and our handlers, and what they read by themselves."""

import asyncio
import json
import logging
import math
import re
import socket
from contextlib import suppress
from functools import cache
from ipaddress import ip_address
from typing import Any

from aiohttp import web

from powerd.core.model import Now
from powerd.errors import SignalRejectedError
from powerd.history.history import History
from powerd.metrics.exposition import Metrics
from powerd.signals import strict_json
from powerd.web import order_models
from powerd.web.checks import _is_ours, host_check, read_only
from powerd.web.history_routes import seconds_ago
from powerd.web.order_routes import ORDERS, _read
from powerd.web.server import WebServer
from tests.fuzz.oracle import accepted, check_line
from tests.web import host

NAMES = ("powerd.example", "192.0.2.7")
# As it is, an answer is there after less; what still waits then waits for more bytes.
_TURNS = 30
_STATUSES = {100, 200, 304, 400, 404, 405, 408, 411, 413, 414, 415, 417, 421, 431, 501, 503}
_MODELS = (
    order_models.OverrideOrder,
    order_models.OverrideEndOrder,
    order_models.ReleaseOrder,
    order_models.AttachOrder,
    order_models.DetachOrder,
    order_models.ModeOrder,
    order_models.DrillOrder,
)
logging.getLogger("aiohttp").setLevel(logging.CRITICAL)


def http_request(data: bytes) -> None:
    """Bytes get answers of the kinds that there are, nothing fails inside, and the next client is served."""
    loop, admit = _endpoint()
    answer = loop.run_until_complete(_exchange(admit, data))
    for status in re.findall(rb"^HTTP/1\.[01] (\d{3}) ", answer, re.MULTILINE):
        assert int(status) in _STATUSES, answer[:200]
    assert b"Traceback" not in answer
    after = loop.run_until_complete(_exchange(admit, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    assert after.startswith(b"HTTP/1.1 200 OK\r\n"), after


async def _exchange(admit: Any, data: bytes) -> bytes:
    """Return what the endpoint answers to bytes, without waiting for anything but itself."""
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(admit, theirs)
        answer = b""
        ours.send(data)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            with suppress(BlockingIOError, ConnectionResetError):
                answer += ours.recv(1 << 20)
        transport.abort()
        await asyncio.sleep(0)
    return answer


@cache
def _endpoint() -> tuple[asyncio.AbstractEventLoop, Any]:
    """Return an event loop, and what takes connections of the read-only application in it."""
    loop = asyncio.new_event_loop()
    snapshot = host.snapshot(host.decided())
    metrics = Metrics("r17", "r17-n3", _Still(), certificate_ends=dict)
    server = WebServer(lambda: snapshot, _Still(), metrics, history=History())
    orders = frozenset(operation.path for operation in ORDERS)
    checks = (host_check(NAMES), read_only(orders, "elsewhere"))
    return loop, loop.run_until_complete(server._application(server._views(), *checks))


class _Still:
    """A clock that stands."""

    def now(self) -> Now:
        return host.moment(0.0)


def host_header(data: bytes) -> None:
    """Taken are our names, addresses, and a port behind them; no other name gets through in disguise."""
    header = data.decode("utf-8", errors="surrogateescape")
    allowed = {"localhost", *NAMES}
    if not _is_ours(header, allowed):
        assert header.lower() not in allowed
        return
    found = re.fullmatch(r"(\[[0-9a-fA-F:.%\w]+\]|[0-9A-Za-z._-]+)(:[0-9]*)?", header)
    assert found is not None, f"taken: {header!a}"
    name = found[1].strip("[]").partition("%")[0]
    if name.lower() not in allowed:
        ip_address(name)


def order_body(data: bytes) -> None:
    """An order is whole and within its ranges, or refused in one line."""
    try:
        body = strict_json.loads(data)
    except SignalRejectedError:
        return
    for model in _MODELS:
        try:
            order = _read(model, body)
        except web.HTTPBadRequest as refusal:
            check_line(refusal.text or "", 4000)
            continue
        check_order(order, body)


def check_order(order: Any, body: Any) -> None:
    """Prove that an order is what was sent."""
    assert order.reason == body["reason"]
    assert 0 < len(order.reason) <= 256
    assert not re.search("[\\x00-\\x1f\\x7f-\\x9f\u2028\u2029]", order.reason)
    watts = getattr(order, "watts", None)
    assert watts is None or 0 < watts == body["watts"] <= 100_000
    if isinstance(order, order_models.OverrideOrder):
        assert watts is not None
        assert 60 <= order.ttl_s <= 86_400
    if isinstance(order, order_models.DrillOrder):
        assert order.duration_s == 0 or 10 <= order.duration_s <= 3600
    assert json.loads(order.model_dump_json()).keys() >= body.keys()


def history_since(data: bytes) -> None:
    """A moment of the past is a finite number of seconds ago."""
    text = data.decode(errors="replace")
    ago_s = accepted(lambda: seconds_ago(text, host.moment(0.0)), ValueError, 400)
    assert ago_s is None or 0 <= ago_s < math.inf
