"""A grid made by hand: an energy service, a bridge, meters, prices; and an ear for what the rack says."""

import base64
import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from joserfc import jws
from joserfc.jwk import ECKey

from tests.brokers.client import Client
from tests.daemon.facility import BASE, Facility, rfc3339
from tests.daemon.host import RACK, SITE
from tests.dsx.keys import INFRA_SOURCE, ISV, made, private_file, trusted
from tests.dsx.messages import envelope
from tests.dsx.schema import checked

AGENT: Final = f"{SITE}-{RACK}"
STATUS_TOPIC: Final = f"grid/v1/dsx-flex-agent/{AGENT}/powerstate/status"
BREACH_TOPIC: Final = f"grid/v1/dsx-flex-agent/{AGENT}/powerbreach"
NOTICE_TOPIC: Final = f"{BASE}/host/+/notice"
EVENT_TOPIC: Final = f"powerd/v1/{SITE}/grid/event"
# The rack is a hundredth of the feed: kilowatts of the feed are tens of watts of the rack.
FEED, FRACTION = "main-a", 0.01

# Of events that were asked for at any time of a run of the tests.
_EPOCH = int(time.time() * 1000)

Message = dict[str, Any]


class Interval(NamedTuple):
    """A part of an event.

    Attributes:
        begin_s, end_s: from now; None = until cancelled.
        action: as in messages.
    """

    begin_s: float
    end_s: float | None
    action: Mapping[str, Any]

    def message(self, now_s: float) -> Message:
        """Return it as events have it."""
        end = None if self.end_s is None else rfc3339(now_s + self.end_s)
        return {"start": rfc3339(now_s + self.begin_s), "end": end, "action": dict(self.action)}


def dsx_table(directory: Path, **more: Any) -> dict[str, Any]:
    """Return `[signals.dsx]` for a host that knows two participants, and signs."""
    keys = {"acme-1": trusted(directory), "ima-1": trusted(directory, "infra", INFRA_SOURCE)}
    return {
        "enabled": True,
        "signing_kid": "agent-1",
        "signing_key_file": private_file(directory, "agent"),
        "keys": {kid: {"file": key.file, "source": key.source} for kid, key in keys.items()},
        **more,
    }


class EnergyService:
    """Sets load targets for the feed, over the facility's connection.

    Attributes:
        sent: the last message.
    """

    def __init__(self, facility: Facility, isv: str = ISV) -> None:
        self._facility = facility
        self._isv = isv
        self.sent: Message = {}

    def ask(self, watts: float | None, *, begin_s: float = 0.0, end_s: float | None = None) -> Message:
        """Publish a target that gives the rack so many watts; None takes it back.

        Args:
            begin_s, end_s: seconds from now; no end = until replaced.
        """
        message = self.message(signed(target(watts, begin_s=begin_s, end_s=end_s)))
        self.send(checked("LoadTargetSetEvent", message))
        return message

    def message(self, data: object, **changes: object) -> Message:
        """Return data in a new envelope of this moment."""
        fresh = {
            "id": str(uuid.uuid4()),
            "correlationid": str(uuid.uuid4()),
            "time": rfc3339(time.time()),
            "source": f"//grid/v1/isv/{self._isv}",
        }
        return envelope(data, **{**fresh, **changes})

    def send(self, message: Message) -> None:
        """Publish a message, right or wrong; nothing keeps it."""
        self.sent = message
        self._facility.publish(message, topic=f"grid/v1/isv/{self._isv}/loadtarget/set", retain=False)


def target(
    watts: float | None, *, begin_s: float = 0.0, end_s: float | None = None, feed: str = FEED
) -> dict[str, Any]:
    """Return the data of a load target; see `EnergyService.ask`."""
    now_s = time.time()
    interval = {"start_time": rfc3339(now_s + begin_s)}
    if end_s is not None:
        interval["end_time"] = rfc3339(now_s + end_s)
    kilowatts = None if watts is None else {"value": watts / FRACTION / 1000, "unit": "kilowatt"}
    return {"targets": [{"interval": interval, "feed_tags": [feed], "load_constraint": kilowatts}]}


def signed(data: object, *, key: str = "ec", kid: str = "acme-1") -> str:
    """Return a JWS over data, by any of the tests' keys under any name."""
    imported = ECKey.import_key(made(key))  # type: ignore[arg-type]
    return jws.serialize_compact({"alg": "ES256", "kid": kid}, json.dumps(data).encode(), imported)


def without_signature(data: object) -> str:
    """Return a JWS that says that it needs no signature."""
    parts = ({"alg": "none", "kid": "acme-1"}, data)
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    return ".".join((*encoded, ""))


class Ear(Client):
    """Hears what the rack publishes, from another thread. A context manager.

    Args:
        port: of the broker on the loopback interface.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port, None, STATUS_TOPIC, BREACH_TOPIC, NOTICE_TOPIC)

    def forget(self) -> None:
        """Forget what was heard."""
        self.heard.clear()

    def statuses(self) -> list[Message]:
        """Return what was said of the feed, oldest first: each as the schema wants it, and signed."""
        said = (_opened("PowerState", "Status", raw) for raw in self.payloads(STATUS_TOPIC))
        return [data["feeds"][FEED] for data in said]

    def steps(self) -> list[str]:
        """Return why each status was published, but for those that are only due."""
        return [said["event"] for said in self.statuses() if said["event"] != "periodic"]

    def breaches(self) -> list[Message]:
        """Return the alerts, oldest first: each as the schema wants it, and signed."""
        return [_opened("PowerBreach", "Alert", raw) for raw in self.payloads(BREACH_TOPIC)]

    def subjects(self, event: str) -> list[str]:
        """Return what the notices of one kind are about."""
        notices = [json.loads(m.payload) for m in [*self.heard] if m.topic.endswith("/notice")]
        return [notice["subject"] for notice in notices if notice["event"] == event]


def _opened(subject: str, kind: str, raw: bytes) -> Message:
    """Return what was signed in a message of the agent."""
    message = checked(f"{subject}{kind}Event", raw)
    assert message["source"] == f"//grid/v1/dsx-flex-agent/{AGENT}"
    imported = ECKey.import_key(made("agent"))  # type: ignore[arg-type]
    token = jws.deserialize_compact(message["data"], imported, algorithms=["ES256"])
    assert token.headers()["kid"] == "agent-1"
    return checked(f"{subject}{kind}Data", token.payload)


class Bridge:
    """Publishes grid events about the rack, retained, over the facility's connection."""

    def __init__(self, facility: Facility) -> None:
        self._facility = facility
        self._said: dict[str, Message] = {}
        self._seq = 0

    def ask(self, event_id: str, *intervals: Interval, **fields: Any) -> Message:
        """Publish the next version of an event.

        Args:
            fields: to replace or add; `issued_s` in Unix seconds.
        """
        self._seq += 1
        now_s = time.time()
        message = {
            "v": 1,
            "source": "vtn1",
            "epoch": _EPOCH,
            "seq": self._seq,
            "issued_at": rfc3339(fields.pop("issued_s", now_s)),
            "event_id": event_id,
            "class": "mandatory",
            "status": "active",
            "scope": {"level": "rack", "targets": [RACK]},
            "program": event_id,
            "intervals": [each.message(now_s) for each in intervals],
        }
        self._said[event_id] = {**message, **fields}
        self._facility.publish(self._said[event_id], topic=f"{EVENT_TOPIC}/{event_id}")
        return self._said[event_id]

    def cancel(self, event_id: str, **fields: Any) -> None:
        """Publish that an event is over."""
        self._seq += 1
        now = {"seq": self._seq, "issued_at": rfc3339(time.time()), "status": "cancelled"}
        message = {**self._said[event_id], **now, **fields}
        self._facility.publish(message, topic=f"{EVENT_TOPIC}/{event_id}")

    def clear(self, event_id: str) -> None:
        """Have the broker keep nothing of an event any more."""
        self._facility.publish(b"", topic=f"{EVENT_TOPIC}/{event_id}")

    def cancel_all(self) -> None:
        """Cancel every event, and clear the broker of them."""
        for event_id in self._said:
            self.cancel(event_id)
            self.clear(event_id)
        self._said.clear()


def reading(feed: str, watts: float | None, **fields: Any) -> Message:
    """Return a native meter reading of this moment."""
    return {
        "v": 1,
        "rack": RACK,
        "feed": feed,
        "watts": watts,
        "ts": rfc3339(time.time()),
        "quality": "good",
        "source": f"pdu-{feed}",
        **fields,
    }


def price(facility: Facility, per_kwh: float, currency: str) -> None:
    """Publish a spot price that holds for an hour from now."""
    now_s = time.time()
    facility.seq += 1
    message = {
        "v": 1,
        "source": "market",
        "epoch": _EPOCH,
        "seq": facility.seq,
        "issued_at": rfc3339(now_s),
        "zone": "de-lu",
        "kind": "spot",
        "value": per_kwh,
        "unit": "per_kwh",
        "currency": currency,
        "valid_from": rfc3339(now_s - 1),
        "valid_until": rfc3339(now_s + 3600),
    }
    facility.publish(message, topic=f"powerd/v1/{SITE}/signal/price/de-lu")
