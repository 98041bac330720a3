"""The paths that change something. They exist on the Unix socket only, and tell the desk who asks.

Invariant: nothing reaches the desk that is not a whole order of its kind. Who may open the socket may order;
the kernel says who that is.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeAlias, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from powerd.core.units import milliwatts
from powerd.desk.desk import Desk, Done, RefusedOrderError, Who
from powerd.errors import PowerdError, SignalRejectedError, UnknownGpuError, shown
from powerd.signals import strict_json
from powerd.web.openapi import Answer, Operation
from powerd.web.optional import utc_or_none
from powerd.web.order_models import (
    AttachOrder,
    DetachOrder,
    DrillOrder,
    ModeOrder,
    OrderDone,
    OverrideEndOrder,
    OverrideOrder,
    ReleaseOrder,
)
from powerd.web.peer import Peers

OrderT = TypeVar("OrderT", bound=BaseModel)
CarryOut: TypeAlias = Callable[[strict_json.JsonObject, Who], Awaitable[Done]]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY_BYTES = 4096
_BODY_WITHIN_S = 15.0

_DONE = {HTTPStatus.OK.value: Answer("It was carried out", OrderDone)}
_ERRORS = {
    HTTPStatus.BAD_REQUEST.value: "Not such an order: a key is missing, unknown or out of its range",
    HTTPStatus.CONFLICT.value: "It cannot be carried out as things are",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE.value: f"More than {MAX_BODY_BYTES} bytes",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE.value: "Not application/json",
    HTTPStatus.SERVICE_UNAVAILABLE.value: "The guard cannot be used",
}
_GPU_ERRORS = {**_ERRORS, HTTPStatus.NOT_FOUND.value: "No GPU, or more than one, goes by that name"}


def _order(path: str, summary: str, *body: type[BaseModel], errors: dict[int, str] = _ERRORS) -> Operation:
    return Operation(path, summary, _DONE, body=body, errors=errors)


OVERRIDE = _order(
    "/v1/override",
    "Give one GPU exactly these watts for a while",
    OverrideOrder,
    OverrideEndOrder,
    errors=_GPU_ERRORS,
)
RELEASE = _order("/v1/release", "Put back the limits that were found, and stop writing", ReleaseOrder)
DETACH = _order("/v1/detach", "Give up the driver, for a reset or an upgrade", DetachOrder)
ATTACH = _order("/v1/attach", "Attach the driver again", AttachOrder)
MODE = _order("/v1/mode", "Change the mode until the next start", ModeOrder)
DRILL = _order("/v1/drill", "Hear no budgets for a while", DrillOrder)
ORDERS = (OVERRIDE, RELEASE, DETACH, ATTACH, MODE, DRILL)


@dataclass(frozen=True, slots=True)
class OrderInterface:
    """The paths of orders over a desk."""

    desk: Desk
    peers: Peers = field(default_factory=Peers)

    def routes(self) -> list[tuple[Operation, Handler]]:
        """Return every path with what documents it and what answers it."""
        carried_out: tuple[tuple[Operation, CarryOut], ...] = (
            (OVERRIDE, self._override),
            (RELEASE, self._release),
            (DETACH, self._detach),
            (ATTACH, self._attach),
            (MODE, self._mode),
            (DRILL, self._drill),
        )
        return [(operation, self._handler(carry_out)) for operation, carry_out in carried_out]

    def _handler(self, carry_out: CarryOut) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            body = await _body(request)
            try:
                done = await carry_out(body, await self.peers.who(request))
            except UnknownGpuError as error:
                raise web.HTTPNotFound(text=str(error)) from None
            except RefusedOrderError as error:
                raise web.HTTPConflict(text=str(error)) from None
            except PowerdError as error:
                raise web.HTTPServiceUnavailable(text=str(error)) from None
            document = OrderDone(done=done.text, until=utc_or_none(done.until_wall_s))
            return web.Response(text=document.model_dump_json(), content_type="application/json")

        return handle

    async def _override(self, body: strict_json.JsonObject, who: Who) -> Done:
        if body.get("watts", 0) is None:
            end = _read(OverrideEndOrder, body)
            return await self.desk.override(end.gpu, None, 0.0, end.reason, who)
        order = _read(OverrideOrder, body)
        return await self.desk.override(order.gpu, milliwatts(order.watts), order.ttl_s, order.reason, who)

    async def _release(self, body: strict_json.JsonObject, who: Who) -> Done:
        return await self.desk.release(_read(ReleaseOrder, body).reason, who)

    async def _detach(self, body: strict_json.JsonObject, who: Who) -> Done:
        order = _read(DetachOrder, body)
        return await self.desk.detach(order.reason, who, force=order.force)

    async def _attach(self, body: strict_json.JsonObject, who: Who) -> Done:
        return await self.desk.attach(_read(AttachOrder, body).reason, who)

    async def _mode(self, body: strict_json.JsonObject, who: Who) -> Done:
        order = _read(ModeOrder, body)
        return await self.desk.mode(order.mode, order.reason, who)

    async def _drill(self, body: strict_json.JsonObject, who: Who) -> Done:
        order = _read(DrillOrder, body)
        return await self.desk.drill(order.duration_s, order.reason, who)


async def _body(request: web.Request) -> strict_json.JsonObject:
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send the order with Content-Type: application/json")
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            body = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the order was not sent within {_BODY_WITHIN_S:g} s") from None
    try:
        return strict_json.loads(body)
    except SignalRejectedError as error:
        raise web.HTTPBadRequest(text=str(error)) from None


def _read(model: type[OrderT], body: strict_json.JsonObject) -> OrderT:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        found = {each["loc"][:1]: each["msg"] for each in reversed(error.errors(include_url=False))}
        # shown: a key came from outside and must not break the line.
        lines = [f"{shown(key[0])}: {text}" for key, text in reversed(found.items())]
        raise web.HTTPBadRequest(text="; ".join(lines)) from None
