"""What daemon and guard say to each other: one JSON object per line over a Unix stream socket.

Request  {"id": 7, "op": "read" | "plan" | "release", ...}      answered in any order, by `id`
Reply    {"id": 7, "ok": true, ...}  or  {"id": 7, "ok": false, "error": "one line"}

On connection the guard speaks first: {"id": 0, "ok": true, "token": ..., "protocol": 1, ...}. The token names
the connection: a plan is executed only if its token is the newest connection's, its number is larger than any
before on that connection, and its end has not passed (leases.md rule 16).

Both sides are of one version and one host, so records travel as the JSON form of their dataclass.
"""

import json
from typing import Any, Final, TypeAlias

PROTOCOL_VERSION: Final = 1
MAX_LINE_BYTES: Final = 256 * 1024

Message: TypeAlias = dict[str, Any]


def encode(message: Message) -> bytes:
    """Return one message as a line."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Return the message of one line.

    Raises:
        ValueError: not UTF-8, not JSON, or not an object.
    """
    try:
        message = json.loads(line.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(message, dict):
        raise ValueError("a message is a JSON object")
    return message
