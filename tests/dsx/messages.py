"""Messages of DSX Flex for tests: good ones, and what to change in them."""

from typing import Any, Final

from powerd.core.model import Now
from powerd.dsx.load_target import Feeds
from tests.dsx.keys import INFRA_SOURCE, ISV, ISV_SOURCE
from tests.signals.payloads import changed

NOW: Final = Now(boot_s=1000.0, wall_s=1795280400.5)  # 2026-11-21T17:00:00.5Z

TOPIC: Final = f"grid/v1/isv/{ISV}/loadtarget/set"
ENFORCEMENT_TOPIC: Final = "grid/v1/infra/ima-prod/powerbreach/enforcement"

MESSAGE_ID: Final = "3f0c8a52-6c1e-4b0e-9d55-0f3e7a6f2b11"
CORRELATION_ID: Final = "9a1e4c1b-2f0d-4c58-8f6a-5a2b7d9c0e31"
TRACE_PARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

FEED: Final = "main-a"
# A rack of 40 kW at most, which is a hundredth of what feed main-a carries.
FEEDS: Final = Feeds.of(40_000_000, {FEED: 0.01, "main-b": 0.02}, others=["main-c"])

TARGET: Final[dict[str, Any]] = {
    "interval": {"start_time": "2026-11-21T17:00:00Z", "end_time": "2026-11-21T18:00:00Z"},
    "feed_tags": [FEED],
    "load_constraint": {"value": 3, "unit": "megawatt"},
    "strategy": {"best_effort": True},
}
ENFORCEMENT: Final[dict[str, Any]] = {
    "breach_id": "0b9d7f3e-59f4-4bb1-8d2c-6f1b1f9a6c55",
    "feed_tag": FEED,
    "action": "applied",
    "code": "partial",
    "results": [
        {"resource_id": "n1", "resource_type": "node", "requested_action": "power_cap", "code": "applied"},
        {"resource_id": "n2", "resource_type": "node", "requested_action": "power_cap", "code": "failed"},
    ],
    "timestamp": "2026-11-21T17:00:00Z",
}


def targets(*each: dict[str, Any]) -> dict[str, Any]:
    """Return the data of a message with these targets, or with the good one."""
    return {"targets": list(each or (TARGET,))}


def envelope(data: object, /, **changes: object) -> dict[str, Any]:
    """Return a message that sets load targets."""
    good = {
        "specversion": "1.0.2",
        "id": MESSAGE_ID,
        "source": ISV_SOURCE,
        "type": "grid.loadtarget.set.v1",
        "time": "2026-11-21T17:00:00Z",
        "datacontenttype": "application/json",
        "subject": "loadtarget",
        "correlationid": CORRELATION_ID,
        "traceparent": TRACE_PARENT,
        "data": data,
    }
    return changed(good, **changes)


def enforcement(data: object, /, **changes: object) -> dict[str, Any]:
    """Return a message that says what was done about a breach."""
    kind = {"type": "grid.powerbreach.enforcement.v1", "source": INFRA_SOURCE, "subject": "powerbreach"}
    return envelope(data, **{**kind, **changes})
