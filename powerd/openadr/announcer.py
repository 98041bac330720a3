"""Says on the site's bus what the VTN's events come to: numbers them, repeats them, cancels what is gone.

Pure but for what it keeps in the memory. Invariant: a cancellation is only ever said of an event that the
VTN's word no longer supports, and never before the VTN was heard.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple, cast

from powerd.core.events.grid_event import GridEvent
from powerd.openadr.memory import Memory, Said
from powerd.signals import rfc3339
from powerd.signals.grid_event import event_fields
from powerd.signals.strict_json import JsonObject
from powerd.signals.wire import encode

REPEAT_S = 60.0
# A host that was away for longer than this learns of a cancelled open event from nobody.
CLEAR_AFTER_S = 30 * 86400.0
# Stamps are written in milliseconds, and the order of two events may rest on them.
_LEAST_STEP_S = 0.001
# In milliseconds, far beyond any clock that is right.
_MAX_EPOCH = 2**53
_STAMPS = ("epoch", "seq", "issued_at")


class Wanted(NamedTuple):
    """A native event that should stand on the bus, and the VTN's event that it comes from."""

    origin: str
    event: GridEvent


class Announcer:
    """Decides what to publish.

    Args:
        memory: its `epoch` and `said` are kept up to date.
        wall_s: the start of this run, its epoch unless an older run had a later one.
    """

    def __init__(self, memory: Memory, source: str, wall_s: float) -> None:
        self._memory = memory
        self._source = source
        self._seq = 0
        self._issued_s = 0.0
        memory.epoch = max(memory.epoch + 1, int(wall_s * 1000))

    @property
    def epoch(self) -> int:
        """Return the epoch of this run."""
        return self._memory.epoch

    def next_stamp(self, wall_s: float) -> tuple[int, float]:
        """Return a number, and a time of issue, that are later than all before."""
        self._seq += 1
        self._issued_s = max(wall_s, self._issued_s + _LEAST_STEP_S)
        return self._seq, self._issued_s

    def overheard(self, name: str, fields: JsonObject) -> None:
        """Take note of an event of ours that the broker has kept, and that the memory may have lost."""
        if fields.get("source") != self._source or name in self._memory.said:
            return
        epoch = fields.get("epoch")
        if type(epoch) is int and self.epoch <= epoch < _MAX_EPOCH:
            self._memory.epoch = epoch + 1
        if fields.get("status") == "active":
            self._memory.said[name] = Said("", json.dumps(fields), 0.0, None)

    def due(
        self, wanted: Mapping[str, Wanted], refused: Collection[str], wall_s: float, *, may_cancel: bool
    ) -> dict[str, bytes]:
        """Return what to publish now: payloads by the name of the native event.

        Args:
            wanted: by name, in the order in which they are to be issued.
            refused: the VTN's events that cannot be read now: what was said of them stays.
            may_cancel: the VTN was heard.
        """
        said = self._memory.said
        payloads = {name: self._say(name, each, wall_s) for name, each in wanted.items()}
        for name, before in list(said.items()):
            is_gone = name not in wanted and before.origin not in refused
            if may_cancel and is_gone and not before.is_cancelled and not before.is_over(wall_s):
                payloads[name] = self._cancel(name, before, wall_s)
            elif before.over_s is not None and wall_s >= before.over_s + CLEAR_AFTER_S:
                del said[name]
                payloads[name] = b""
        return {name: payload for name, payload in payloads.items() if payload is not None}

    def again(self, wall_s: float) -> dict[str, bytes]:
        """Return the cancellations that still matter once more, for a broker that may have lost them."""
        return {
            name: self._cancel(name, before, wall_s)
            for name, before in list(self._memory.said.items())
            if before.is_cancelled and not _has_ended(before, wall_s)
        }

    def _say(self, name: str, wanted: Wanted, wall_s: float) -> bytes | None:
        before = self._memory.said.get(name)
        end_s = wanted.event.end_s
        is_over = end_s is not None and end_s <= wall_s
        is_new = before is None or _content(before) != _unstamped(event_fields(wanted.event))
        if (before is None and is_over) or (not is_new and is_over):
            return None
        if (
            before is not None
            and not is_new
            and wall_s < before.said_s + REPEAT_S
            and before.said_s <= wall_s
        ):
            return None
        seq, issued_s = self.next_stamp(wall_s)
        event = replace(wanted.event, epoch=self.epoch, seq=seq, issued_at_s=issued_s)
        return self._put(name, Said(wanted.origin, encode(event_fields(event)).decode(), wall_s, end_s))

    def _cancel(self, name: str, before: Said, wall_s: float) -> bytes:
        seq, issued_s = self.next_stamp(wall_s)
        stamps = {"epoch": self.epoch, "seq": seq, "issued_at": rfc3339.utc(issued_s)}
        payload = encode(_content(before) | stamps | {"status": "cancelled"}).decode()
        over_s = before.over_s if before.is_cancelled else wall_s
        return self._put(name, Said(before.origin, payload, wall_s, over_s, is_cancelled=True))

    def _put(self, name: str, said: Said) -> bytes:
        self._memory.said[name] = said
        return said.payload.encode()


def _has_ended(said: Said, wall_s: float) -> bool:
    """Say whether an event would be over even without its cancellation."""
    try:
        return rfc3339.parse(_content(said)["intervals"][-1]["end"]) <= wall_s  # type: ignore[index]
    except (KeyError, IndexError, TypeError, ValueError):
        return False


def _content(said: Said) -> JsonObject:
    return _unstamped(cast("JsonObject", json.loads(said.payload)))


def _unstamped(fields: JsonObject) -> JsonObject:
    return {name: value for name, value in fields.items() if name not in _STAMPS}
