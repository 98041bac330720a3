"""Budgets that must not count, on a real broker: whatever arrives, the daemon stays up and nothing rises.

Every case offers more watts and a longer lease than the budget in force, so that taking it would show.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.facility import Grant
from tests.daemon.host import RACK
from tests.daemon.observer import unearned_raises
from tests.daemon.rig import HARD_LIMIT_WATTS, Rig, gpu_budget_mw
from tests.daemon.waiting import boot_s
from tests.fake_nvml import Write

IN_FORCE_WATTS = 3000
OFFERED_WATTS = 4300
LONG_S = 240.0
SKEW_S = 31.0

Message = dict[str, Any]


@pytest.fixture(scope="module")
def shared(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Return one running host for all cases: what does not count leaves nothing behind.

    The guard is patient: on a machine with other things to do a daemon may stand still for a second.
    """
    with Rig(tmp_path_factory.mktemp("h"), library, tables={"control": {"hold_s": 10.0}}) as rig:
        rig.start()
        yield rig
        assert list(unearned_raises(rig)) == []


@pytest.fixture
def host(shared: Rig) -> Rig:
    """Return the host under a budget of two minutes."""
    obey(shared, IN_FORCE_WATTS)
    return shared


def obey(host: Rig, watts: float | None) -> Message:
    """Have a budget obeyed, wait until status shows it too, and return its message."""
    message = host.facility.budget(watts, 120)
    host.grants.append(Grant(boot_s(), watts, boot_s() + 120))
    host.facility.publish(message)
    host.wait_for(lambda: lease(host).get("seq") == message["seq"], within_s=3, what="the budget in force")
    host.wait_for(lambda: host.obeyed(watts), within_s=3, what=f"{watts} W obeyed")
    host.wait_for(lambda: is_settled(host), within_s=20, what="limits that stay")
    return message


def is_settled(host: Rig) -> bool:
    """Return whether two iterations went by without a write: the last watts of a climb are written too."""
    writes = len(host.write_log())
    host.wait_iterations(2)
    return new_writes(host, writes) == []


def raw(message: Message, **fields: str) -> bytes:
    """Return the message with the JSON text of some fields replaced, right or wrong."""
    marked = json.dumps({**message, **{name: f"<{name}>" for name in fields}})
    for name, text in fields.items():
        marked = marked.replace(f'"<{name}>"', text)
    return marked.encode()


def changed(**fields: Any) -> Callable[[Message], bytes]:
    """Return a case that replaces fields of a good message, or with `...` takes them away."""
    return lambda good: json.dumps(
        {name: value for name, value in {**good, **fields}.items() if value is not ...}
    ).encode()


def written(**fields: str) -> Callable[[Message], bytes]:
    """Return a case that replaces the JSON text of fields of a good message."""
    return lambda good: raw(good, **fields)


def just(payload: bytes) -> Callable[[Message], bytes]:
    """Return a case that has nothing of a good message."""
    return lambda _good: payload


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


# The verdicts of docs/signals.md: the label that counts each, and how it is made from a good message.
MALFORMED: dict[str, tuple[str, Callable[[Message], bytes]]] = {
    "empty": ("empty", just(b"")),
    "65 KiB": ("too_large", changed(padding="x" * 65 * 1024)),
    "not UTF-8": ("encoding", lambda good: json.dumps(good).encode().replace(b"facility", b"f\xff")),
    "UTF-16": ("encoding", lambda good: json.dumps(good).encode("utf-16")),
    "overlong UTF-8": ("encoding", lambda good: json.dumps(good).encode().replace(b"facility", b"f\xc0\xaf")),
    "byte order mark": ("encoding", lambda good: b"\xef\xbb\xbf" + json.dumps(good).encode()),
    "17 levels": ("too_deep", written(reason=nested(17))),
    "3000 levels": ("too_deep", just(nested(3_000).encode())),
    "30000 levels": ("too_large", just(nested(30_000).encode())),
    "cut off": ("json", lambda good: json.dumps(good).encode()[:-5]),
    "two objects": ("json", lambda good: json.dumps(good).encode() * 2),
    "number": ("not_object", just(b"4300")),
    "array": ("not_object", lambda good: json.dumps([good]).encode()),
    "null document": ("not_object", just(b"null")),
    "duplicate key": ("duplicate_key", lambda good: raw(good, watts='100, "watts": 4300')),
    "NaN": ("not_finite", written(watts="NaN")),
    "Infinity": ("not_finite", written(watts="Infinity")),
    "1e999": ("not_finite", written(watts="1e999")),
    "400 digits": ("not_finite", written(watts="9" * 400)),
    "400 digits as seq": ("not_finite", written(seq="9" * 400)),
    "watts true": ("type", changed(watts=True)),
    "watts as text": ("type", changed(watts="4300")),
    "watts as list": ("type", changed(watts=[4300])),
    "seq as text": ("type", changed(seq="7")),
    "seq half": ("type", changed(seq=1.5)),
    "epoch false": ("type", changed(epoch=False)),
    "seq negative": ("range", changed(seq=-1)),
    "epoch of 100 bits": ("range", changed(epoch=2**100)),
    "lone surrogate": ("surrogate", written(source='"\\ud800"')),
    "naive time": ("time", changed(issued_at="2026-11-21T17:00:00")),
    "no time": ("time", changed(valid_until="soon")),
    "year 0": ("time", changed(issued_at="0000-01-01T00:00:00Z")),
    "time as number": ("type", changed(issued_at=1763690000)),
    "negative watts": ("negative", changed(watts=-1)),
    "milliwatts": ("unit_error", changed(watts=4_300_000)),
    "above ten times the hard limit": ("unit_error", changed(watts=10 * HARD_LIMIT_WATTS + 1)),
    "beyond the format": ("unit_error", changed(watts=1e300)),
    "ends before it begins": ("order", lambda good: changed(valid_until=good["issued_at"])(good)),
    "another rack": ("rack", changed(rack="r18")),
    "version 2": ("version", changed(v=2)),
    "version true": ("version", changed(v=True)),
    "no version": ("missing", changed(v=...)),
    "no watts": ("missing", changed(watts=...)),
    "no lease": ("missing", changed(valid_until=...)),
    "no source": ("missing", changed(source=...)),
    "empty source": ("length", changed(source="")),
    "long source": ("length", changed(source="f" * 65)),
    "long reason": ("length", changed(reason="r" * 129)),
    "failsafe as text": ("type", changed(failsafe_watts="2400")),
}


def lease(host: Rig) -> Message:
    """Return the lease that the budget in force stands on; empty without one."""
    return host.status()["budget"]["lease"] or {}


def assert_does_not_count(host: Rig, reason: str, payload: bytes | Message) -> None:
    """Publish; then the refusal is counted and told in one line, and nothing else has changed."""
    before, writes, log = lease(host), len(host.write_log()), len(host.daemon.log)
    counted = host.metric("powerd_signal_rejected_total", reason=reason)
    host.facility.publish(payload)
    host.wait_for(
        lambda: host.metric("powerd_signal_rejected_total", reason=reason) == counted + 1,
        within_s=3,
        what=f"counted as {reason}",
    )
    host.wait_iterations(1)
    after = lease(host)
    assert (after["epoch"], after["seq"]) == (before["epoch"], before["seq"])
    assert after["remaining_s"] < before["remaining_s"]
    assert new_writes(host, writes) == []
    assert any(reason in error["subject"] for error in host.status()["errors"])
    assert len(host.daemon.log[log:].splitlines()) <= 1  # repeats of one kind are held back for a minute
    assert "Traceback" not in host.daemon.log


def new_writes(host: Rig, since: int) -> list[Write]:
    return host.write_log()[since:]


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_budget_changes_nothing(host: Rig, case: str) -> None:
    reason, make = MALFORMED[case]
    assert_does_not_count(host, reason, make(host.facility.budget(OFFERED_WATTS, LONG_S)))
    obey(host, 2800)


def test_a_budget_out_of_order_is_a_replay(host: Rig) -> None:
    early = host.facility.budget(OFFERED_WATTS, LONG_S)
    obey(host, 2800)
    assert_does_not_count(host, "old_seq", early)


def test_a_budget_of_an_earlier_run_of_its_sender_is_a_replay(host: Rig) -> None:
    old = host.facility.budget(OFFERED_WATTS, LONG_S)
    assert_does_not_count(host, "old_epoch", {**old, "epoch": old["epoch"] - 1})


def test_a_new_epoch_that_was_issued_long_before_is_a_replay(host: Rig) -> None:
    old = host.facility.budget(OFFERED_WATTS, LONG_S, issued_s=time.time() - SKEW_S)
    assert_does_not_count(host, "backdated_epoch", {**old, "epoch": old["epoch"] + 1})


def test_the_same_budget_again_is_ignored_in_silence_and_extends_nothing(host: Rig) -> None:
    message = obey(host, 2900)
    before, log, received = lease(host), host.daemon.log, host.status()["bus"]["received"]
    host.facility.publish(message)
    host.wait_for(lambda: host.status()["bus"]["received"] > received, within_s=3)
    host.wait_iterations(1)
    after = lease(host)
    assert after["seq"] == before["seq"]
    assert after["remaining_s"] < before["remaining_s"]
    assert host.daemon.log == log
    assert host.metric("powerd_signal_rejected_total", reason="duplicate") >= 1


def test_two_budgets_under_one_number_are_an_alarm(host: Rig) -> None:
    message = obey(host, 2900)
    assert_does_not_count(host, "key_reused", {**message, "watts": OFFERED_WATTS})


def test_a_budget_that_had_expired_raises_nothing(host: Rig) -> None:
    """The store of a broker and a slow connection both deliver what was true once."""
    expired = host.facility.budget(OFFERED_WATTS, 20, issued_s=time.time() - 25)
    assert_does_not_count(host, "expired", expired)


def test_a_budget_from_a_clock_that_is_wrong_raises_nothing(host: Rig) -> None:
    ahead = host.facility.budget(OFFERED_WATTS, LONG_S, issued_s=time.time() + SKEW_S)
    assert_does_not_count(host, "clock_skew", ahead)


def test_a_doubtful_budget_may_still_lower(host: Rig) -> None:
    host.facility.publish(host.facility.budget(2600, 20, issued_s=time.time() - 25))
    host.wait_for(lambda: host.obeyed(2600), within_s=3)
    obey(host, 2800)


def test_a_flood_of_budgets_ends_with_the_last_one_obeyed(host: Rig) -> None:
    for turn in range(300):
        host.facility.publish(host.facility.budget(2500 + turn, 60))
    obey(host, 2700)
    assert host.get("/healthz").status == 200
    host.wait_iterations(2)
    assert host.obeyed(2700)


def test_zero_watts_are_not_no_limit(host: Rig) -> None:
    """All GPUs go to their minimum, and what is missing is said."""
    obey(host, 0)
    assert host.limits_mw() == [100_000] * 8
    host.wait_for(lambda: host.status()["infeasible_watts"] > 0, within_s=1)
    assert host.status()["compliant"] is False
    assert "below what limiting can reach" in host.problem("infeasible_budget")


def test_a_budget_below_the_floors_is_obeyed_as_far_as_limits_go(host: Rig) -> None:
    obey(host, 1000)
    assert host.limits_mw() == [100_000] * 8
    assert host.wait_for(lambda: host.status()["infeasible_watts"], within_s=1) == pytest.approx(620, abs=30)


def test_null_watts_mean_the_hard_limit_and_no_more(host: Rig) -> None:
    obey(host, None)
    status = host.wait_for(lambda: (s := host.status())["state"] == "unlimited" and s, within_s=1)
    assert status["budget"]["rack_watts"] == HARD_LIMIT_WATTS
    assert host.sum_mw() <= gpu_budget_mw(HARD_LIMIT_WATTS)


def test_ten_times_the_hard_limit_means_the_hard_limit(host: Rig) -> None:
    obey(host, 10 * HARD_LIMIT_WATTS)
    assert host.status()["budget"]["rack_watts"] == HARD_LIMIT_WATTS
    assert "the hard limit holds" in host.problem("signal_clamped")


def test_budgets_on_another_topic_are_not_heard(host: Rig) -> None:
    writes = len(host.write_log())
    for topic in (f"powerd/v1/hel1/rack/{RACK}x/budget", f"powerd/v1/hel2/rack/{RACK}/budget"):
        host.facility.publish(host.facility.budget(OFFERED_WATTS, LONG_S), topic=topic)
    host.wait_iterations(2)
    assert len(host.write_log()) == writes


def test_the_only_host_of_a_rack_speaks_for_all_of_it(host: Rig) -> None:
    """A bridge that reports to a grid knows the rack from nobody else."""
    topic = f"powerd/v1/hel1/rack/{RACK}/summary"
    heard = subprocess.run(
        ["mosquitto_sub", "-p", str(host.broker.port), "-t", topic, "-C", "1", "-W", "10"],
        capture_output=True,
        check=True,
        text=True,
    )
    summary = json.loads(heard.stdout)
    assert (summary["live_hosts"], summary["rack"]) == (1, RACK)
    assert summary["draw"]["source"] == "hosts"
    assert summary["shed"]["watts"] is not None
