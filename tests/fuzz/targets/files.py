"""Files that a daemon or a bridge finds at its start: damaged ones are refused, and nothing else happens."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from powerd.core.decide import decide
from powerd.core.events.schedule import Schedule
from powerd.core.leases.memory import recall
from powerd.core.model import Now
from powerd.core.orders.override import in_force
from powerd.core.proof.ledger_entry import Entry
from powerd.core.proof.report import ReportRules
from powerd.core.proof.response import report
from powerd.core.proof.story import tell
from powerd.core.rack.admission import AdmissionRules
from powerd.core.rack.ramp import RampRules
from powerd.core.state import Config, Inputs, initial_state
from powerd.core.topology import Host, Rack
from powerd.desk import file as orders
from powerd.desk.file import Kept
from powerd.files import events_file, runtime_file
from powerd.files.runtime_file import Remembered
from powerd.ledger.entries import KINDS, decode, encode
from powerd.openadr import memory
from tests.fuzz.oracle import accepted, check_finite
from tests.fuzz.place import written

Content = TypeVar("Content")

BOOT = "this boot"
NOW = Now(boot_s=1000.0, wall_s=1795280400.5)
RACK = Rack("hel1", "r12", (Host("h1", 1.0, 1_400_000), Host("h2", 1.0, 1_400_000)), 40_000_000, 20_000_000)
CONFIG = Config(
    rack=RACK,
    host="h1",
    admission=AdmissionRules(RACK.hard_limit_mw),
    ramp=RampRules(mw_per_s=1_000_000, jitter_s=0.0),
    overhead_mw=1_000_000,
)


def runtime_file_content(data: bytes) -> None:
    """What is remembered can be decided by, raises no cap above the hard limit, and is kept as it was."""
    found = _loaded(runtime_file.FILE_NAME, data, lambda path: runtime_file.load(path, BOOT))
    if found is None:
        return
    check_finite(found)
    again = runtime_file.encode(found, BOOT)
    expected = _loaded(runtime_file.FILE_NAME, again.encode(), lambda path: runtime_file.load(path, BOOT))
    assert expected == replace(found, of_this_boot=True)
    check_start(found, Schedule())


def events_file_content(data: bytes) -> None:
    """The events that are held can be decided by, and are kept as they were."""
    found = _loaded(events_file.FILE_NAME, data, events_file.load)
    if found is None:
        return
    check_finite(found)
    check_start(runtime_file.NOTHING, found)


def check_start(remembered: Remembered, schedule: Schedule) -> None:
    """Prove that a daemon that remembers this decides, now and later, and never above the hard limit."""
    leases = recall(remembered.leases, CONFIG.rack, CONFIG.leases, NOW) if remembered.leases else None
    state = initial_state(NOW, remembered.timeline, remembered.cap_mw, leases, schedule, remembered.trim_mw)
    for later_s in (0.0, 1.0, 20.0, 400.0):
        now = Now(NOW.boot_s + later_s, NOW.wall_s + later_s)
        decision, state = decide(Inputs(readings=()), state, now, CONFIG)
        assert 0 <= decision.rack_cap_mw <= RACK.hard_limit_mw


def orders_file_content(data: bytes) -> None:
    """The orders that hold are as they were, and none is for ever."""
    found = _loaded(orders.FILE_NAME, data, lambda path: orders.load(path, BOOT))
    if found is None or found == Kept():
        return
    check_finite(found.overrides)
    for override in in_force(found.overrides, NOW.boot_s).values():
        assert override.mw >= 0
        assert NOW.boot_s < override.end_boot_s < math.inf


def bridge_file(data: bytes) -> None:
    """What the bridge has said and heard is as it was."""
    found = _loaded(memory.FILE_NAME, data, memory.load)
    if found is not None:
        check_finite(found)
        for known in found.events.values():
            assert isinstance(known.data, dict)
        again = memory.encode(found).encode()
        assert _loaded(memory.FILE_NAME, again, memory.load) == found


def ledger_entries(data: bytes) -> None:
    """Entries are read as they were written; of whatever was read a report can be made, or it is refused.

    Each line is an entry of the event "a/1": kind, space, body.
    """
    entries: list[Entry] = []
    for number, line in enumerate(data.decode(errors="replace").split("\n")[:32]):
        kind, _, text = line.partition(" ")
        entry = accepted(partial(_entry, number, kind, text), ValueError, 4096)
        if entry is None:
            continue
        assert kind in KINDS
        if kind != "samples":
            again = decode(number * 1000, entry.event, kind, encode(entry.body))
            assert repr(again) == repr(entry)
        entries.append(entry)
    accepted(lambda: tell(entries, "a/1"), ValueError, 4096)
    # Samples are taken as they were written, so damage to them shows late; whoever asks is told.
    damage = (ValueError, TypeError, LookupError, ArithmeticError)
    accepted(lambda: report(tuple(entries), "a/1", ReportRules()), damage, 4096)


def _entry(number: int, kind: str, text: str) -> Entry | None:
    event = "" if kind in ("began", "clock_stepped", "lost", "samples") else "a/1"
    return decode(number * 1000, event, kind, text)


def _loaded(name: str, data: bytes, load: Callable[[Path], Content]) -> Content | None:
    with written(name, data) as path:
        return accepted(lambda: load(path.parent), ValueError)
