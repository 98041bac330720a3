"""How payloads are written: compact JSON, and watts from which the same milliwatts are read."""

import json
from collections.abc import Iterable

from powerd.core.units import MW_PER_W, MilliWatts
from powerd.signals.strict_json import JsonObject

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))


def encode(fields: JsonObject) -> bytes:
    """Return compact JSON in UTF-8.

    Raises:
        ValueError: a number is not finite.
    """
    return _ENCODER.encode(fields).encode()


def watts_or_null(mw: MilliWatts | None) -> float | None:
    """Return watts in the fewest digits that give the same milliwatts back; None is not known."""
    if mw is None:
        return None
    return mw / MW_PER_W if mw % MW_PER_W else mw // MW_PER_W


def total_mw(parts_mw: Iterable[MilliWatts | None], base_mw: MilliWatts = 0) -> MilliWatts | None:
    """Return a sum; not known if one of its parts is not."""
    for part_mw in parts_mw:
        if part_mw is None:
            return None
        base_mw += part_mw
    return base_mw
