"""What is reported back: from the racks' own summaries to the VTN, held to the document."""

import json
from typing import Any

import pytest

from powerd.openadr.options import ReportOptions
from powerd.openadr.reports import FRESH_S, Reading, Site, report
from powerd.signals.strict_json import JsonObject
from tests.openadr import contract
from tests.openadr.make import event, limits
from tests.openadr.rig import TOPICS, Rig, Start
from tests.signals.stubs import until

ASKED = [
    {"payloadType": "DEMAND", "units": "KW"},
    {"payloadType": "OPERATING_STATE"},
    {"payloadType": "LOAD_SHED_DELTA_AVAILABLE", "units": "KW"},
]


def summary(rack: str = "r17", watts: float | None = 12_500.0, **more: Any) -> JsonObject:
    return {"rack": rack, "total": {"measured_watts": watts}} | more


def values(content: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the values of a report by payload type."""
    contract.check("reportRequest", content)
    [resource] = content["resources"]
    payloads = [each for interval in resource["intervals"] for each in interval["payloads"]]
    return {each["type"]: each["values"] for each in payloads}


def told(site: Site, *kinds: str, boot_s: float = 10.0, is_curtailed: bool = False) -> dict[str, list[Any]]:
    reading = site.reading(0.0, 60.0, boot_s, is_curtailed=is_curtailed)
    content = report(reading, event_id="8842", client="ven", resource="AGGREGATED_REPORT", kinds=kinds)
    return values(content) if content else {}


def test_the_demand_is_the_mean_of_the_racks_sum_in_kilowatts() -> None:
    site = Site()
    for watts in (10_000.0, 14_000.0):
        site.hear("r17", summary("r17", watts), 5.0)
    site.hear("r18", summary("r18", 500.0), 6.0)
    assert told(site, "DEMAND") == {"DEMAND": [12.5], "DATA_QUALITY": ["ESTIMATED"]}
    assert told(site, "DEMAND") == {"DATA_QUALITY": ["MISSING"]}, "nothing new was heard since"


def test_what_meters_measured_is_good_and_what_hosts_say_of_themselves_an_estimate() -> None:
    site = Site()
    site.hear("r17", summary(draw={"watts": 13_000, "source": "meter"}), 5.0)
    assert told(site, "DEMAND") == {"DEMAND": [13.0], "DATA_QUALITY": ["OK"]}
    site.hear("r17", summary(draw={"watts": 13_000, "source": "hosts"}), 5.0)
    assert told(site, "READING") == {"READING": [13.0], "DATA_QUALITY": ["ESTIMATED"]}


@pytest.mark.parametrize("watts", [None, -1.0, "12", True])
def test_a_rack_that_does_not_know_makes_the_sum_unknown_not_smaller(watts: Any) -> None:
    site = Site()
    site.hear("r17", summary(), 5.0)
    site.hear("r18", summary("r18", watts), 5.0)
    assert told(site, "DEMAND") == {"DATA_QUALITY": ["MISSING"]}


def test_a_rack_that_fell_silent_or_was_never_heard_does_too() -> None:
    silent = Site()
    silent.hear("r17", summary(), 5.0)
    silent.hear("r18", summary("r18"), 5.0 - FRESH_S)
    assert told(silent, "DEMAND") == {"DATA_QUALITY": ["MISSING"]}
    expecting = Site(["r17", "r18"])
    expecting.hear("r17", summary(), 5.0)
    expecting.hear("elsewhere", summary("elsewhere"), 5.0)
    assert told(expecting, "DEMAND") == {"DATA_QUALITY": ["MISSING"]}


def test_the_state_is_normal_curtailed_or_an_error() -> None:
    site = Site()
    assert told(site, "OPERATING_STATE") == {"OPERATING_STATE": ["ERROR"]}
    site.hear("r17", summary(), 5.0)
    assert told(site, "OPERATING_STATE", is_curtailed=True) == {"OPERATING_STATE": ["RUNNING_CURTAILED"]}
    site.hear("r17", summary(), 5.0)
    assert told(site, "OPERATING_STATE") == {"OPERATING_STATE": ["NORMAL"]}


def test_what_could_be_shed_is_the_sum_of_the_racks_and_nothing_if_one_does_not_know() -> None:
    site = Site()
    site.hear("r17", summary(shed={"watts": 4_200, "within_s": 1, "for_s": 3600}), 5.0)
    assert told(site, "LOAD_SHED_DELTA_AVAILABLE") == {"LOAD_SHED_DELTA_AVAILABLE": [4.2]}
    site.hear("r18", summary("r18"), 5.0)
    assert told(site, "LOAD_SHED_DELTA_AVAILABLE") == {}


def test_nothing_is_reported_of_types_that_are_not_known() -> None:
    reading = Reading(0.0, 60.0, 1.0, True, 1.0, False)
    assert report(reading, event_id="1", client="v", resource="r", kinds=("USAGE_FORECAST",)) is None


def publish(site: Rig, **fields: Any) -> None:
    payload = json.dumps(summary(**fields)).encode()
    site.broker.publish(f"{TOPICS.base}/rack/r17/summary", payload, retain=True)


async def reported(site: Rig) -> JsonObject:
    """Let the racks be heard, and a report be made; return it."""
    before, heard = len(site.vtn.reports), len(site.messages)
    publish(site, shed={"watts": 2_000})
    await until(lambda: any("summary" in topic for topic, _ in site.messages[heard:]))
    await site.pass_time(15)
    assert len(site.vtn.reports) == before + 1
    return site.vtn.reports[-1]


FAST = ReportOptions(every_s=15)


async def test_an_event_that_asks_is_reported_on_from_when_it_is_known_until_it_is_over(start: Start) -> None:
    async with start(reports=FAST) as site:
        site.vtn.put(event(reportDescriptors=ASKED), event("silent"))
        async with site.bridge():
            await site.says("vtn1-8842-limit")
            first = await reported(site)
            contract.check("report", first)
            assert (first["eventID"], first["clientName"]) == ("8842", "ven-hel1")
            assert values(first)["OPERATING_STATE"] == ["NORMAL"]
            await site.pass_time(300)
            during = values(await reported(site))
            assert during["OPERATING_STATE"] == ["RUNNING_CURTAILED"]
            assert (during["DEMAND"], during["LOAD_SHED_DELTA_AVAILABLE"]) == ([12.5], [2.0])
            await site.pass_time(3600)
            count = len(site.vtn.reports)
            await site.pass_time(120)
            assert len(site.vtn.reports) == count
            assert {each["eventID"] for each in site.vtn.reports} == {"8842"}


async def test_an_event_without_intervals_only_asks_for_reports(start: Start) -> None:
    async with start(reports=FAST) as site:
        site.vtn.put(event(intervals=None, intervalPeriod=None, reportDescriptors=ASKED))
        async with site.bridge():
            await reported(site)
            assert site.natives() == {}


async def test_events_that_do_not_ask_are_reported_on_where_the_site_wants_it(start: Start) -> None:
    async with start(reports=ReportOptions(every_s=15, unasked=True)) as site:
        site.vtn.put(event(intervals=limits(500)))
        async with site.bridge():
            await site.says("vtn1-8842-limit")
            assert values(await reported(site)).keys() >= {"DEMAND", "OPERATING_STATE"}


async def test_a_retained_summary_says_nothing_of_the_present(start: Start) -> None:
    async with start(reports=FAST) as site:
        publish(site)
        site.vtn.put(event(reportDescriptors=ASKED))
        async with site.bridge():
            await site.says("vtn1-8842-limit")
            await site.pass_time(15)
            assert values(site.vtn.reports[0]) == {"DATA_QUALITY": ["MISSING"], "OPERATING_STATE": ["ERROR"]}


async def test_a_vtn_that_takes_no_reports_is_noticed_and_events_go_on(start: Start) -> None:
    async with start(reports=FAST) as site:
        site.vtn.closed = {"/reports"}
        site.vtn.put(event(reportDescriptors=ASKED))
        async with site.bridge():
            await site.pass_time(20)
            assert "403" in site.texts("vtn_report_failed")[0]
            await site.says("vtn1-8842-limit")
