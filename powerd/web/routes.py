"""The paths of the read-only interface: each is a view of the latest snapshot, of the history or the ledger.

Invariant: no handler changes anything, reads hardware, or waits for anything but its client and the ledger.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeAlias

from aiohttp import web
from pydantic import BaseModel

from powerd.clock import Clock
from powerd.errors import UnknownGpuError
from powerd.history.history import History
from powerd.ledger.reader import LedgerReader
from powerd.metrics.exposition import Metrics
from powerd.snapshot import Snapshot
from powerd.web import openapi, page, views
from powerd.web.event_routes import EventInterface
from powerd.web.history_routes import HistoryInterface
from powerd.web.models import Explanation, Health, Readiness, Status
from powerd.web.openapi import Answer, Operation
from powerd.web.order_routes import ORDERS
from powerd.web.pace import Pace
from powerd.web.stream import Stream, event

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
GetSnapshot: TypeAlias = Callable[[], Snapshot | None]

OK = HTTPStatus.OK.value
UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE.value
NOT_FOUND = HTTPStatus.NOT_FOUND.value

PAGE = Operation("/", "The page for people", {OK: Answer("HTML", media_types=("text/html",))})
HEALTH = Operation(
    "/healthz",
    "Whether the control loop is alive",
    {OK: Answer("It is", Health), UNAVAILABLE: Answer("It has stalled", Health)},
)
READINESS = Operation(
    "/readyz",
    "Whether the host is under control",
    {OK: Answer("It is", Readiness), UNAVAILABLE: Answer("It is not, for these reasons", Readiness)},
)
STATUS = Operation("/v1/status", "Everything about this host", {OK: Answer("The status", Status)})
EXPLAIN = Operation(
    "/v1/explain",
    "Why one GPU has its limit",
    {OK: Answer("The steps that made the limit", Explanation)},
    query={"gpu": "Index or UUID of the GPU, or the beginning of its UUID where only one GPU has it"},
    errors={NOT_FOUND: "No GPU, or more than one, goes by that name"},
)
STREAM = Operation(
    "/v1/stream",
    "Server-sent events named status: one for each iteration, its data as in /v1/status",
    {OK: Answer("Events until the client leaves", media_types=("text/event-stream",))},
)
METRICS = Operation(
    "/metrics",
    "Metrics for Prometheus",
    {OK: Answer("By Accept header", media_types=("text/plain", "application/openmetrics-text"))},
)
OPENAPI = Operation("/openapi.json", "This document", {OK: Answer("OpenAPI 3.1")})


@dataclass(frozen=True, slots=True)
class Interface:
    """The read-only interface over whatever is the latest snapshot."""

    get_snapshot: GetSnapshot
    clock: Clock
    metrics: Metrics
    stream: Stream
    history: History
    ledger: LedgerReader | None = None
    pace: Pace = field(default_factory=Pace)

    def routes(self) -> list[tuple[Operation, Handler]]:
        """Return every path with what documents it and what answers it."""
        # Whether the daemon is alive is cheap to tell, and must be told however many others ask.
        at_once = ((HEALTH, self.health), (READINESS, self.readiness), (STREAM, self.events))
        in_turn = (
            (PAGE, _page_handler()),
            (STATUS, self.status),
            (EXPLAIN, self.explain),
            (METRICS, self.prometheus),
            *HistoryInterface(self.history, self.clock).routes(),
        )
        routes: list[tuple[Operation, Handler]] = [
            *at_once,
            *((operation, self.pace.paced(handler)) for operation, handler in in_turn),
            *EventInterface.over(self._snapshot, self.ledger).routes(),
        ]
        operations = (*(operation for operation, _ in routes), OPENAPI, *ORDERS)
        return [*routes, (OPENAPI, _document_handler(operations))]

    async def health(self, _request: web.Request) -> web.Response:
        """Answer `/healthz`."""
        health = views.health(self.get_snapshot(), self.clock.now())
        return _json(health, OK if health.healthy else UNAVAILABLE)

    async def readiness(self, _request: web.Request) -> web.Response:
        """Answer `/readyz`."""
        readiness = views.readiness(self.get_snapshot(), self.clock.now())
        return _json(readiness, OK if readiness.ready else UNAVAILABLE)

    async def status(self, _request: web.Request) -> web.Response:
        """Answer `/v1/status`."""
        return _json(views.status(self._snapshot(), self.clock.now()))

    async def explain(self, request: web.Request) -> web.Response:
        """Answer `/v1/explain`."""
        snapshot = self._snapshot()
        gpu = request.query.get("gpu", "")
        try:
            explanation = views.explain(snapshot, gpu, self.clock.now())
        except UnknownGpuError as error:
            raise web.HTTPNotFound(text=str(error)) from None
        return _json(explanation)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Answer `/v1/stream`."""
        snapshot = self.get_snapshot()
        first = None if snapshot is None else self.event(snapshot)
        return await self.stream.serve(request, first)

    async def prometheus(self, request: web.Request) -> web.Response:
        """Answer `/metrics` in the format that the Accept header asks for."""
        body, content_type = self.metrics.expose(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    def event(self, snapshot: Snapshot) -> bytes:
        """Return the event of one iteration."""
        status = views.status(snapshot, self.clock.now())
        return event("status", snapshot.iteration, status.model_dump_json())

    def _snapshot(self) -> Snapshot:
        snapshot = self.get_snapshot()
        if snapshot is None:
            raise web.HTTPServiceUnavailable(text="no iteration has finished yet: try again in a second")
        return snapshot


def _page_handler() -> Handler:
    document = page.load()

    async def answer(_request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": document.content_security_policy}
        return web.Response(text=document.html, content_type="text/html", headers=headers)

    return answer


def _document_handler(operations: tuple[Operation, ...]) -> Handler:
    document = openapi.document(operations)

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(document)

    return answer


def _json(document: BaseModel, status: int = OK) -> web.Response:
    return web.Response(text=document.model_dump_json(), status=status, content_type="application/json")
