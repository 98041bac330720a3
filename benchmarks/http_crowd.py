"""The clients of the HTTP benchmark, in a process of their own: many that listen or idle, and one that asks.

    python -m benchmarks.http_crowd PORT SECONDS LISTENERS IDLE STATUS_HZ METRICS_HZ GREEDY

Those that are greedy have ten requests under way at any time. Prints one JSON object when the time is over.
Nothing is parsed before that.
"""

import json
import resource
import selectors
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import BinaryIO

_REOPEN_AFTER_S = 1.0
_REQUEST = "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
_STREAM, _METRICS = (_REQUEST.format(path=path).encode() for path in ("/v1/stream", "/metrics"))
_FIRST_WORDS = {"first": _STREAM, "other": _STREAM, "idle": b"", "greedy": _METRICS * 10}


@dataclass
class Crowd:
    """Clients that only receive, on one selector.

    Attributes:
        heard: what the first listener received, with the time of each piece.
        counts: connections opened again because the server had closed them, and bytes received.
    """

    port: int
    heard: list[bytes] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets: dict[int, socket.socket] = {}
        self._closed: list[tuple[float, str]] = []

    def open(self, kind: str) -> None:
        """Open a connection that listens, or asks without end, or says nothing."""
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.sendall(_FIRST_WORDS[kind])
        connection.setblocking(False)
        self._sockets[connection.fileno()] = connection
        self._selector.register(connection, selectors.EVENT_READ, kind)

    def run(self, seconds: float) -> None:
        """Receive for a while; what the server closes is opened again a second later."""
        end_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < end_s:
            for key, _ in self._selector.select(timeout=0.05):
                self._receive(self._sockets[key.fd], key.data, now_s)
            while self._closed and self._closed[0][0] < now_s:
                self.open(self._closed.pop(0)[1])

    def _receive(self, connection: socket.socket, kind: str, now_s: float) -> None:
        try:
            data = connection.recv(1 << 18)
        except ConnectionError:
            data = b""
        if not data:
            self._selector.unregister(connection)
            connection.close()
            self._closed.append((now_s + _REOPEN_AFTER_S, kind))
            self.counts[f"{kind} opened again"] += 1
        elif kind == "first":
            self.heard.append(data)
        elif kind == "greedy":
            connection.sendall(_METRICS * data.count(b"HTTP/1.1 200"))
        self.counts["bytes"] += len(data)


class Asker(threading.Thread):
    """Asks for one path, so many times a second, on one connection, and notes how long each answer took."""

    def __init__(self, port: int, path: str, per_s: float, seconds: float) -> None:
        super().__init__()
        self.took_s: list[float] = []
        self.errors = 0
        self._port, self._request = port, _REQUEST.format(path=path).encode()
        self._period_s, self._seconds = 1 / per_s, seconds

    def run(self) -> None:
        """Ask until the time is over."""
        begun_s = time.monotonic()
        with socket.create_connection(("127.0.0.1", self._port)) as connection:
            answers = connection.makefile("rb")
            for number in range(int(self._seconds / self._period_s)):
                # Not in step with the loop.
                due_s = begun_s + (number + number % 7 / 7) * self._period_s
                time.sleep(max(0.0, due_s - time.monotonic()))
                asked_s = time.perf_counter()
                connection.sendall(self._request)
                self.errors += not _read_answer(answers)
                self.took_s.append(time.perf_counter() - asked_s)


def _read_answer(answers: BinaryIO) -> bool:
    """Read one answer, and say whether it was 200."""
    first, length = answers.readline(), 0
    while (line := answers.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return bool(answers.read(length)) and b" 200 " in first


def iterations(heard: bytes) -> list[dict[str, float]]:
    """Return what each status event says of its iteration."""
    found = []
    for line in heard.split(b"\n"):
        if line.startswith(b"data: ") and line.endswith(b"}"):
            status = json.loads(line.removeprefix(b"data: "))
            found.append({name: status[name] for name in ("iteration", "took_s")})
    return found


def main() -> None:
    """Be the crowd for a while."""
    port, seconds, listeners, idle = (int(text) for text in sys.argv[1:5])
    greedy = int(sys.argv[7])
    rates = {"/v1/status": float(sys.argv[5]), "/metrics": float(sys.argv[6])}
    crowd = Crowd(port)
    for number in range(listeners):
        crowd.open("other" if number else "first")
    for _ in range(idle):
        crowd.open("idle")
        time.sleep(0.002)
    for _ in range(greedy):
        crowd.open("greedy")
    crowd.run(1.0)  # everybody is connected, and the first events are there
    crowd.heard.clear()
    crowd.counts.clear()
    askers = {path: Asker(port, path, per_s, seconds) for path, per_s in rates.items() if per_s}
    before = resource.getrusage(resource.RUSAGE_SELF)
    for asker in askers.values():
        asker.start()
    crowd.run(seconds)
    after = resource.getrusage(resource.RUSAGE_SELF)
    for asker in askers.values():
        asker.join()
    result = {
        "iterations": iterations(b"".join(crowd.heard)),
        "took_s": {path: sorted(asker.took_s) for path, asker in askers.items()},
        "errors": sum(asker.errors for asker in askers.values()),
        "counts": crowd.counts,
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
