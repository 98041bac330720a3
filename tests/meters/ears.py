"""Everything that a meter listener hands on, on a clock that stands where the test puts it."""

import json
from dataclasses import replace
from typing import Final

from powerd.core.metering.meter import Meter, MeterAlive, MeterReading, MeterRules, hear, stale, total_mw
from powerd.core.model import Notice, Now
from powerd.meters.listener import MeterListener
from powerd.meters.options import DsxOptions, MeterOptions, Part
from powerd.meters.values import Sample
from powerd.signals.listener import Hooks
from powerd.signals.topics import DEFAULT_PREFIX, RackTopics

TOPICS: Final = RackTopics(DEFAULT_PREFIX, "hel1", "r12")
HARD_LIMIT_MW: Final = 60_000_000
START: Final = Now(boot_s=1000.0, wall_s=1795280400.0)

BMS: Final = "BMS/v1/PUB"
HEARTBEAT: Final = f"{BMS}/Value/System/HeartbeatTimestampBms/nvidia/titan/bms"
TAPS: Final = ("tap-e1", "tap-e2")


class Ears:
    """A listener, and all it said.

    Attributes:
        meter: what the core makes of it.
    """

    def __init__(
        self,
        *parts: Part,
        dsx: DsxOptions | None = None,
        least_mw: int | None = None,
        hard_limit_mw: int = HARD_LIMIT_MW,
    ) -> None:
        self.samples: list[Sample] = []
        self.notices: list[Notice] = []
        self.refusals: list[tuple[str, str]] = []
        self._now = START
        options = MeterOptions(parts, dsx or DsxOptions(), least_mw)
        self.rules = MeterRules(parts=options.names)
        self.meter = Meter()
        self.listener = MeterListener(
            options,
            topics=TOPICS,
            hard_limit_mw=hard_limit_mw,
            clock=self,
            hooks=Hooks(self._submit, self.notices.append, self._rejected),
        )

    def now(self) -> Now:
        return self._now

    def at(self, after_s: float, *, synced: bool = True) -> None:
        """Set the clock to so many seconds after the start."""
        self._now = replace(
            START, boot_s=START.boot_s + after_s, wall_s=START.wall_s + after_s, wall_synced=synced
        )

    def hear(self, topic: str, payload: object, *, retained: bool = False) -> None:
        """Take one message; what is not bytes is sent as JSON."""
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.listener.on_message(topic, raw, retained)

    @property
    def readings(self) -> list[MeterReading]:
        return [sample for sample in self.samples if isinstance(sample, MeterReading)]

    @property
    def signs_of_life(self) -> list[float]:
        """Return when they were, in seconds after the start."""
        return [s.boot_s - START.boot_s for s in self.samples if isinstance(s, MeterAlive)]

    def watts(self) -> float | None:
        """Return the rack's power now."""
        mw = total_mw(self.meter, self.rules, self._now.boot_s)
        return None if mw is None else mw / 1000

    @property
    def missing(self) -> tuple[str, ...]:
        return stale(self.meter, self.rules, self._now.boot_s)

    def events(self) -> list[tuple[str, str]]:
        return [(notice.event, notice.subject) for notice in self.notices]

    def _submit(self, sample: Sample) -> None:
        self.samples.append(sample)
        self.meter = hear(self.meter, (sample,), self.rules)

    def _rejected(self, source: str, reason: str) -> None:
        self.refusals.append((source, reason))


def point(tap: str) -> str:
    """Return what follows `Value/` in the topic of a tap's power."""
    return f"PowerMeter/ActivePower/nvidia/titan/pod1C/rowE/rack05/C-E05-{tap}/power/activePower/value"


def metadata(object_id: str, unit: str = "kW") -> dict[str, object]:
    return {
        "objectType": "PowerMeter",
        "pointType": "ActivePower",
        "engUnit": unit,
        "objectName": object_id,
        "objectId": object_id,
        "servesId": ["Pod1C-E05"],
    }


def value(kilowatts: float | None, after_s: float = 0.0, quality: int = 1) -> dict[str, object]:
    """Return a value of the BMS that was taken so many seconds after the start."""
    return {"value": kilowatts, "timestamp": round((START.wall_s + after_s) * 1000), "quality": quality}
