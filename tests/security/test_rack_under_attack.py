"""A rack on a broker without any access list, and somebody there who wants it to draw more.

Budgets, events and states are signed or sealed; the attacker has no key, and everything else. In every test
the observer replays all limits ever written: they were never above what the facility has signed.
"""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from powerd.signatures.jws import Signer
from tests.daemon.facility import LEASE_S, Facility
from tests.daemon.grid import FEED, FRACTION
from tests.daemon.host import Host
from tests.daemon.rack import (
    BUDGET_WATTS,
    HARD_LIMIT_WATTS,
    NAMES,
    LeaseTimes,
    Rack,
    entitlement_mw,
    usable_mw,
)
from tests.daemon.rack_observer import history, judged
from tests.daemon.waiting import boot_s
from tests.dsx.keys import ISV_SOURCE, trusted, written
from tests.fake_nvml import build
from tests.security import forge
from tests.security.attacker import BUDGET_TOPIC, Attacker, Shot, client_id

N1, N2, N3, N4 = NAMES
SEED = 20261121
SALVOS, SHOTS = 6, 50
LOW_WATTS = 6_400
# Stamps of messages that are on their way for longer are not believed, so that a recording is soon old.
SKEW_S = 5.0


class SignedFacility(Facility):
    """A facility that signs what it says of budgets."""

    def __init__(self, port: int, signer: Signer) -> None:
        super().__init__(port)
        self._signer = signer

    def publish(self, payload: bytes | dict[str, Any], *, topic: str = "", retain: bool = True) -> None:
        """Publish, signed where it is a budget."""
        if isinstance(payload, dict) and not topic:
            payload = self._signer.sign(forge.encoded(payload)).encode()
        super().publish(payload, topic=topic, retain=retain)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("lib"))


def tables(directory: Path) -> dict[str, Any]:
    """Return what makes a rack of this kind ask for signatures."""
    secret = written(directory / "secret", forge.SECRET + b"\n")
    isv = trusted(directory)
    keys = forge.configured_keys(directory)
    return {
        "rack": {"leases": {**LeaseTimes()._asdict(), "key_file": secret}, "feeds": {FEED: FRACTION}},
        "signals": {
            "native": {"sources": [forge.SOURCE, forge.OTHER_SOURCE], "keys": keys, "max_skew_s": SKEW_S},
            "events": {"keys": {"vtn": {**keys[forge.OTHER_KID], "source": "vtn1"}}, "sources": ["vtn1"]},
            "dsx": {"enabled": True, "keys": {"acme-1": {"file": isv.file, "source": ISV_SOURCE}}},
        },
    }


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("r")


@pytest.fixture(scope="module")
def shared(library: Path, directory: Path) -> Iterator[Rack]:
    with Rack(directory, library, tables=tables(directory)) as rack:
        rack.facility.close()
        rack.facility = SignedFacility(rack.broker.port, forge.facility_signer(directory))
        rack.grants = rack.facility.grants
        yield rack


@pytest.fixture
def rack(shared: Rack) -> Iterator[Rack]:
    with judged(shared) as rack:
        yield rack


@pytest.fixture
def attacker(rack: Rack) -> Iterator[Attacker]:
    """Return somebody who has heard the facility and every host."""
    with Attacker(rack.broker.port, SEED) as attacker:
        rack.wait_for(attacker.has_heard_all, what="everybody heard by the attacker")
        yield attacker


def is_at_its_own(rack: Rack, watts: float) -> bool:
    return all(rack.is_at(name, entitlement_mw(watts)) for name in NAMES)


def wants_more(host: Host) -> bool:
    """Say whether a host knows that all its GPUs are busy, so that it lends nothing."""
    return all(gpu["demand"] in ("busy", "capped") for gpu in host.status()["gpus"])


def refused(rack: Rack, reason: str) -> float:
    """Return how many messages the hosts refused for a reason."""
    return sum(host.metric("powerd_signal_rejected_total", reason=reason) for host in rack.hosts.values())


def test_no_message_raises_a_limit_and_control_is_back_when_they_end(rack: Rack, attacker: Attacker) -> None:
    """Every host wants more than it has. It gets what the facility has signed, and sometimes less."""
    rack.busy(*NAMES)
    rack.wait_for(lambda: all(map(wants_more, rack.hosts.values())), what="everybody busy")
    rack.wait_for(lambda: is_at_its_own(rack, BUDGET_WATTS), what="everybody at what is its own")
    begun_boot_s = boot_s()
    for salvo in range(SALVOS):
        attacker.salvo(SHOTS)
        rack.obey(LOW_WATTS if salvo % 2 else BUDGET_WATTS)
    attacker.leave_a_will(Shot(BUDGET_TOPIC, forge.encoded(attacker.budget(None))))
    attacker.take_the_place_of(client_id(N1))
    attacker.salvo(SHOTS)
    for reason in ("unsigned", "bad_signature", "unknown_kid", "algorithm"):
        assert refused(rack, reason), reason
    rack.obey(BUDGET_WATTS)
    assert max(moment.sum_mw for moment in history(rack, begun_boot_s)) <= usable_mw(BUDGET_WATTS)
    rack.wait_for(lambda: is_at_its_own(rack, BUDGET_WATTS), what="control, once the attack is over")


def test_hosts_lend_each_other_what_is_their_own_while_others_speak_in_their_name(
    rack: Rack, attacker: Attacker
) -> None:
    rack.busy(N1, N2)
    own_mw = entitlement_mw(BUDGET_WATTS)
    for _ in range(2):
        attacker.salvo(SHOTS)
        rack.obey(BUDGET_WATTS)
        rack.wait_for(lambda: rack.worst_mw(N1) > own_mw, what="watts of an idle host")
        rack.idle(N1, N3)
        rack.busy(N2, N4)
        attacker.salvo(SHOTS)
        rack.obey(LOW_WATTS)
        rack.idle(N4)
        rack.busy(N1)


def test_a_host_that_has_lost_its_memory_takes_no_recording_for_news(rack: Rack, attacker: Attacker) -> None:
    """What the facility has taken back somebody says again, and what hosts said then."""
    most = rack.obey(HARD_LIMIT_WATTS, lease_s=LEASE_S)
    rack.obey(LOW_WATTS)
    rack.wait_for(lambda: len(generous(attacker)) == 1, what="it recorded")
    said = [shot for shot in attacker.heard if shot.topic.endswith("/state")][-40:]
    recordings = [Shot(BUDGET_TOPIC, each) for each in generous(attacker)]
    rack.busy(*NAMES)
    rack.wait_for(lambda: boot_s() > most.published_boot_s + SKEW_S + 1, what="a recording that is old")
    host = rack.hosts[N4]
    host.daemon.kill()
    (host.directory / "state" / "runtime.json").unlink()
    begun_boot_s = boot_s()
    host.daemon.start()

    def lowers_only() -> bool:
        attacker.shoot(*recordings, *said)
        return bool(host.problem("signal_lower_only"))

    rack.wait_for(lowers_only, what="a recording that may only lower")
    assert max(moment.sum_mw for moment in history(rack, begun_boot_s)) <= usable_mw(LOW_WATTS)
    rack.obey(LOW_WATTS)


def reload(host: Host) -> None:
    """Have a host read its files again, and wait until it has."""
    before = host.daemon.log.count("config_reloaded")
    host.daemon.signal(signal.SIGHUP)
    host.wait_for(lambda: host.daemon.log.count("config_reloaded") > before, what="a reload")


def test_the_secret_is_changed_while_hosts_go_on_and_none_misses_a_word(rack: Rack, directory: Path) -> None:
    old, new = forge.SECRET, forge.RETIRED_SECRET
    before = refused(rack, "bad_signature"), refused(rack, "unsigned")
    for lines in ([old, new], [new, old], [new]):
        written(directory / "secret", b"\n".join(lines))
        for host in rack.hosts.values():
            reload(host)
    rack.busy(N1)
    rack.wait_for(lambda: rack.worst_mw(N1) > entitlement_mw(BUDGET_WATTS), what="watts of an idle host")
    assert (refused(rack, "bad_signature"), refused(rack, "unsigned")) == before
    assert all(peer["live"] for host in rack.hosts.values() for peer in host.status()["peers"])


def generous(attacker: Attacker) -> list[bytes]:
    """Return the recorded budgets that gave the rack the most."""
    recorded = attacker.recorded(BUDGET_TOPIC)
    return [each for each in recorded if forge.content(each)["watts"] == HARD_LIMIT_WATTS]
