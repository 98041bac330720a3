"""What the VTN has said: its programs and events, in the versions that count, and what they come to.

An event is forgotten when the VTN says that it is gone, and for no other reason: neither an error nor an
incomplete list ends what was asked for.
"""

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from powerd.core.model import Notice, Now, Severity
from powerd.errors import SignalRejectedError
from powerd.openadr.event import Descriptor, modified_s, object_id, read_descriptors, read_event
from powerd.openadr.mapping import Context, Mapped, map_event
from powerd.openadr.memory import Known, Memory
from powerd.openadr.options import BridgeOptions, Program
from powerd.signals.strict_json import JsonObject

MAX_EVENTS = 512
DAY_S = 86400.0
# What repeats for ever, or has no room for all its intervals, moves on as time goes by.
_MAP_AGAIN_S = 60.0

OnNotice = Callable[[Notice], None]


class Held:
    """All that is held of the VTN's word.

    Args:
        memory: its `events` and `programs` are kept up to date.

    Attributes:
        refused: events that could not be read: what was made of them before stays.
    """

    def __init__(self, memory: Memory, options: BridgeOptions, on_notice: OnNotice) -> None:
        self._memory = memory
        self._options = options
        self._on_notice = on_notice
        self._mapped: dict[str, tuple[Known, float, Mapped]] = {}
        self.refused: set[str] = set()

    def take_programs(self, programs: Iterable[JsonObject], now: Now) -> None:
        """Take in the VTN's programs. One that is missing is kept: its events may outlive it."""
        for data in programs:
            self._take(self._memory.programs, data, now, "program")
        names = {str(known.data.get("programName")) for known in self._memory.programs.values()}
        for missing in sorted(self._options.programs.keys() - names - self._memory.programs.keys()):
            text = f'the VTN shows no program "{missing}": none of its events can come'
            self._notice("vtn_program_missing", missing, text)

    def take_events(self, events: Iterable[JsonObject], now: Now) -> None:
        """Take in events of the programs that are obeyed, each in the newest version that was seen."""
        for data in events:
            is_obeyed = self._program(str(data.get("programID"))) is not None
            if is_obeyed or data.get("id") in self._memory.events:
                self._take(self._memory.events, data, now, "event")

    def absent(self, listed: Collection[str]) -> list[str]:
        """Return the events that are held and are not in a list of the VTN's."""
        return [event_id for event_id in self._memory.events if event_id not in listed]

    def drop(self, event_id: str) -> None:
        """Forget an event: the VTN says that there is none."""
        del self._memory.events[event_id]
        self.refused.discard(event_id)

    def mapped(self, now: Now) -> dict[str, Mapped]:
        """Return what all events come to that are obeyed and not long over, the oldest version first."""
        found = {}
        for event_id, known in list(self._memory.events.items()):
            mapped = self._map(event_id, known, now)
            if mapped is None:
                continue
            found[event_id] = mapped
            is_over = mapped.end_s is not None and mapped.end_s < now.wall_s - DAY_S
            if mapped.has_intervals and is_over:
                self._memory.events[event_id] = replace(known, content="")
        self._mapped = {event_id: self._mapped[event_id] for event_id in found}
        return dict(sorted(found.items(), key=lambda item: item[1].modified_s))

    def _take(self, known: dict[str, Known], data: JsonObject, now: Now, what: str) -> None:
        try:
            identifier, version_s = object_id(data), modified_s(data)
        except SignalRejectedError as error:
            self._notice("vtn_object_refused", what, f"{what} of the VTN: {error}")
            return
        before = known.get(identifier)
        content = json.dumps(data, separators=(",", ":"))
        if before is not None and version_s <= before.modified_s:
            if version_s < before.modified_s or before.content in ("", content):
                return
            # Changed within one tick of the VTN's clock.
        elif before is None and sum(1 for each in known.values() if each.content) >= MAX_EVENTS:
            self._notice(
                "vtn_too_many", what, f"more than {MAX_EVENTS} {what}s of the VTN: new ones are ignored"
            )
            return
        known[identifier] = Known(content, version_s, now.wall_s)

    def _map(self, event_id: str, known: Known, now: Now) -> Mapped | None:
        if not known.content:
            return None
        cached, at_s, mapped = self._mapped.get(event_id, (None, 0.0, None))
        if mapped is not None and cached is known and at_s <= now.wall_s < at_s + _MAP_AGAIN_S:
            return mapped
        try:
            mapped = self._map_now(known, now)
        except SignalRejectedError as error:
            self.refused.add(event_id)
            text = f"event {event_id} of the VTN is refused: {error}; what was published of it stays"
            self._notice("vtn_event_refused", event_id, text, Severity.WARNING)
            return None
        self.refused.discard(event_id)
        if mapped is not None:
            self._mapped[event_id] = (known, now.wall_s, mapped)
        for kind in mapped.ignored if mapped else ():
            text = f"event {event_id} of the VTN: {kind} is not obeyed without a rule for it in its program"
            self._notice("vtn_payload_ignored", f"{event_id} {kind}", text)
        return mapped

    def _map_now(self, known: Known, now: Now) -> Mapped | None:
        event = read_event(known.data)
        rules = self._program(event.program_id)
        if rules is None:
            return None
        site, source = self._options.site, self._options.source
        descriptors = self._descriptors(event.program_id)
        return map_event(event, Context(site, source, rules, descriptors, known.first_seen_s, now))

    def _program(self, program_id: str) -> Program | None:
        """Return how a program is obeyed; None if it is not."""
        by_name, known = self._options.programs, self._memory.programs.get(program_id)
        name = str(known.data.get("programName")) if known else ""
        return by_name.get(program_id) or by_name.get(name) or self._options.others

    def _descriptors(self, program_id: str) -> dict[str, Descriptor]:
        known = self._memory.programs.get(program_id)
        return read_descriptors(known.data) if known else {}

    def _notice(self, event: str, subject: str, text: str, severity: Severity = Severity.INFO) -> None:
        self._on_notice(Notice(event, severity, text, subject))
