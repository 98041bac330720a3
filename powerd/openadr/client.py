"""The VTN's REST interface, as a VEN uses it.

Nothing is tried twice here but a request whose token was refused: when to ask again is the caller's business.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import aiohttp

from powerd.clock import Clock
from powerd.core.model import Notice, Severity
from powerd.openadr.errors import VtnError
from powerd.openadr.options import VtnOptions
from powerd.openadr.tokens import Tokens
from powerd.openadr.web import Answer, exchange
from powerd.signals.strict_json import JsonObject

# The most that the API lets a client ask for at once.
PAGE = 50
MAX_OBJECTS = 10_000
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _NOT_IMPLEMENTED = 401, 403, 404, 501


@dataclass(frozen=True, slots=True)
class Binding:
    """The VTN's own broker, and what to listen to there.

    Attributes:
        method: ANONYMOUS, OAUTH2_BEARER_TOKEN or CERTIFICATE.
        username: with a bearer token, whose password is the token.
        ca_pem, cert_pem, key_pem: with a certificate.
    """

    url: str
    topics: tuple[str, ...]
    method: str
    username: str = ""
    ca_pem: str = ""
    cert_pem: str = ""
    key_pem: str = field(default="", repr=False)


class VtnClient:
    """One VEN at one VTN.

    Args:
        session: whose time-out holds for each request.
        on_notice: told of a VTN whose clock differs from ours.
    """

    def __init__(
        self,
        options: VtnOptions,
        session: aiohttp.ClientSession,
        clock: Clock,
        on_notice: Callable[[Notice], None],
    ) -> None:
        self._options = options
        self._session = session
        self._clock = clock
        self._on_notice = on_notice
        self._tokens = Tokens(options, session, clock)

    async def token(self) -> str:
        """Return an access token, for the VTN's broker.

        Raises:
            VtnError: there is none to be had.
        """
        return await self._tokens.get()

    async def objects(self, path: str, **query: str) -> list[JsonObject]:
        """Return all objects of a kind, page by page until one is empty or repeats what was there.

        A page that is not full is not taken for the last: a VTN may give less than it was asked for.

        Raises:
            VtnError: one of the pages failed, so that the list would not be complete.
        """
        found: dict[object, JsonObject] = {}
        skip = 0
        while True:
            params = {**query, "skip": str(skip), "limit": str(PAGE)}
            page = (await self._request("GET", path, params=params)).content
            if not isinstance(page, list) or not all(isinstance(each, dict) for each in page):
                raise VtnError(f"GET {path}: the answer is no list of objects")
            before = len(found)
            found.update((str(each.get("id")), each) for each in page)
            if len(found) == before:
                return [*found.values()]
            if len(found) > MAX_OBJECTS:
                raise VtnError(f"GET {path}: more than {MAX_OBJECTS} objects")
            skip += len(page)

    async def find(self, path: str) -> JsonObject | None:
        """Return one object; None if the VTN says that there is none.

        Raises:
            VtnError: it says something else, or nothing.
        """
        try:
            return _object(await self._request("GET", path), f"GET {path}")
        except VtnError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    async def send(self, method: str, path: str, content: JsonObject) -> JsonObject:
        """Create (POST) or replace (PUT) an object, and return what became of it.

        Raises:
            VtnError: it was not taken.
        """
        return _object(await self._request(method, path, json=content), f"{method} {path}")

    async def register(self) -> str:
        """Return our identifier as a VEN, after making ourselves known if the VTN does not know us.

        Raises:
            VtnError: that failed.
        """
        name = self._options.ven_name
        known = [ven for ven in await self.objects("/vens", venName=name) if ven.get("venName") == name]
        ven = (
            known[0]
            if known
            else await self.send("POST", "/vens", {"objectType": "VEN_VEN_REQUEST", "venName": name})
        )
        identifier = ven.get("id")
        if not isinstance(identifier, str) or not identifier:
            raise VtnError("/vens: the VEN has no id")
        return identifier

    async def notifier(self, ven_id: str) -> Binding | None:
        """Return how to be told of changed events; None if this VTN does not tell us by MQTT.

        Raises:
            VtnError: asking failed.
        """
        try:
            offered = _object(await self._request("GET", "/notifiers"), "GET /notifiers").get("MQTT")
            if not isinstance(offered, dict):
                return None
            path = f"/notifiers/mqtt/topics/vens/{ven_id}/events"
            topics = _object(await self._request("GET", path), f"GET {path}").get("topics")
        except VtnError as error:
            if error.status in (_FORBIDDEN, _NOT_FOUND, _NOT_IMPLEMENTED):
                return None
            raise
        return _binding(offered, topics, self._options.client_id)

    async def _request(self, method: str, path: str, **arguments: object) -> Answer:
        token = await self._tokens.get()
        try:
            return await self._once(method, path, token, arguments)
        except VtnError as error:
            if error.status != _UNAUTHORIZED:
                raise
        # It expired early, or was revoked: once more with a fresh one.
        self._tokens.forget(token)
        return await self._once(method, path, await self._tokens.get(), arguments)

    async def _once(self, method: str, path: str, token: str, arguments: Mapping[str, object]) -> Answer:
        return await exchange(
            self._session,
            method,
            f"{self._options.url}{path}",
            on_date_s=self._date,
            headers={"Authorization": f"Bearer {token}"},
            **arguments,
        )

    def _date(self, said_s: float) -> None:
        skew_s = said_s - self._clock.now().wall_s
        if abs(skew_s) > self._options.max_skew_s:
            text = f"the VTN's clock differs by {skew_s / 60:+.0f} min from ours: its events are by its clock"
            self._on_notice(Notice("vtn_clock_differs", Severity.WARNING, text))


def _object(answer: Answer, what: str) -> JsonObject:
    if not isinstance(answer.content, dict):
        raise VtnError(f"{what}: the answer is no object")
    return cast("JsonObject", answer.content)


def _binding(offered: JsonObject, topics: object, client_id: str) -> Binding:
    urls = offered.get("URIS")
    url = next((each for each in urls if isinstance(each, str)), None) if isinstance(urls, list) else None
    proof = offered.get("authentication")
    if url is None or not isinstance(proof, dict) or not isinstance(topics, dict):
        raise VtnError("/notifiers: the MQTT binding names no broker, no authentication or no topics")
    single = [topics[name] for name in ("CREATE", "UPDATE", "DELETE") if isinstance(topics.get(name), str)]
    everything = [topics["ALL"]] if isinstance(topics.get("ALL"), str) else single

    def text(name: str) -> str:
        value = proof.get(name)
        return value if isinstance(value, str) else ""

    return Binding(
        url=url,
        topics=tuple(everything),
        method=text("method"),
        username=text("username").replace("{clientID}", client_id),
        ca_pem=text("caCert"),
        cert_pem=text("clientCert"),
        key_pem=text("clientKey"),
    )
