"""Events and reports over HTTP and in `powerctl`, from a real ledger that is written meanwhile."""

import csv
import io
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import jsonschema
import pytest

from powerd.core.events.grid_event import GridEvent
from powerd.core.events.schedule import Held, Schedule
from powerd.core.proof.ledger_entry import Began, Entry, Sample, Samples
from powerd.ctl.report import _COLUMNS, as_table
from powerd.ledger.file import FILE_NAME, append, open_to_read, open_to_write, verify
from powerd.ledger.reader import LedgerReader
from powerd.metrics.exposition import Metrics
from powerd.snapshot import Snapshot
from powerd.web.event_models import IntervalView
from powerd.web.server import WebServer
from tests.core.make_events import cut, shed
from tests.core.responses import WALL_S, Rack, event, limit, status
from tests.powerctl import Ran, powerctl, run

if TYPE_CHECKING:
    from tests.web.conftest import Clock

ROOT = Path(__file__).parent.parent.parent
PAST = event((600.0, 1800.0, limit(20_000)), event_id="curtail/7")
NOW = event((0.0, 9e8, limit(25_000)), event_id="now")
LATER = event((9e7, None, limit(10_000)), event_id="later")
BEGAN = Entry(WALL_S, "", Began("hel1", "r17", "r17-n3", "enforce", "0.1.0"))


def story(asked: GridEvent = PAST, watts: float = 19_500) -> list[Entry]:
    """Return what a rack wrote down that obeyed an event two seconds after it started."""
    rack = Rack()
    rack.run(600.0, 30_000)
    rack.run(2.0, 30_000, status(asked, 20_000))
    rack.run(1198.0, watts, status(asked, 20_000))
    rack.run(1000.0, 30_000)
    rack.restart()
    return [BEGAN, *rack.entries]


def write(path: Path, entries: list[Entry]) -> None:
    connection = open_to_write(path, max_bytes=1 << 30, busy_s=5.0)
    append(connection, entries)
    connection.close()


@dataclass
class Site:
    """An endpoint with a ledger, and clients of it."""

    url: str
    path: Path
    session: aiohttp.ClientSession

    async def get(self, path: str, code: int = 200) -> dict[str, Any]:
        async with self.session.get(self.url + path) as response:
            assert response.status == code, await response.text()
            document: dict[str, Any] = await response.json()
            return document

    async def powerctl(self, *arguments: str) -> Ran:
        return await powerctl(*arguments, "--url", self.url)


@pytest.fixture
async def site(snapshot: Snapshot, clock: "Clock", metrics: Metrics, tmp_path: Path) -> AsyncIterator[Site]:
    """Run the endpoint of a host that follows one event, knows one to come, and obeyed one."""
    held = {f"grid/{each.event_id}": Held(each) for each in (NOW, LATER)}
    in_force = replace(status(NOW, 25_000), cap_mw=26_000_000)
    decision = snapshot.decision._replace(schedule=Schedule(held), events=(in_force,))
    shown = replace(snapshot, decision=decision)
    path = tmp_path / FILE_NAME
    write(path, story())
    server = WebServer(lambda: shown, clock, metrics, listen="127.0.0.1:0", ledger=LedgerReader(path))
    async with server, aiohttp.ClientSession() as session:
        yield Site(f"http://127.0.0.1:{server.port}", path, session)


async def test_events_are_listed_from_what_holds_to_what_is_past(site: Site) -> None:
    found = (await site.get("/v1/events"))["events"]
    assert [(each["id"], each["phase"]) for each in found] == [
        ("grid/now", "active"),
        ("grid/later", "pending"),
        ("grid/curtail/7", "ended"),
    ]
    assert [each["target_watts"] for each in found] == [25_000, None, 20_000]
    assert [each["cap_watts"] for each in found] == [26_000, None, None]
    assert [each["asks"] for each in found] == ["at most 25000 W", "at most 10000 W", "at most 20000 W"]
    assert [each["recorded"] for each in found] == [False, False, True]
    assert found[1]["end"] is None


async def test_of_an_event_of_many_steps_the_first_ones_are_said(
    snapshot: Snapshot, clock: "Clock", metrics: Metrics
) -> None:
    steps = [limit(9000), limit(9000), cut(10), shed(1), shed(2), limit(8000)]
    many = event(*((9e7 + at, 9e7 + at + 1, step) for at, step in enumerate(steps)), event_id="many")
    shown = replace(
        snapshot, decision=snapshot.decision._replace(schedule=Schedule({"grid/many": Held(many)}))
    )
    server = WebServer(lambda: shown, clock, metrics, listen="127.0.0.1:0")
    async with server, aiohttp.ClientSession() as session:
        answer = await session.get(f"http://127.0.0.1:{server.port}/v1/events")
        [found] = (await answer.json())["events"]
    assert found["asks"] == "at most 9000 W, then 10 % less than the budget, then shed level 1, and 2 more"


@pytest.mark.parametrize("name", ["grid/curtail/7", "grid%2Fcurtail%2F7", "curtail/7", "curtail%2F7"])
async def test_a_report_goes_by_the_whole_id_and_by_a_name_that_only_one_source_has(
    site: Site, name: str
) -> None:
    made = await site.get(f"/v1/events/{name}/report")
    assert made["id"] == "grid/curtail/7"
    assert made["compliant"] is True
    assert made["intervals"][0]["time_to_target_s"] == 2.0
    assert made["shed_against_before_kwh"] == pytest.approx(1198 * 10_500 / 3.6e6, rel=1e-4)
    assert (made["modes"], made["ledger"]["intact"]) == (["enforce"], True)


async def test_a_name_that_two_sources_have_is_not_guessed(site: Site) -> None:
    write(site.path, story(replace(PAST, source="other")))
    answer = await site.get("/v1/events/curtail/7/report", 404)
    assert "names several events: grid/curtail/7, other/curtail/7" in answer["error"]
    assert (await site.get("/v1/events/other/curtail/7/report"))["id"] == "other/curtail/7"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("grid/later", "has had no say yet"),
        ("later", "has had no say yet"),
        ("nobody", "is not an event of the ledger"),
        ("'; DROP TABLE entries; --", "is not an event of the ledger"),
    ],
)
async def test_what_has_no_report_is_said_in_one_line(site: Site, name: str, why: str) -> None:
    answer = await site.get(f"/v1/events/{name}/report", 404)
    assert why in answer["error"]
    assert "\n" not in answer["error"]


async def test_it_reads_while_another_process_writes(site: Site) -> None:
    writer = open_to_write(site.path, max_bytes=1 << 30, busy_s=5.0)
    append(writer, story(replace(PAST, event_id="second")))
    writer.execute("BEGIN IMMEDIATE")
    try:
        assert (await site.get("/v1/events/second/report"))["compliant"] is True
    finally:
        writer.execute("ROLLBACK")
        writer.close()


async def test_a_ledger_that_cannot_be_read_hides_the_past_and_nothing_else(site: Site) -> None:
    site.path.write_bytes(b"rubbish" * 1000)
    document = await site.get("/v1/events")
    assert [each["id"] for each in document["events"]] == ["grid/now", "grid/later"]
    assert "file is not a database" in document["ledger_error"]
    assert "cannot be read" in (await site.get("/v1/events/curtail/7/report", 503))["error"]
    code, out, err = await site.powerctl("events")
    assert (code, "grid/now" in out, "cannot be read" in err) == (1, True, True)


async def test_a_report_from_samples_that_somebody_made_up_is_refused_in_one_line(site: Site) -> None:
    start_s = WALL_S + 700
    row = Sample(start_s, "long", 1, 1, 7, (None,), ("x",))  # type: ignore[arg-type] # it says anything
    write(site.path, [Entry(start_s, "", Samples(("grid/curtail/7",), (row,)))])
    assert "an entry is damaged" in (await site.get("/v1/events/curtail/7/report", 503))["error"]


async def test_before_anything_is_recorded_there_is_no_past(site: Site) -> None:
    site.path.unlink()
    document = await site.get("/v1/events")
    assert (document["ledger_error"], len(document["events"])) == ("", 2)
    await site.get("/v1/events/curtail/7/report", 404)


async def test_documents_are_as_openapi_describes_them(site: Site) -> None:
    components = (await site.get("/openapi.json"))["components"]
    for path, name in (("/v1/events", "EventList"), ("/v1/events/curtail/7/report", "EventReportView")):
        schema = {"$ref": f"#/components/schemas/{name}", "components": components}
        jsonschema.Draft202012Validator(schema).validate(await site.get(path))


async def test_a_report_fits_one_screen(site: Site) -> None:
    code, out, err = await site.powerctl("report", "event", "curtail/7")
    assert (code, err) == (0, "")
    assert "grid/curtail/7  rack r17  mandatory   obeyed" in out
    assert re.search(r"^before +mean 30,000 W, peak 30,000 W, cap 40,000 W", out, re.MULTILINE)
    assert re.search(r"20,000 W +19,51[78] W +hosts +100\.0 % +2\.0 s", out)
    assert len(out.splitlines()) < 24
    assert max(map(len, out.splitlines())) <= 120


async def test_a_report_as_csv_has_one_row_for_each_interval(site: Site) -> None:
    code, out, _ = await site.powerctl("report", "event", "curtail/7", "--csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert code == 0
    assert (row["event"], row["target_watts"], row["compliant"]) == ("grid/curtail/7", "20000.0", "true")
    assert row["baseline_watts"] == ""
    assert tuple(row)[3:] == tuple(IntervalView.model_fields)


def test_csv_has_every_number_of_an_interval() -> None:
    assert tuple(IntervalView.model_fields) == _COLUMNS


def test_a_spreadsheet_does_not_take_an_id_for_a_formula() -> None:
    interval = dict.fromkeys(_COLUMNS) | {"index": 0}
    text = as_table({"id": "=cmd()/x", "site": "hel1", "rack": "r17", "intervals": [interval]})
    assert text.splitlines()[1].startswith("'=cmd()/x,hel1,r17,0,,")


async def test_json_is_the_document_of_the_endpoint(site: Site) -> None:
    code, out, _ = await site.powerctl("report", "event", "curtail/7", "--json")
    assert (code, json.loads(out)) == (0, await site.get("/v1/events/curtail/7/report"))


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("report", "event", "nobody"), 1, "is not an event of the ledger"),
        (("report", "event", "curtail/7", "--json", "--csv"), 2, "exclude each other"),
    ],
)
async def test_a_mistake_is_one_line_and_an_exit_code(
    site: Site, arguments: tuple[str, ...], code: int, why: str
) -> None:
    found, out, err = await site.powerctl(*arguments)
    assert (found, out) == (code, "")
    assert why in err
    assert len(err.splitlines()) == 1


async def test_a_report_from_a_ledger_that_was_changed_says_so_and_exits_1(site: Site) -> None:
    before = (await site.get("/v1/events/curtail/7/report"))["ledger"]["digest"]
    connection = sqlite3.connect(site.path)
    connection.execute("DROP TRIGGER entries_stay_as_they_are")
    connection.execute("UPDATE entries SET body = replace(body, '30000000', '19000000')")
    connection.commit()
    connection.close()
    code, out, err = await site.powerctl("report", "event", "curtail/7")
    assert code == 1
    assert "THE LEDGER WAS CHANGED" in out
    assert "proves nothing" in err
    made = await site.get("/v1/events/curtail/7/report")
    assert (made["ledger"]["intact"], made["ledger"]["digest"] == before) == (False, False)


def verify_ledger(*arguments: str) -> tuple[int, str]:
    code, out, err = run("verify-ledger", *arguments)
    return code, out + err


def test_a_copy_of_a_ledger_is_checked_without_a_daemon(tmp_path: Path) -> None:
    path = tmp_path / "copy.sqlite3"
    write(path, story())
    connection = open_to_read(path)
    digest = verify(connection, last=20).head.digest.hex()
    connection.close()
    assert verify_ledger(str(path))[0] == 0
    assert verify_ledger(str(path), "--digest", digest)[0] == 0
    code, text = verify_ledger(str(path), "--digest", "00" * 32)
    assert (code, "no entry has the digest" in text) == (1, True)
    changed = sqlite3.connect(path)
    changed.execute("DROP TRIGGER entries_stay_as_they_are")
    changed.execute("UPDATE entries SET wall_ms = 0 WHERE number = 9")
    changed.commit()
    changed.close()
    code, text = verify_ledger(str(path), "--json")
    assert (code, json.loads(text)["broken_at"]) == (1, 9)


def test_samples_can_be_taken_out_by_sql_alone_as_documented(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "proof-of-response.md").read_text(encoding="utf-8")
    found = re.search(r'ledger\.sqlite3 "(SELECT .*?)"', text, re.DOTALL)
    assert found
    path = tmp_path / FILE_NAME
    write(path, story())
    with closing(open_to_read(path)) as connection:
        query = found[1].replace("unixepoch('now', '-1 hour')", str(int(WALL_S)))
        rows = connection.execute(query).fetchall()
    assert rows[0] == (WALL_S, 1.0, 30_000.0, "hosts")
    assert len(rows) > 2000


@pytest.mark.parametrize(("name", "why"), [("missing", "no such file"), ("other", "file is not a database")])
def test_what_is_not_a_ledger_is_a_usage_error(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "other").write_text("something else\n" * 100)
    code, text = verify_ledger(str(tmp_path / name))
    assert (code, why in text) == (2, True)
