"""Proof of response from a real daemon: of an event that was obeyed, across a kill, with a stuck disk."""

import json
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from powerd.ledger.file import FILE_NAME
from tests.daemon.rig import Rig
from tests.daemon.test_publish_event import publish

KEY = "powerctl/peak"


def report(host: Rig) -> dict[str, Any]:
    """Return the report on the event that `publish` speaks of; as long as there is none, no answer counts."""
    answer = host.get("/v1/events/peak/report")
    if answer.status != 200:
        raise ConnectionError(answer.body)
    document: dict[str, Any] = json.loads(answer.body)
    return document


def ledger(host: Rig) -> Path:
    return host.directory / "state" / FILE_NAME


def loaded(host: Rig) -> Rig:
    """Return the host with GPUs that use all they are given, and are known to: no watts move between them."""
    for index in range(len(host.gpus.gpus)):
        host.gpus.set_demand(index, 500_000)
    host.wait_for(lambda: host.status()["meter"]["watts"] > 2500, within_s=10, what="the load to be seen")
    host.wait_for(
        lambda: {gpu["demand"] for gpu in host.status()["gpus"]} == {"capped"}, within_s=20, what="rest"
    )
    return host


def test_an_event_that_was_obeyed_is_proven_to_have_been(host: Rig) -> None:
    loaded(host)
    publish(host, "--limit-watts", "2200")
    host.wait_for(lambda: report(host)["intervals"][0]["time_to_target_s"] is not None, within_s=40)
    publish(host, "--cancel")
    host.wait_for(lambda: report(host)["reason"] == "cancelled", within_s=10)
    made = report(host)
    (interval,) = made["intervals"]
    assert (made["modes"], made["ledger"]["intact"]) == (["enforce"], True)
    assert (interval["target_watts"], interval["measured_by"]) == (2200.0, "hosts")
    assert interval["time_to_target_s"] < 5
    assert interval["mean_watts"] < 2300
    assert made["before_peak_watts"] > 2500
    assert made["shed_against_before_kwh"] is not None
    code, out, _ = host.powerctl("events")
    assert code == 0
    assert "cancelled" in out
    assert host.powerctl("report", "event", "peak").code == 0


def test_a_kill_in_the_middle_is_a_gap_and_not_the_end_of_the_proof(host: Rig) -> None:
    loaded(host)
    publish(host, "--limit-watts", "2200")
    host.wait_for(lambda: report(host)["intervals"], within_s=20)
    host.daemon.kill()
    host.start_daemon()
    host.wait_for(lambda: report(host)["intervals"][0]["time_to_target_s"] is not None, within_s=60)
    made = report(host)
    assert len(made["intervals"]) == 1
    assert made["ledger"]["intact"] is True
    assert 0 < made["known_pct"] < 100
    with closing(sqlite3.connect(f"{ledger(host).as_uri()}?mode=ro", uri=True)) as connection:
        kinds = [kind for (kind,) in connection.execute("SELECT kind FROM entries")]
    assert kinds.count("began") == 2


def test_a_ledger_that_is_stuck_holds_up_no_cut_and_says_so(host: Rig) -> None:
    loaded(host)
    publish(host, "--limit-watts", "2800")
    host.wait_for(lambda: report(host)["intervals"], within_s=20)
    with closing(sqlite3.connect(ledger(host), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for watts in (2700, 2600, 2500, 2400):
            publish(host, "--limit-watts", str(watts))
            host.wait_for(partial(host.obeyed, watts), within_s=3, what=f"{watts} W")
        host.wait_for(lambda: host.problem("ledger_not_written"), within_s=30)
        connection.execute("ROLLBACK")
    host.wait_for(lambda: report(host)["intervals"][-1]["target_watts"] == 2400.0, within_s=30)
    made = report(host)
    assert [part["target_watts"] for part in made["intervals"]] == [2800.0, 2700.0, 2600.0, 2500.0, 2400.0]
    assert made["lost_entries"] == 0
    assert host.metric("powerd_ledger_dropped_total") == 0
