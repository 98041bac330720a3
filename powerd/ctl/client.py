"""How `powerctl` asks the daemon: one GET over TCP or the Unix socket, with the standard library.

No HTTP package is imported: asking for the status of a host must be instant.
"""

import http.client
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from powerd.errors import ConfigError, DaemonUnreachableError, PowerdError

DEFAULT_URL = "http://127.0.0.1:9780"
_TIMEOUT_S = 5.0

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

    Attributes:
        url: of its TCP endpoint; not used if `socket_path` is set.
    """

    url: str = DEFAULT_URL
    socket_path: Path | None = None

    def get(self, path: str, *, within_s: float = _TIMEOUT_S) -> Document:
        """Return one JSON document.

        Args:
            within_s: how long to wait at any point of the exchange.

        Raises:
            ConfigError: the URL cannot be used.
            DaemonUnreachableError: nothing answers, or not as powerd does.
            RequestFailedError: it answers with an error.
        """
        connection = self._connection(within_s)
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            document = json.loads(answer.read())
        except OSError as error:
            why = error.strerror or str(error)
            raise DaemonUnreachableError(f"no answer from {self._where}: {why}; is powerd running?") from None
        except (http.client.HTTPException, ValueError):
            raise DaemonUnreachableError(f"{self._where} answers, but is not powerd") from None
        finally:
            connection.close()
        if not isinstance(document, dict):
            raise DaemonUnreachableError(f"{self._where} answers, but is not powerd")
        if answer.status != http.client.OK:
            raise RequestFailedError(str(document.get("error", f"{self._where} answered {answer.status}")))
        return document

    @property
    def _where(self) -> str:
        return self.url if self.socket_path is None else str(self.socket_path)

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
