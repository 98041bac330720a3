"""The VTN's own broker, a real Mosquitto: changes are known at once, and nothing rests on them."""

import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from powerd.signals.strict_json import JsonObject
from tests.broker import Mosquitto
from tests.openadr import contract
from tests.openadr.make import event, limits
from tests.openadr.rig import Rig, Start
from tests.signals.stubs import until

NAME = "vtn1-8842-limit"
TOPIC = "events/vens/vens-1"
ANONYMOUS = {"method": "ANONYMOUS"}
BEARER = {"method": "OAUTH2_BEARER_TOKEN", "username": "{clientID}"}


def offer(site: Rig, broker: Mosquitto, authentication: dict[str, str], *, has_all: bool = True) -> None:
    """Let the VTN say that it has a broker."""
    site.vtn.notifier = {"URIS": [broker.url], "serialization": "JSON", "authentication": authentication}
    single: JsonObject = {name: f"{TOPIC}/{name.lower()}" for name in ("CREATE", "UPDATE", "DELETE")}
    site.vtn.topics = single | ({"ALL": f"{TOPIC}/+"} if has_all else {})


def notify(broker: Mosquitto, operation: str, content: Any) -> None:
    """Publish what the VTN would, in the form of the document."""
    message = {"objectType": "EVENT", "operation": operation, "object": content}
    contract.check("notification", message)
    broker.publish(f"{TOPIC}/{operation.lower()}", json.dumps(message).encode())


def flood(broker: Mosquitto) -> None:
    """Publish a great many messages that nobody can read."""
    command = ["mosquitto_pub", "-p", str(broker.port), "-t", f"{TOPIC}/update", "-l"]
    subprocess.run(command, input=b"not even JSON\n" * 500, check=True, timeout=20)


def passwords(directory: Path) -> Path:
    """Return a password file of a broker that knows the VEN by its first token."""
    path = directory / "passwords"
    path.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(path), "ven-client", "token-1"], check=True, timeout=20)
    return path


@contextlib.asynccontextmanager
async def notified(
    start: Start, broker: Mosquitto, authentication: dict[str, str], **options: bool
) -> AsyncIterator[Rig]:
    """Give a rig whose bridge listens to the VTN's broker."""
    async with start(use_notifier=True) as site:
        offer(site, broker, authentication, **options)
        async with site.bridge():
            await until(lambda: "vtn_notifier_connected" in site.events())
            await site.rest()
            yield site


@pytest.fixture
def theirs(tmp_path: Path) -> Any:
    with Mosquitto(tmp_path / "theirs") as mosquitto:
        yield mosquitto


@pytest.mark.parametrize("has_all", [True, False])
async def test_a_notification_brings_a_new_event_at_once(
    start: Start, theirs: Mosquitto, has_all: bool
) -> None:
    async with notified(start, theirs, ANONYMOUS, has_all=has_all) as site:
        site.vtn.put(event())
        notify(theirs, "CREATE", event())
        await site.says(NAME)
        await site.rest()
        del site.vtn.events["8842"]
        notify(theirs, "DELETE", event())
        await site.says(NAME, "cancelled")


async def test_a_notification_that_the_vtn_does_not_confirm_changes_nothing(
    start: Start, theirs: Mosquitto
) -> None:
    """Whoever may publish on an anonymous broker could lift every limit otherwise."""
    async with notified(start, theirs, ANONYMOUS) as site:
        site.vtn.put(event())
        notify(theirs, "CREATE", event())
        await site.says(NAME)
        for operation, forged in (
            ("DELETE", event()),
            ("UPDATE", event(modified="16:59:00", intervals=limits(9e6))),
        ):
            await site.rest()
            asked = site.vtn.asked["/events"]
            notify(theirs, operation, forged)
            await until(lambda before=asked: site.vtn.asked["/events"] > before)  # type: ignore[misc]
        await site.pass_time(70)
        await site.says(NAME, "active", 800_000)


async def test_what_happened_while_the_connection_was_down_is_asked_for_when_it_is_back(
    start: Start, theirs: Mosquitto
) -> None:
    async with notified(start, theirs, ANONYMOUS) as site:
        site.vtn.put(event())
        notify(theirs, "CREATE", event())
        await site.says(NAME)
        await site.rest()
        theirs.kill()
        await until(lambda: "vtn_notifier_lost" in site.events())
        del site.vtn.events["8842"]
        theirs.start()
        await site.pass_time(2)
        await until(lambda: site.events().count("vtn_notifier_connected") == 2)
        await site.says(NAME, "cancelled")


async def test_a_flood_of_notifications_does_not_become_a_flood_of_requests(
    start: Start, theirs: Mosquitto
) -> None:
    async with notified(start, theirs, ANONYMOUS) as site:
        asked = site.vtn.asked["/programs"]
        flood(theirs)
        await until(lambda: site.vtn.asked["/programs"] > asked)
        await site.rest()
        polls = (site.vtn.asked["/programs"] - asked) / 2  # a page, and the empty one after it
        assert polls <= 4, "once a second at most, for three seconds"


async def test_the_token_is_the_password_where_the_broker_asks_for_it(start: Start, tmp_path: Path) -> None:
    settings = ["allow_anonymous false", f"password_file {passwords(tmp_path)}"]
    with Mosquitto(tmp_path / "theirs", settings=settings) as theirs:
        async with notified(start, theirs, BEARER):
            pass


async def test_a_broker_that_refuses_us_leaves_polling_as_it_was(start: Start, tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "theirs", settings=["allow_anonymous false"]) as theirs:
        async with start(use_notifier=True) as site:
            offer(site, theirs, ANONYMOUS)
            site.vtn.put(event())
            async with site.bridge():
                await site.says(NAME)
                await until(lambda: "vtn_notifier_lost" in site.events())
                assert "it is polled only" in site.texts("vtn_notifier_lost")[0]


async def test_a_vtn_without_a_broker_is_polled(start: Start) -> None:
    async with start(use_notifier=True) as site:
        site.vtn.put(event())
        async with site.bridge():
            await site.says(NAME)
            await until(lambda: "vtn_notifier_none" in site.events())


async def test_a_broker_elsewhere_without_encryption_is_not_used(start: Start) -> None:
    async with start(use_notifier=True) as site:
        site.vtn.notifier = {
            "URIS": ["mqtt://broker.example:1883"],
            "serialization": "JSON",
            "authentication": ANONYMOUS,
        }
        site.vtn.topics = {"UPDATE": "u", "DELETE": "d"}
        async with site.bridge():
            await until(lambda: "vtn_notifier_lost" in site.events())
            assert "not encrypted" in site.texts("vtn_notifier_lost")[0]
