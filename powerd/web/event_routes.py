"""The paths about grid events. The ledger is read in a thread: a slow disk holds up nobody else."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from aiohttp import web

from powerd.core.proof.report import ReportRules
from powerd.core.proof.response import report
from powerd.errors import shown
from powerd.ledger.reader import LedgerReader
from powerd.snapshot import Snapshot
from powerd.web import event_views
from powerd.web.event_models import EventList, EventReportView
from powerd.web.openapi import Answer, Operation

Result = TypeVar("Result")

OK = HTTPStatus.OK.value
EVENTS = Operation(
    "/v1/events", "Grid events: those held, and those of the past", {OK: Answer("They", EventList)}
)
REPORT = Operation(
    "/v1/events/{id}/report",
    "What came of a grid event: the proof of response",
    {OK: Answer("The report", EventReportView)},
    parameters={"id": "source/event_id, or event_id alone where only one source has it"},
    errors={HTTPStatus.NOT_FOUND.value: "No event, or more than one, goes by that name; or no report yet"},
)
_RULES = ReportRules()
# Readers of a disk that hangs are few: each of them is a thread until it answers.
_MAX_READERS = 2


@dataclass(frozen=True, slots=True)
class EventInterface:
    """The paths about events.

    Attributes:
        require_snapshot: returns the latest iteration; raises 503 before the first.
        ledger: None if none is kept.
    """

    require_snapshot: Callable[[], Snapshot]
    ledger: LedgerReader | None
    readers: asyncio.Semaphore

    @classmethod
    def over(cls, require_snapshot: Callable[[], Snapshot], ledger: LedgerReader | None) -> "EventInterface":
        """Return the paths over a ledger."""
        return cls(require_snapshot, ledger, asyncio.Semaphore(_MAX_READERS))

    def routes(self) -> list[tuple[Operation, Callable[[web.Request], Awaitable[web.StreamResponse]]]]:
        """Return every path with what documents it and what answers it."""
        return [(EVENTS, self.events), (REPORT, self.report)]

    async def events(self, _request: web.Request) -> web.Response:
        """Answer `/v1/events`."""
        snapshot = self.require_snapshot()
        stories, error = {}, ""
        if self.ledger is not None:
            try:
                stories = await self._read(self.ledger.stories)
            except (sqlite3.Error, OSError, ValueError) as failure:
                error = f"the ledger cannot be read: {failure}"
        return _json(event_views.event_list(snapshot, stories, error))

    async def report(self, request: web.Request) -> web.Response:
        """Answer `/v1/events/{id}/report`."""
        snapshot, name = self.require_snapshot(), request.match_info["id"]
        if self.ledger is None:
            raise web.HTTPNotFound(text="no ledger is kept: ledger.enabled = false")
        ledger = self.ledger
        try:
            keys = await self._read(lambda: ledger.find(name))
            if len(keys) != 1:
                raise web.HTTPNotFound(text=_unknown(name, keys, snapshot))
            document = await self._read(lambda: _report(ledger, keys[0], snapshot))
        except (sqlite3.Error, OSError, ValueError) as failure:
            raise web.HTTPServiceUnavailable(text=f"the ledger cannot be read: {failure}") from None
        return _json(document)

    async def _read(self, read: Callable[[], Result]) -> Result:
        if self.readers.locked():
            raise web.HTTPServiceUnavailable(
                text="the ledger is being read already: try again later", headers={"Retry-After": "5"}
            )
        async with self.readers:
            return await asyncio.to_thread(read)


def _report(ledger: LedgerReader, key: str, snapshot: Snapshot) -> EventReportView:
    """Return the report on an event; whatever an entry that was tampered with makes of it is a ValueError."""
    extract = ledger.extract(key)
    try:
        return event_views.event_report(snapshot, report(extract.entries, key, _RULES), _RULES, extract)
    except (TypeError, LookupError, ArithmeticError) as error:
        raise ValueError(f"an entry is damaged: {shown(error)}") from error


def _unknown(name: str, keys: list[str], snapshot: Snapshot) -> str:
    # repr: the name came from outside and must not break the line.
    if keys:
        return f"{name[:128]!r} names several events: {', '.join(keys)}"
    if any(name in (key, held.event.event_id) for key, held in snapshot.decision.schedule.held.items()):
        return f"{name[:128]!r} has had no say yet: there is nothing to report"
    return f"{name[:128]!r} is not an event of the ledger; powerctl events lists them"


def _json(document: EventList | EventReportView) -> web.Response:
    return web.Response(text=document.model_dump_json(), content_type="application/json")
