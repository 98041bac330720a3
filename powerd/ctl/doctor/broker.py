"""What `powerctl doctor` finds on the way to the broker, by going it: with the daemon's own credentials.

A second client, named after the daemon's with `-doctor` behind, subscribes to what the daemon listens to and
sends itself one message on the host's own topic `.../host/{host}/doctor`, not retained. Nobody else listens
there. Nothing is ever published where a budget, an event or a state belongs.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from powerd.certificates import Certificates
from powerd.ctl.doctor.check import Check, failed, not_checked, ok, warning
from powerd.ctl.doctor.trust import trust
from powerd.errors import BusError, ConfigError, PublishRefusedError
from powerd.settings.bus import bus_options
from powerd.settings.model import Settings
from powerd.signals.endpoint import BusOptions
from powerd.signals.mqtt import Session, connect
from powerd.signals.outbox import Outgoing
from powerd.signals.topics import Topics

_WITHIN_S = 10.0
_BACK_WITHIN_S = 2.0
# Renewals are due by then: the time of a holiday.
_SOON_DAYS = 14.0
_DAY_S = 86400.0


class _Found(NamedTuple):
    """What the way to the broker showed.

    Attributes:
        refused: filters that the broker did not grant.
        publish_error: why the message could not be published; empty if it was.
        back_s: after how long the message came back; None if it did not.
        kept: what was delivered, the newest by topic.
        server_end_wall_s: until when the broker's certificate is good; None without TLS.
    """

    protocol: str
    connect_s: float
    refused: list[str]
    publish_error: str
    back_s: float | None
    kept: dict[str, bytes]
    server_end_wall_s: float | None


def broker(settings: Settings) -> Iterator[Check]:
    """Yield how the broker is reached, by whom it is proved, and what its access list lets pass."""
    if not settings.mqtt.url:
        yield not_checked("broker.reach", "mqtt.url is not set")
        return
    try:
        options = bus_options(settings.mqtt, f"{settings.client_id}-doctor")
        yield from _certificates(options)
        topics = Topics(settings.mqtt.prefix, settings.host.site, settings.host.rack, settings.host.name)
        found = asyncio.run(_go(options, topics))
    except ConfigError as error:
        yield failed(
            "broker.reach", str(error), "mend the [mqtt] table; run doctor as root, or as powerd's user"
        )
    except (BusError, TimeoutError) as error:
        fix = "is the broker up, is the way open (nc -vz HOST PORT), are user and password right?"
        yield failed("broker.reach", str(error) or f"{options.url}: no answer within {_WITHIN_S:g} s", fix)
    else:
        yield from _told(found, options, topics)
        yield from trust(settings, topics, found.kept)


def days_left(name: str, whose: str, end_wall_s: float, now_wall_s: float) -> Check:
    """Return how long a certificate is still good."""
    text = f"{whose} ends on {time.strftime('%Y-%m-%d', time.gmtime(end_wall_s))}"
    days = (end_wall_s - now_wall_s) / _DAY_S
    if days < 0:
        return failed(name, f"{text}: it is over", "renew it; powerd reads it again by itself")
    if days < _SOON_DAYS:
        return warning(name, f"{text}, in {days:.0f} days", "renew it; powerd reads it again by itself")
    return ok(name, f"{text}, in {days:.0f} days")


def _certificates(options: BusOptions) -> Iterator[Check]:
    ends = Certificates({"ca": options.ca_file, "client": options.cert_file}).ends()
    for purpose, end_wall_s in sorted(ends.items()):
        whose = {"ca": options.ca_file, "client": options.cert_file}[purpose]
        yield days_left(f"broker.certificate.{purpose}", whose, end_wall_s, time.time())


async def _go(options: BusOptions, topics: Topics) -> _Found:
    """Connect, listen, and send oneself a message.

    Raises:
        BusError: the broker was not reached, or hung up.
        ConfigError: the options cannot be used.
        TimeoutError: it took too long.
    """
    came: dict[str, bytes] = {}
    back_s: list[float] = []
    is_back = asyncio.Event()
    payload = f"doctor {os.getpid()} {time.time_ns()}".encode()

    def hear(topic: str, body: bytes, _retained: bool) -> None:
        came[topic] = body
        if topic == topics.doctor and body == payload:
            back_s.append(time.monotonic())
            is_back.set()

    begun_s = time.monotonic()
    async with asyncio.timeout(_WITHIN_S), connect(options, on_message=hear) as session:
        connect_s = time.monotonic() - begun_s
        filters = (topics.budget, topics.grid_events, topics.states, topics.doctor)
        refused = await session.subscribe(dict.fromkeys(filters, 1))
        sent_s = time.monotonic()
        error = await _published(session, Outgoing(topics.doctor, payload, qos=1, retain=False))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(is_back.wait(), 0.1 if error else _BACK_WITHIN_S)
    return _Found(
        session.protocol,
        connect_s,
        refused,
        error,
        back_s[0] - sent_s if back_s else None,
        came,
        session.certificate_end_wall_s,
    )


async def _published(session: Session, message: Outgoing) -> str:
    try:
        await session.publish(message)
    except PublishRefusedError as error:
        return str(error)
    return ""


def _told(found: _Found, options: BusOptions, topics: Topics) -> Iterator[Check]:
    text = f"{options.url} answers in {found.connect_s * 1000:.0f} ms, MQTT {found.protocol}"
    yield ok("broker.reach", text)
    if found.server_end_wall_s is not None:
        whose = "the broker's certificate"
        yield days_left("broker.certificate.broker", whose, found.server_end_wall_s, time.time())
    elif not Path(options.ca_file).is_file():
        yield not_checked("broker.certificate.broker", "the way to the broker is not encrypted")
    needed = [each for each in found.refused if each != topics.doctor]
    if needed:
        yield failed(
            "broker.read", f"may not read {', '.join(needed)}", "grant it in the broker's access list"
        )
    elif topics.state in found.kept:
        yield ok("broker.read", "the state that the daemon has the broker keep is delivered")
    else:
        text = "subscriptions are granted, but no state of this host came"
        fix = f"is the daemon connected, and may this user read {topics.state}? some brokers say yes to all"
        yield warning("broker.read", text, fix)
    yield _round_trip(found, topics)


def _round_trip(found: _Found, topics: Topics) -> Check:
    """Return whether what the host says gets through; to read its own words back is a right it may lack."""
    name, own = "broker.round_trip", topics.doctor.rpartition("/")[0]
    fix = f"let this host write on {own}/#, and read {topics.doctor} so that this can be tried in full"
    if found.publish_error:
        return failed(name, found.publish_error, fix)
    if found.back_s is not None:
        return ok(name, f"a message on {topics.doctor} came back in {found.back_s * 1000:.0f} ms")
    if found.protocol == "5" or topics.state in found.kept:
        return ok(
            name, f"the broker takes what this host writes; it may not read {topics.doctor}, which is no harm"
        )
    return warning(name, f"a message on {topics.doctor} did not come back, and nobody says why", fix)
