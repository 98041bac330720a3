"""What every request passes through: who may ask, how, and what an error looks like."""

import asyncio
import contextlib
import ipaddress
import re
from collections.abc import Collection
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from powerd.web.models import ErrorDocument

_SMALL_BODY_BYTES = 4096
_SMALL_BODY_WITHIN_S = 1.0
_READS = ("GET", "HEAD")
# A name or an address, and maybe a port: nothing that another reader would take apart in another way.
_HOST = re.compile(r"(\[(?P<v6>[0-9A-Fa-f:.]+(%[\w.-]+)?)\]|(?P<name>[\w.-]+))(:[0-9]{0,5})?", re.ASCII)
_HEADERS = {
    "Server": "powerd",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@web.middleware
async def one_line_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every failure into one line of JSON."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        await _take_small_body(request)
        answer = _error(error.text or error.reason, error.status)
        for name in ("Allow", "Retry-After"):
            if name in error.headers:
                answer.headers[name] = error.headers[name]
        return answer
    except ConnectionResetError:
        raise  # nobody is left to answer
    except Exception:  # noqa: BLE001 -- a defect of ours is logged whole, and a stranger is told nothing of it
        structlog.get_logger(__name__).exception("http_failed", path=request.path)
        return _error("powerd failed to answer; its log says why", HTTPStatus.INTERNAL_SERVER_ERROR.value)


def read_only(orders: Collection[str], where: str) -> Middleware:
    """Refuse whatever could change something.

    Args:
        orders: the paths that exist elsewhere.
        where: where they do.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_order = request.path in orders
        if is_order or request.method not in _READS:
            text = f"{request.method} is not allowed here: TCP is read-only; {where}"
            raise web.HTTPMethodNotAllowed(request.method, () if is_order else _READS, text=text)
        return await handler(request)

    return check


@web.middleware
async def no_body_to_read(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse bodies where something is only read."""
    exists = request.match_info.http_exception is None
    if exists and request.method in _READS and request.can_read_body:
        raise web.HTTPRequestEntityTooLarge(0, text="a request here has no body")
    return await handler(request)


def host_check(names: Collection[str]) -> Middleware:
    """Refuse requests that were sent to another name: a page of a rebound DNS name could read them.

    Addresses need no list: only a name can be made to point elsewhere.

    Args:
        names: host names this server goes by, besides `localhost`.
    """
    allowed = {"localhost", *(name.lower() for name in names)}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not _is_ours(request.headers.get("Host", ""), allowed):
            raise web.HTTPMisdirectedRequest(
                text="the Host header names another server: use 127.0.0.1, localhost or the listen address"
            )
        return await handler(request)

    return check


async def secure_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add what every answer carries."""
    response.headers.update(_HEADERS)
    # The page has its own, which lets its style and its script run.
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")


async def _take_small_body(request: web.Request) -> None:
    """Read a body that nobody wanted: else the connection would break before its sender reads the answer."""
    if request.body_exists and (request.content_length or _SMALL_BODY_BYTES + 1) <= _SMALL_BODY_BYTES:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SMALL_BODY_WITHIN_S):
                await request.read()


def _is_ours(header: str, allowed: Collection[str]) -> bool:
    found = _HOST.fullmatch(header)
    if found is None:
        return False
    name = found["v6"] or found["name"]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.lower() in allowed
    return True


def _error(text: str, status: int) -> web.Response:
    body = ErrorDocument(error=" ".join(text.split())).model_dump_json() + "\n"
    return web.Response(text=body, status=status, content_type="application/json")
