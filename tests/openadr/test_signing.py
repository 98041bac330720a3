"""A bridge with a key: what hosts obey is signed, and what only informs is not."""

from pathlib import Path

import pytest

from powerd.errors import ConfigError
from powerd.openadr.settings import load
from powerd.signatures.envelope import Envelopes
from powerd.signatures.jws import Signer
from tests.dsx.keys import private_file, trusted
from tests.openadr.make import EURO, event, interval, payload
from tests.openadr.rig import TOPICS, Start
from tests.openadr.test_advice import RACKS, TOPIC, capacity
from tests.signals.stubs import until

NAME = "vtn1-8842-limit"


async def test_events_and_budgets_are_signed_and_their_own_bridge_knows_them_again(
    start: Start, tmp_path: Path
) -> None:
    envelopes = Envelopes({"vtn-1": trusted(tmp_path, source="vtn1")}, "keys")

    def signer(topic: str) -> str | None:
        return envelopes.open(site.broker.retained(topic) or b"", 0.0).signer

    async with start(budget=RACKS) as site:
        site.sign = Signer("vtn-1", private_file(tmp_path)).sign
        site.vtn.put(event(), capacity("sub", "IMPORT_CAPACITY_SUBSCRIPTION", 500))
        async with site.bridge():
            await site.says(NAME)
            await until(lambda: any(topic == TOPIC for topic, _ in site.messages))
            assert (signer(TOPICS.grid_event(NAME)), signer(TOPIC)) == ("vtn1", "vtn1")
        # The memory is lost, the VTN has withdrawn the event, and the broker has kept it.
        (tmp_path / "openadr.json").unlink()
        site.vtn.events.clear()
        async with site.bridge():
            await site.says(NAME, "cancelled")
            assert signer(TOPICS.grid_event(NAME)) == "vtn1"


async def test_prices_are_not_signed(start: Start, tmp_path: Path) -> None:
    now = {"start": "2026-11-21T16:00:00Z", "duration": "PT2H"}
    topic = TOPICS.signal("price", "hel1")
    async with start() as site:
        site.sign = Signer("vtn-1", private_file(tmp_path)).sign
        prices = [interval(0, payload("PRICE", 0.25))]
        site.vtn.put(event(payloadDescriptors=[EURO], intervals=prices, intervalPeriod=now))
        async with site.bridge():
            await until(lambda: any(at == topic for at, _ in site.messages))
            assert (site.broker.retained(topic) or b"").startswith(b"{")


def test_a_key_without_a_name_is_a_mistake(tmp_path: Path) -> None:
    secret = private_file(tmp_path)
    path = tmp_path / "openadr.toml"
    path.write_text(
        f"""
[vtn]
url = "https://vtn.example/openadr3/3.1.0"
client_id = "ven-hel1"
client_secret_file = "{secret}"
[site]
name = "hel1"
signing_key_file = "{secret}"
[mqtt]
url = "mqtts://broker.example:8883"
""",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError, match=r"signing_kid and site\.signing_key_file belong together"):
        load(path)
