"""Sends far too many messages: `python -m tests.endurance.flooder PORT KIND RATE_PER_S SECONDS`.

Speaks MQTT 3.1.1 from hand-made packets, sent by the hundred: what it costs must not be what is measured.
"""

import itertools
import json
import random
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator

from tests.daemon.facility import BASE, rfc3339
from tests.daemon.host import RACK, SITE

BUDGET_TOPIC = f"{BASE}/budget"
EVENTS = f"powerd/v1/{SITE}/grid/event"
SIGNALS = f"powerd/v1/{SITE}/signal/price"
# A sender that the daemon listens to, and one that it does not.
LISTED, STRANGER = "facility-b", "nobody"
# One that signs.
SIGNER = "facility-c"
# What the listed one asks for: more than any cut, so that it hides none.
LISTED_WATTS = 4400
_TICK_S = 0.005
_EPOCH = 1_700_000_000_000

Message = tuple[str, bytes]


def budget(
    source: str, seq: int, watts: float = LISTED_WATTS, lease_s: float = 300.0, **more: object
) -> bytes:
    """Return a budget in good order."""
    now_s = time.time()
    fields = {
        "v": 1,
        "source": source,
        "epoch": _EPOCH,
        "seq": seq,
        "issued_at": rfc3339(now_s),
        "valid_until": rfc3339(now_s + lease_s),
        "rack": RACK,
        "watts": watts,
    }
    return json.dumps({**fields, **more}).encode()


def _garbage(_begin: int) -> Iterator[Message]:
    rng = random.Random(1)
    payloads = [rng.randbytes(rng.randrange(1, 300)) for _ in range(1000)]
    payloads += [b'{"v":1,"source":"facility-a","watts":' + b"[" * n for n in range(200)]
    return ((BUDGET_TOPIC, payload) for payload in itertools.cycle(payloads))


def _stranger(begin: int) -> Iterator[Message]:
    """Budgets in good order of one sender that is not listened to."""
    return ((BUDGET_TOPIC, payload) for payload in _counted(budget(STRANGER, 123456789), begin))


def _strangers(begin: int) -> Iterator[Message]:
    """The same of a new sender each time."""
    before, after = budget("s-123456789", begin).split(b"123456789")
    return ((BUDGET_TOPIC, b"%s%d%s" % (before, number, after)) for number in itertools.count(begin))


def _repeats(begin: int) -> Iterator[Message]:
    return itertools.repeat((BUDGET_TOPIC, budget(LISTED, begin)))


def _looping(begin: int) -> Iterator[Message]:
    """One that is listened to says the same watts again and again, each time as something new."""
    return ((BUDGET_TOPIC, payload) for payload in _counted(budget(LISTED, 123456789), begin))


def _large(_begin: int) -> Iterator[Message]:
    """60 KiB each: text, nested objects, and a budget in good order that has a field too many."""
    nested = b'{"a":' * 12 + b"1" + b"}" * 12
    filler = json.dumps({str(n): [n] * 8 for n in range(1500)}).encode()[: 60 * 1024 - 400]
    payloads = [
        b"x" * 60 * 1024,
        b'{"a":[' + b",".join([nested] * 800) + b"]}",
        budget(STRANGER, 1, filler="y" * 59_000),
        b'{"v":1,"f":' + filler,
    ]
    return ((BUDGET_TOPIC, payload) for payload in itertools.cycle(payloads))


def _topics(begin: int) -> Iterator[Message]:
    """A topic of its own for each, below filters with wildcards."""
    payload = b'{"v":1,"source":"bridge","event_id":"x"}'
    return ((f"{EVENTS}/made-up-{number}", payload) for number in itertools.count(begin))


def _forged(begin: int) -> Iterator[Message]:
    """Budgets of one that signs, signed by somebody else."""
    from tests.security.forge import OWN_KEY, signed  # noqa: PLC0415 - large, and only for this

    payloads = [signed(budget(SIGNER, begin + number), OWN_KEY).encode() for number in range(200)]
    return ((BUDGET_TOPIC, payload) for payload in itertools.cycle(payloads))


def _storm(begin: int) -> Iterator[Message]:
    """What cannot be used, each time of another sender, for another reason or on another topic."""
    for number in itertools.count(begin):
        name = f"made-up-{number}"
        yield BUDGET_TOPIC, budget(name, number)
        yield BUDGET_TOPIC, budget(name, number, watts=-1)
        yield BUDGET_TOPIC, budget(name, number, rack=name)
        yield BUDGET_TOPIC, f"{name}: no JSON".encode()
        yield f"{EVENTS}/{name}", budget(name, number)
        yield f"{SIGNALS}/{name}", budget(name, number)


def _counted(template: bytes, begin: int) -> Iterator[bytes]:
    before, after = template.split(b"123456789")
    return (b"%s%d%s" % (before, number, after) for number in itertools.count(begin))


KINDS: dict[str, Callable[[int], Iterator[Message]]] = {
    "garbage": _garbage,
    "stranger": _stranger,
    "strangers": _strangers,
    "repeats": _repeats,
    "looping": _looping,
    "large": _large,
    "topics": _topics,
    "forged": _forged,
    "storm": _storm,
}


def packet(topic: str, payload: bytes, qos: int = 0, number: int = 0, *, retain: bool = False) -> bytes:
    """Return a PUBLISH (MQTT 3.1.1, section 3.3)."""
    name = topic.encode()
    body = struct.pack("!H", len(name)) + name + (struct.pack("!H", number) if qos else b"") + payload
    return bytes([0x30 | qos << 1 | retain]) + _length(len(body)) + body


def connected(port: int, client_id: str) -> socket.socket:
    """Return a connection that the broker has taken.

    Raises:
        ConnectionError: it did not.
    """
    name = client_id.encode()
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack("!H", len(name)) + name
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(b"\x10" + _length(len(body)) + body)
    if connection.recv(4)[3:] != b"\x00":
        raise ConnectionError("the broker refuses the flood")
    return connection


def flood(port: int, kind: str, rate_per_s: float, seconds: float, qos: int, *, retain: bool) -> float:
    """Send for some time, or until SIGTERM, at a rate or near to it; return how many a second that were."""
    connection = connected(port, f"flood-{kind}")
    threading.Thread(target=_drain, args=(connection,), daemon=True).start()
    messages = KINDS[kind](int(time.time()))
    over: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: over.append(number))
    begin_s, sent = time.monotonic(), 0
    while (elapsed_s := time.monotonic() - begin_s) < seconds and not over:
        due = int(elapsed_s * rate_per_s) - sent
        # After a pause of this process there is no burst: it would be another flood.
        burst = min(due, int(3 * _TICK_S * rate_per_s) + 1)
        numbers = (number % 65535 + 1 for number in range(sent, sent + burst))
        some = itertools.islice(messages, burst)
        connection.sendall(
            b"".join(
                packet(*each, qos, number, retain=retain) for each, number in zip(some, numbers, strict=False)
            )
        )
        sent += burst
        time.sleep(_TICK_S)
    connection.close()
    return sent / elapsed_s


def _length(length: int) -> bytes:
    """Return a remaining length (section 2.2.3)."""
    digits = bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(digits)


def _drain(connection: socket.socket) -> None:
    """Read acknowledgements, and forget them."""
    try:
        while connection.recv(65536):
            pass
    except OSError:
        pass


def main() -> None:
    """Send, and say how many a second were sent."""
    port, kind, rate_per_s, seconds, *more = sys.argv[1:]
    qos = int("qos1" in more)
    sent = flood(int(port), kind, float(rate_per_s), float(seconds), qos, retain="retain" in more)
    sys.stdout.write(f"{sent}\n")


if __name__ == "__main__":
    main()
