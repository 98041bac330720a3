"""Access tokens by client credentials (RFC 6749, section 4.4): fetched when needed, kept while they last."""

import asyncio

import aiohttp

from powerd.clock import Clock
from powerd.errors import ConfigError
from powerd.openadr.errors import VtnError
from powerd.openadr.options import VtnOptions
from powerd.openadr.web import check_url, exchange

# A token is renewed when so much of its life is over, so that none expires on the way.
_RENEW_AT = 0.8
# Of a token that does not say how long it lasts. If it is less, a 401 tells.
_DEFAULT_LIFE_S = 3600.0
_NOT_FOUND = 404


class Tokens:
    """The token in use.

    Args:
        clock: lifetimes count on its boot clock.
    """

    def __init__(self, options: VtnOptions, session: aiohttp.ClientSession, clock: Clock) -> None:
        self._options = options
        self._session = session
        self._clock = clock
        self._token = ""
        self._renew_boot_s = 0.0
        self._url = options.token_url
        self._lock = asyncio.Lock()

    async def get(self) -> str:
        """Return a token that should be accepted.

        Raises:
            VtnError: there is none to be had.
        """
        async with self._lock:
            if not self._token or self._clock.now().boot_s >= self._renew_boot_s:
                await self._fetch()
            return self._token

    def forget(self, token: str) -> None:
        """Do not use a token again: the server refused it."""
        if token == self._token:
            self._token = ""

    async def _fetch(self) -> None:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._options.client_id,
            "client_secret": self._options.client_secret,
        }
        if self._options.scope:
            form["scope"] = self._options.scope
        asked_boot_s = self._clock.now().boot_s
        url = self._url = self._url or await self._discovered_url()
        answer = (await exchange(self._session, "POST", url, data=form)).content
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
            raise VtnError(f"POST {url}: the answer holds no access_token")
        life_s = answer.get("expires_in") if isinstance(answer, dict) else None
        if type(life_s) not in (int, float) or not life_s > 0:  # type: ignore[operator]
            life_s = _DEFAULT_LIFE_S
        self._token = token
        self._renew_boot_s = asked_boot_s + _RENEW_AT * float(life_s)  # type: ignore[arg-type]

    async def _discovered_url(self) -> str:
        """Return where the VTN says that tokens come from; its own end point if it says nothing."""
        base = self._options.url
        try:
            answer = (await exchange(self._session, "GET", f"{base}/auth/server")).content
        except VtnError as error:
            if error.status != _NOT_FOUND:
                raise
            return f"{base}/auth/token"
        url = answer.get("tokenURL") if isinstance(answer, dict) else None
        if not isinstance(url, str):
            raise VtnError(f"GET {base}/auth/server: the answer holds no tokenURL")
        try:
            check_url("the VTN's tokenURL", url, allow_plaintext=self._options.allow_plaintext)
        except ConfigError as error:
            raise VtnError(f"GET {base}/auth/server: {error}") from None
        return url
