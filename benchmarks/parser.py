"""What reading a budget or a state costs, and the worst payload that the size limit lets through."""

import contextlib
import json
import timeit
from dataclasses import replace

from benchmarks.table import Figure, Table
from powerd.core.leases.host_state import Key, Lend
from powerd.core.model import Now
from powerd.errors import SignalRejectedError
from powerd.signals.host_state import parse_host_state
from powerd.signals.native import parse_budget
from powerd.signals.strict_json import loads
from tests.signals.hostile import HOSTILE
from tests.signals.states import NAMES, SNAPSHOT, STATE, gpu, report, target

_BUDGET = {
    "v": 1,
    "source": "facility-a",
    "epoch": 1763690000000,
    "seq": 1842,
    "issued_at": "2026-11-21T17:00:00.000Z",
    "valid_until": "2026-11-21T17:01:00.000Z",
    "rack": "r17",
    "watts": 30000,
}


def measure_parser() -> Table:
    """Time a good budget, a good state, and every hostile payload."""
    payload = json.dumps(_BUDGET).encode()
    now = Now(1000.0, 1_763_690_000.0)

    def parse() -> None:
        parse_budget(payload, rack="r17", hard_limit_mw=40_000_000, retained=False, received=now)

    state = _state()

    def parse_state() -> None:
        parse_host_state(
            state, host="h3", rack="r12", hosts=NAMES, hard_limit_mw=40_000_000, received_boot_s=1000.0
        )

    good_us = min(timeit.repeat(parse, number=1000, repeat=5)) / 1000 * 1e6
    state_us = min(timeit.repeat(parse_state, number=1000, repeat=5)) / 1000 * 1e6
    plain_us = min(timeit.repeat(lambda: json.loads(payload), number=1000, repeat=5)) / 1000 * 1e6
    hostile_ms = {
        name: min(timeit.repeat(_Read(raw), number=1, repeat=5)) * 1e3 for name, raw in HOSTILE.items()
    }
    worst = max(hostile_ms, key=lambda name: hostile_ms[name])
    return Table(
        "Reading budgets and states",
        (
            Figure("a budget of 200 bytes, best of 5", good_us, "us"),
            Figure("the same / json.loads alone", good_us / plain_us, "x"),
            Figure(f"a state of {len(state)} bytes: 4 GPUs, 9 leases, best of 5", state_us, "us"),
            Figure(f"worst payload of up to 64 KiB ({worst})", hostile_ms[worst], "ms"),
        ),
    )


def _state() -> bytes:
    """Return what a host of four GPUs says that lends to nine others."""
    uuids = [f"GPU-00000000-0000-4000-8000-{number:012}" for number in range(4)]
    decision = SNAPSHOT.decision._replace(targets=tuple(target(uuid) for uuid in uuids))
    snapshot = replace(SNAPSHOT, readings=tuple(gpu(uuid) for uuid in uuids), decision=decision)
    lends = tuple(Lend(f"r17-n{number}", 66_000, Key(1763690001000, 5521)) for number in range(10, 19))
    return report().state(snapshot, replace(STATE, lends=lends, holds=()))


class _Read:
    """Reads one payload, whatever comes of it."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    def __call__(self) -> None:
        with contextlib.suppress(SignalRejectedError):
            loads(self._payload)
