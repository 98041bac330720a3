"""A VTN for tests: real HTTP on the loopback interface, every message held to the OpenAPI document."""

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Self

from aiohttp import web

from powerd.signals.strict_json import JsonObject
from tests.openadr import contract

# Before the VTN itself there may be others that answer, and no document binds them.
_OF_PROXIES = (302, 502, 503, 504)
CLIENT, SECRET = "ven-client", "s3cret"


class Vtn:
    """What a VTN knows, and what goes wrong with it.

    Args:
        wall_s: its clock.
        tls: its certificate, for "localhost"; None = plain HTTP.

    Attributes:
        page: it never gives more objects at once, whatever it is asked for.
        lifetime_s: of its tokens.
        failures: statuses that the next requests for objects are answered with.
        retry_after_s: what it says with them; 0 = nothing.
        stalled: while this is not set, no answer comes.
        ahead_s: how far its clock is ahead.
        hidden: events that are there, but in no list.
        closed: paths that the client may not use.
        asked: how often each path was.
        violations: what did not keep to the document.
    """

    def __init__(self, wall_s: Callable[[], float], tls: ssl.SSLContext | None = None) -> None:
        self._wall_s = wall_s
        self._tls = tls
        self.programs: dict[str, JsonObject] = {}
        self.events: dict[str, JsonObject] = {}
        self.vens: dict[str, JsonObject] = {}
        self.reports: list[JsonObject] = []
        self.notifier: JsonObject | None = None
        self.topics: JsonObject = {}
        self.tokens: set[str] = set()
        self.page = 50
        self.lifetime_s: int | None = 3600
        self.failures: list[int] = []
        self.retry_after_s = 0
        self.stalled = asyncio.Event()
        self.stalled.set()
        self.ahead_s = 0.0
        self.hidden: set[str] = set()
        self.closed: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.violations: list[str] = []
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        start = "https://localhost" if self._tls else "http://127.0.0.1"
        return f"{start}:{self.port}/openadr3/3.1.0"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stalled.set()
        await self.stop()

    async def start(self) -> None:
        """Serve, on the same port as before."""
        app = web.Application()
        app.router.add_route("*", "/openadr3/3.1.0/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Go away: connections are refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def put(self, *events: JsonObject) -> None:
        """Create or replace events."""
        for each in events:
            contract.check("event", each)
            self.events[str(each["id"])] = each

    async def _serve(self, request: web.Request) -> web.Response:
        path = f"/{request.match_info['path']}"
        self.asked[path] += 1
        await self.stalled.wait()
        try:
            content = await self._content(request, path)
            status, answer = self._answer(request, path, content)
            if status not in _OF_PROXIES:
                contract.check_response(request.method, path, status, answer)
        except contract.ContractError as error:
            self.violations.append(str(error))
            status, answer = 400, {"title": "Bad Request", "detail": str(error)}
        now = datetime.fromtimestamp(self._wall_s() + self.ahead_s, UTC)
        headers = {"Date": format_datetime(now, usegmt=True)}
        if status == 302:
            headers["Location"] = f"{self.url}/elsewhere"
        if status >= 500 and self.retry_after_s:
            headers["Retry-After"] = str(self.retry_after_s)
        return web.json_response(answer, status=status, headers=headers)

    async def _content(self, request: web.Request, path: str) -> object:
        content: object = None
        if request.content_type == "application/x-www-form-urlencoded":
            content = dict(await request.post())
        elif request.can_read_body:
            content = json.loads(await request.text())
        contract.check_request(request.method, path, dict(request.query), content)
        return content

    def _answer(self, request: web.Request, path: str, content: object) -> tuple[int, object]:
        if path.startswith("/auth/"):
            is_question = path == "/auth/server"
            return (200, {"tokenURL": f"{self.url}/auth/token"}) if is_question else self._token(content)
        if status := self._refusal(request, path):
            return status, {"title": "not now", "status": status}
        kind, _, rest = path[1:].partition("/")
        if kind == "notifiers":
            return self._notifiers(rest)
        if request.method == "POST":
            return self._create(kind, content)
        objects = {"programs": self.programs, "events": self.events, "vens": self.vens}[kind]
        if rest:
            found = objects.get(rest)
            return (200, found) if found else (404, {"title": "Not Found", "status": 404})
        listed = [each for name, each in objects.items() if name not in self.hidden]
        skip, limit = int(request.query.get("skip", 0)), int(request.query.get("limit", 50))
        return 200, listed[skip : skip + min(limit, self.page)]

    def _refusal(self, request: web.Request, path: str) -> int:
        if self.failures:
            return self.failures.pop(0)
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return 401
        return 403 if path in self.closed else 0

    def _token(self, content: object) -> tuple[int, object]:
        if not isinstance(content, dict) or content["client_secret"] != SECRET:
            return 401, {"title": "Unauthorized", "detail": "invalid_client"}
        token = f"token-{self.asked['/auth/token']}"
        self.tokens = {token}
        life = {} if self.lifetime_s is None else {"expires_in": self.lifetime_s}
        return 200, {"access_token": token, "token_type": "Bearer"} | life

    def _notifiers(self, rest: str) -> tuple[int, object]:
        if rest:
            return 200, {"topics": self.topics}
        return 200, {"WEBHOOK": True} | ({"MQTT": self.notifier} if self.notifier else {})

    def _create(self, kind: str, content: object) -> tuple[int, object]:
        assert isinstance(content, dict)
        stamp = "2026-11-21T16:00:00Z"
        name = f"{kind}-{self.asked[f'/{kind}']}"
        found = content | {
            "id": name,
            "createdDateTime": stamp,
            "modificationDateTime": stamp,
            "objectType": {"vens": "VEN", "reports": "REPORT"}[kind],
            "clientID": CLIENT,
        }
        if kind == "vens":
            self.vens[name] = found
        else:
            self.reports.append(found)
        return 201, found
