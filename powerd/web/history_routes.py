"""The path of the last day."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import web

from powerd.clock import Clock
from powerd.core.model import Now
from powerd.history.happenings import Happening
from powerd.history.history import GPU_COLUMNS, GPU_EXTREMES, HOST_COLUMNS, HOST_EXTREMES, Extract, History
from powerd.history.tiers import Tenths
from powerd.signals import rfc3339
from powerd.signals.rfc3339 import utc
from powerd.web.history_models import Column, GpuHistoryView, HappeningView, HistoryView
from powerd.web.openapi import Answer, Operation

_DEFAULT = "15m"
_AGO = "([0-9]{1,9})([smhd]?)"
_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

HISTORY = Operation(
    "/v1/history",
    "What was given, drawn and asked for, and what happened, of late",
    {HTTPStatus.OK.value: Answer("Columns of at most 900 points, and happenings", HistoryView)},
    optional={
        "since": {
            "description": 'Where it begins: so many seconds ago ("3600"), "15m", "2h" or "1d", or an '
            "RFC 3339 time; no earlier than a day ago",
            "default": _DEFAULT,
            "anyOf": [
                {"type": "string", "pattern": f"^{_AGO}$"},
                {"type": "string", "format": "date-time"},
            ],
        }
    },
    errors={HTTPStatus.BAD_REQUEST.value: "Neither a time nor a duration"},
)


@dataclass(frozen=True, slots=True)
class HistoryInterface:
    """The path over a history."""

    history: History
    clock: Clock

    def routes(self) -> list[tuple[Operation, Callable[[web.Request], Awaitable[web.StreamResponse]]]]:
        """Return the path with what documents it and what answers it."""
        return [(HISTORY, self.answer)]

    async def answer(self, request: web.Request) -> web.Response:
        """Answer `/v1/history`."""
        now = self.clock.now()
        try:
            ago_s = seconds_ago(request.query.get("since", _DEFAULT), now)
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"since: {error}") from None
        document = view(self.history.since(now.boot_s - ago_s, now), now)
        return web.Response(text=document.model_dump_json(by_alias=True), content_type="application/json")


def seconds_ago(since: str, now: Now) -> float:
    """Return how long ago something is that a person gave as a duration or a time.

    Raises:
        ValueError: it is neither.
    """
    if found := re.fullmatch(_AGO, since):
        return float(found[1]) * _UNIT_S[found[2]]
    try:
        # A plus sign that was not escaped has become a space on its way.
        moment_s = rfc3339.parse(since.replace(" ", "+"))
    except ValueError:
        text = f'{since[:64]!r} is neither seconds, nor like "15m", "2h" or "1d", nor an RFC 3339 time'
        raise ValueError(text) from None
    return max(0.0, now.wall_s - moment_s)


def view(extract: Extract, now: Now) -> HistoryView:
    """Return the document; moments are shown as the wall clock would have them now.

    The columns are not validated: looking at twenty thousand numbers one by one would hold up the loop.
    """
    wall_s = now.wall_s - now.boot_s
    gpus = sorted(extract.gpus.items(), key=lambda gpu: (extract.indices[gpu[0]], gpu[0]))
    return HistoryView.model_construct(
        from_=utc(extract.from_boot_s + wall_s),
        to=utc(now.wall_s),
        step_s=extract.step_s,
        time=[round(boot_s + wall_s, 3) for boot_s in extract.times_boot_s],
        phase=[phase.value for phase in extract.phases],
        gpus=[
            GpuHistoryView.model_construct(
                uuid=uuid, index=extract.indices[uuid], **_columns(columns, GPU_COLUMNS + GPU_EXTREMES)
            )
            for uuid, columns in gpus
        ],
        happenings=[_happening(each, wall_s) for each in extract.happenings],
        **_columns(extract.columns, HOST_COLUMNS + HOST_EXTREMES),
    )


def _columns(columns: dict[str, list[Tenths]], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _watts(columns[name]) if name in columns else None for name in names}


def _watts(column: list[Tenths]) -> Column:
    return [tenths / 10 if tenths >= 0 else None for tenths in column]


def _happening(happening: Happening, wall_s: float) -> HappeningView:
    return HappeningView(
        time=utc(happening.boot_s + wall_s),
        event=happening.event,
        severity=happening.severity,
        subject=happening.subject,
        text=happening.text,
        by=happening.by,
    )
