"""The capacity that a site has subscribed to, as budgets of its racks."""

from typing import Any

from powerd.core.model import Now
from powerd.openadr.options import BudgetOptions
from powerd.signals.native import parse_budget
from powerd.signals.strict_json import JsonObject
from powerd.signals.topics import RackTopics
from tests.openadr.make import event, interval, payload
from tests.openadr.rig import Start
from tests.signals.stubs import until

TOPIC = RackTopics("powerd/v1", "hel1", "r17").budget
RACKS = BudgetOptions({"r17": 0.05, "r18": 0.1}, lease_s=60.0)
ENDLESS = {"start": "2026-01-01T00:00:00Z", "duration": "P9999Y"}


def capacity(event_id: str, kind: str, kilowatts: float, **fields: Any) -> JsonObject:
    described = {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": kind, "units": "KW"}
    fields = {"intervalPeriod": ENDLESS} | fields
    return event(
        event_id, payloadDescriptors=[described], intervals=[interval(0, payload(kind, kilowatts))], **fields
    )


async def test_each_rack_gets_its_part_of_what_is_subscribed_and_reserved(start: Start) -> None:
    half_an_hour = {"start": "2026-11-21T17:00:00Z", "duration": "PT30M"}
    async with start(budget=RACKS) as site:
        site.vtn.put(
            capacity("sub", "IMPORT_CAPACITY_SUBSCRIPTION", 500),
            capacity("res", "IMPORT_CAPACITY_RESERVATION", 100, intervalPeriod=half_an_hour),
        )
        async with site.bridge():
            await until(lambda: any(topic == TOPIC for topic, _ in site.messages))
            assert site.last(TOPIC)["watts"] == 25_000
            await site.pass_time(330)
            await until(lambda: site.last(TOPIC)["watts"] == 30_000)
            await site.pass_time(1800)
            await until(lambda: site.last(TOPIC)["watts"] == 25_000)


async def test_the_budget_is_read_by_the_hosts_and_renewed_well_before_it_ends(start: Start) -> None:
    async with start(budget=RACKS) as site:
        site.vtn.put(capacity("sub", "IMPORT_CAPACITY_SUBSCRIPTION", 500))
        async with site.bridge():
            await until(lambda: any(topic == TOPIC for topic, _ in site.messages))
            raw = site.broker.retained(TOPIC)
            assert raw is not None
            read = parse_budget(
                raw, rack="r17", hard_limit_mw=40_000_000, retained=True, received=Now(0.0, 0.0)
            )
            assert (read.mw, read.default_mw, read.priority) == (25_000_000, 25_000_000, 200)
            assert read.valid_until_s - read.issued_at_s == 60
            await site.vtn.stop()
            await site.pass_time(200)
            said = [each["seq"] for topic, each in site.messages if topic == TOPIC and each]
            assert len(said) >= 10, "a contract holds while the VTN is away"


async def test_without_a_subscription_or_a_word_of_the_operator_there_is_no_budget(start: Start) -> None:
    for options, kind in (
        (RACKS, "IMPORT_CAPACITY_RESERVATION"),
        (BudgetOptions(), "IMPORT_CAPACITY_SUBSCRIPTION"),
    ):
        async with start(budget=options) as site:
            site.vtn.put(capacity("one", kind, 500))
            async with site.bridge():
                await site.pass_time(130)
                assert not any(topic == TOPIC for topic, _ in site.messages)
