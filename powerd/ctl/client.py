"""How `powerctl` talks to the daemon: HTTP over TCP or the Unix socket, with the standard library.

No HTTP package is imported: asking for the status of a host must be instant.
"""

import grp
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn, TypeAlias
from urllib.parse import urlsplit

from powerd.errors import ConfigError, DaemonUnreachableError, PowerdError, printable

DEFAULT_URL = "http://127.0.0.1:9780"
_TIMEOUT_S = 5.0
# More than a day of a host with many GPUs: what is longer does not come from powerd.
_MAX_ANSWER_BYTES = 32 << 20

Document: TypeAlias = dict[str, Any]


class RequestFailedError(PowerdError):
    """The daemon answered, and could not do what was asked. The text is its reason."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, within_s: float) -> None:
        super().__init__("localhost", timeout=within_s)
        self._path = path
        self._within_s = within_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._within_s)
        self.sock.connect(str(self._path))


@dataclass(frozen=True, slots=True)
class Daemon:
    """Where the daemon is.

    Every request raises:
        ConfigError: the URL cannot be used, or the daemon says that the request is not one.
        DaemonUnreachableError: nothing answers, not as powerd does, or this user may not ask.
        RequestFailedError: it answers with another error.

    Attributes:
        url: of its TCP endpoint; not used if `socket_path` is set.
    """

    url: str = DEFAULT_URL
    socket_path: Path | None = None

    def get(self, path: str, *, within_s: float = _TIMEOUT_S) -> Document:
        """Return one JSON document.

        Args:
            within_s: how long to wait at any point of the exchange.
        """
        return self._ask("GET", path, None, within_s)

    def text(self, path: str, *, within_s: float = _TIMEOUT_S) -> str:
        """Return what is no JSON; empty if the daemon has nothing there."""
        connection = self._connection(within_s)
        try:
            answer = self._sent(connection, "GET", path, None)
            body = answer.read(_MAX_ANSWER_BYTES).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            raise self._not_powerd() from None
        finally:
            connection.close()
        return body if answer.status == HTTPStatus.OK else ""

    def post(self, path: str, body: Mapping[str, object], *, within_s: float) -> Document:
        """Give an order and return what was done.

        Args:
            within_s: how long the daemon may take to carry it out.
        """
        return self._ask("POST", path, json.dumps(body).encode(), within_s)

    def stream(self, *, within_s: float = _TIMEOUT_S) -> Iterator[Document]:
        """Yield the status after each iteration, until the daemon ends it.

        Args:
            within_s: how long to wait for the next one.
        """
        connection = self._connection(within_s)
        try:
            answer = self._sent(connection, "GET", "/v1/stream", None)
            if answer.status != HTTPStatus.OK:
                raise self._failure(answer.status, self._read(answer))
            for line in iter(lambda: self._line(answer), b""):
                name, _, value = line.partition(b":")
                if name == b"data":
                    yield self._document(value)
        finally:
            connection.close()

    @property
    def where(self) -> str:
        """Return what was asked, for people."""
        return self.url if self.socket_path is None else str(self.socket_path)

    def _ask(self, method: str, path: str, body: bytes | None, within_s: float) -> Document:
        connection = self._connection(within_s)
        try:
            answer = self._sent(connection, method, path, body)
            document = self._read(answer)
        finally:
            connection.close()
        if answer.status != HTTPStatus.OK:
            raise self._failure(answer.status, document)
        return document

    def _sent(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None
    ) -> http.client.HTTPResponse:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body, headers)
            return connection.getresponse()
        except OSError as error:
            raise self._no_answer(error) from None
        except http.client.HTTPException:
            raise self._not_powerd() from None

    def _read(self, answer: http.client.HTTPResponse) -> Document:
        try:
            text = answer.read(_MAX_ANSWER_BYTES)
        except OSError as error:
            raise self._no_answer(error) from None
        except http.client.HTTPException:
            raise self._not_powerd() from None
        if answer.length:  # it broke off, or is longer than anything that powerd says
            raise self._not_powerd()
        return self._document(text)

    def _document(self, text: bytes) -> Document:
        try:
            document = _harmless(json.loads(text, parse_constant=_no_number))
        except (ValueError, RecursionError):
            raise self._not_powerd() from None
        if not isinstance(document, dict):
            raise self._not_powerd()
        return document

    def _line(self, answer: http.client.HTTPResponse) -> bytes:
        try:
            return answer.readline(_MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise DaemonUnreachableError(f"{self.where} fell silent: {error}") from None

    def _no_answer(self, error: OSError) -> DaemonUnreachableError:
        if isinstance(error, PermissionError) and self.socket_path is not None:
            return DaemonUnreachableError(
                f"{self.socket_path} is not open to you: {_entry(self.socket_path)}"
            )
        why = error.strerror or str(error)
        return DaemonUnreachableError(f"no answer from {self.where}: {why}; is powerd running?")

    def _not_powerd(self) -> DaemonUnreachableError:
        return DaemonUnreachableError(f"{self.where} answers, but is not powerd")

    def _failure(self, status: int, document: Document) -> PowerdError:
        text = str(document.get("error", f"{self.where} answered {status}"))
        return ConfigError(text) if status == HTTPStatus.BAD_REQUEST else RequestFailedError(text)

    def _connection(self, within_s: float) -> http.client.HTTPConnection:
        if self.socket_path is not None:
            return _UnixConnection(self.socket_path, within_s)
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if parts.scheme != "http" or not host:
            raise ConfigError(f'--url "{self.url}" is not like {DEFAULT_URL}')
        return http.client.HTTPConnection(host, port, timeout=within_s)


class _Answer(dict[str, Any]):
    """An object in what a daemon says."""

    def __missing__(self, key: str) -> NoReturn:
        raise DaemonUnreachableError(f'the answer has no "{key}": is the daemon of another version?')


def _harmless(value: Any) -> Any:  # noqa: ANN401 - of JSON
    """Return JSON whose texts a terminal shows and does not act on: others have chosen some of them."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return _Answer({printable(key): _harmless(each) for key, each in value.items()})
    return [_harmless(each) for each in value] if isinstance(value, list) else value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _entry(path: Path) -> str:
    """Return how a user gets to open a socket."""
    try:
        group = grp.getgrgid(path.stat().st_gid).gr_name
    except (OSError, KeyError):
        return "ask for the group that its directory belongs to, or use sudo"
    return f"join its group (sudo usermod -aG {group} $USER, then log in again), or use sudo"
