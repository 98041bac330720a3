"""HTTP as the bridge needs it: one request, a bounded answer in JSON, every failure as one kind of error.

Never follows a redirect: the request carries a token that is meant for one server.
"""

import ipaddress
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from powerd.errors import ConfigError
from powerd.openadr.errors import VtnError
from powerd.signals.fields import printable

MAX_BYTES = 16 * 1024 * 1024
# A server that asks for more patience than this is asked again all the same.
MAX_RETRY_AFTER_S = 3600.0
_MAX_DETAIL_CHARACTERS = 120
_OK_STATUS = range(200, 300)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered, if it was a success.

    Attributes:
        content: parsed JSON; None if there was no content.
    """

    status: int
    content: object


async def exchange(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    on_date_s: Callable[[float], None] | None = None,
    **arguments: Any,  # noqa: ANN401 - as aiohttp takes them
) -> Answer:
    """Make one request.

    Args:
        on_date_s: told the server's clock, if it says.
        arguments: as of `aiohttp.ClientSession.request`.

    Raises:
        VtnError: no connection, no answer in time, an answer that is too long or no JSON, or no success.
    """
    what = f"{method} {url}"
    try:
        async with session.request(method, url, allow_redirects=False, **arguments) as response:
            if on_date_s is not None:
                _tell_date(response.headers, on_date_s)
            content = await _content(response)
    except TimeoutError:
        raise VtnError(f"{what}: no answer in time") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise VtnError(f"{what}: {error or type(error).__name__}") from error
    if response.status not in _OK_STATUS:
        detail = _detail(content)
        text = f"{what}: {response.status} {response.reason or ''}".rstrip()
        raise VtnError(f"{text}{detail}", response.status, _retry_after_s(response.headers))
    try:
        return Answer(response.status, _parsed(content) if content else None)
    except ValueError as error:
        raise VtnError(f"{what}: the answer is not JSON: {error}") from None


def check_url(key: str, url: str, *, allow_plaintext: bool) -> None:
    """Refuse an address over which a secret would travel in plain text.

    Raises:
        ConfigError: it is one, or no address; the text begins with `key`.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port  # raises ValueError out of range
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https") or "@" in parts.netloc:
        raise ConfigError(f"{key} should look like https://vtn.example/openadr3/3.1.0, without a password")
    if parts.scheme == "http" and not (allow_plaintext or _is_loopback(host)):
        raise ConfigError(
            f"{key} {url} is not encrypted and leads to another machine: use https://, or set "
            "vtn.allow_plaintext = true on a network that you trust"
        )


def tls_context(ca_file: str) -> ssl.SSLContext:
    """Return how servers are told from impostors.

    Raises:
        ConfigError: the file of authorities cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:  # ssl.SSLError is one too
        raise ConfigError(f"vtn.ca_file {ca_file}: {error.strerror or error}") from None
    # As it is by default; but the system's OpenSSL may be configured otherwise.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _content(response: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    total = 0
    async for chunk in response.content.iter_chunked(65536):
        total += len(chunk)
        if total > MAX_BYTES:
            raise ValueError(f"the answer has more than {MAX_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _parsed(content: bytes) -> object:
    try:
        return json.loads(content.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _detail(content: bytes) -> str:
    """Return what a `problem`, or an error of OAuth, says to people."""
    try:
        problem = _parsed(content)
    except ValueError:
        return ""
    texts = (
        [problem.get(name) for name in ("title", "detail", "error", "error_description")]
        if isinstance(problem, Mapping)
        else []
    )
    said = ", ".join(printable(text) for text in texts if isinstance(text, str) and text)
    return f" ({said[:_MAX_DETAIL_CHARACTERS]})" if said else ""


def _retry_after_s(headers: Mapping[str, str]) -> float:
    # The other form, a date, would need the two clocks to agree.
    said = headers.get("Retry-After", "")
    return min(float(said), MAX_RETRY_AFTER_S) if said.isdecimal() and len(said) <= 9 else 0.0  # noqa: PLR2004


def _tell_date(headers: Mapping[str, str], on_date_s: Callable[[float], None]) -> None:
    try:
        said_s = parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return
    on_date_s(said_s)
