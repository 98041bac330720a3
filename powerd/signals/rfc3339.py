"""Time stamps of the wire: RFC 3339 with an offset in, UTC with milliseconds out (docs/signals.md, Clocks).

A time without an offset means a different moment on every host, so it is refused, never guessed.
"""

import re
from datetime import UTC, datetime

# The same expression stands in schemas/*.json. `datetime` then refuses the days that no month has.
PATTERN = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?"
    r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)
_STAMP = re.compile(PATTERN)
# The first and the last moment that a stamp in UTC can name; an offset from it reaches a day further.
_FIRST_S, _LAST_S = -62135596800.0, 253402300799.999


def parse(text: str) -> float:
    """Return Unix seconds.

    Raises:
        ValueError: not a date and time of RFC 3339, or without an offset from UTC.
    """
    if not _STAMP.fullmatch(text):
        raise ValueError("not RFC 3339 with an offset, like 2026-11-21T17:00:00Z")
    return datetime.fromisoformat(text).timestamp()


def utc(wall_s: float) -> str:
    """Format Unix seconds the way powerd publishes them: `2026-11-21T17:00:00.000Z`.

    What is before the year 1 or after 9999 in UTC becomes the nearest moment that is not.
    """
    wall_s = min(max(wall_s, _FIRST_S), _LAST_S)
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
