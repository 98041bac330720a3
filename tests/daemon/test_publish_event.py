"""`powerctl publish event` and a running host: from the command line to limits that are read back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.rig import Rig
from tests.powerctl import run

TOPIC = "powerd/v1/hel1/grid/event/peak"


@pytest.fixture(scope="module")
def shared(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Return one running host for all cases."""
    with Rig(tmp_path_factory.mktemp("h"), library) as rig:
        rig.start()
        yield rig


@pytest.fixture
def host(shared: Rig) -> Rig:
    """Return the host under a budget of two minutes."""
    shared.obey(3000, lease_s=120)
    return shared


def publish(host: Rig, *options: str) -> None:
    where = ("--site", "hel1", "--rack", "r17", "--id", "peak", "--broker", host.broker.url)
    code, _, err = run("publish", "event", *where, *options)
    assert code == 0, err


def events(host: Rig) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = host.status()["events"]
    return found


def test_an_event_is_obeyed_until_it_is_cancelled_and_an_empty_message_is_no_cancellation(host: Rig) -> None:
    publish(host, "--reduce-pct", "15")
    host.wait_for(lambda: host.obeyed(2550), within_s=5, what="15 % less")
    assert [(event["id"], event["phase"], event["baseline_watts"]) for event in events(host)] == [
        ("peak", "active", 3000)
    ]
    empty = host.metric("powerd_signal_rejected_total", source="unknown", reason="empty")
    host.broker.publish(TOPIC, b"", retain=True)
    host.wait_for(
        lambda: host.metric("powerd_signal_rejected_total", source="unknown", reason="empty") == empty + 1,
        within_s=5,
        what="the empty message counted",
    )
    host.wait_iterations(2)
    assert host.obeyed(2550)
    publish(host, "--cancel")
    host.wait_for(lambda: host.obeyed(3000), within_s=5, what="the budget again")
    assert [event for event in events(host) if event["phase"] == "active"] == []


def test_saying_an_event_again_or_in_a_newer_version_does_not_ratchet_down(host: Rig) -> None:
    """The reduced draw, or the reduced cap, is not what the next version counts from."""
    for _ in range(3):
        publish(host, "--reduce-pct", "10", "--start", "now")
        host.wait_for(lambda: host.obeyed(2700), within_s=5, what="10 % less")
        host.wait_iterations(2)
    assert host.obeyed(2700)
    publish(host, "--cancel")
    host.wait_for(lambda: host.obeyed(3000), within_s=5, what="the budget again")


def test_an_event_about_another_host_changes_nothing_here(host: Rig) -> None:
    publish(host, "--scope", "host", "--target", "r99-n1", "--floor")
    host.wait_iterations(2)
    assert host.obeyed(3000)
    assert events(host) == []
