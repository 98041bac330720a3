"""TLS to a real broker on a bad day: its certificate has expired, or is from an authority that is new.

The facility speaks to the same broker beside it, without TLS.
"""

import signal
from collections.abc import Iterator
from pathlib import Path
from shutil import copy

import pytest

from tests.authority import Authority, authority
from tests.broker import free_port
from tests.daemon.facility import LEASE_S
from tests.daemon.observer import excesses, unearned_raises
from tests.daemon.rig import FAILSAFE_WATTS, Rig
from tests.daemon.waiting import boot_s


class Secured(Rig):
    """A host that trusts one authority, and a broker with a certificate of that."""

    def __init__(self, directory: Path, library: Path) -> None:
        self._files = directory / "tls"
        self._files.mkdir()
        port = free_port()
        super().__init__(
            directory,
            library,
            tables={"mqtt": {"url": f"mqtts://localhost:{port}", "ca_file": str(self._files / "ca.pem")}},
            broker_settings=(
                f"listener {port} 127.0.0.1",
                f"certfile {self._files / 'server.pem'}",
                f"keyfile {self._files / 'server.key'}",
            ),
        )

    def trust(self, authority: Authority) -> None:
        """Let the host trust an authority and no other one from now on."""
        copy(authority.ca_file, self._files / "ca.pem")

    def certify(self, authority: Authority, *, days: int = 2) -> None:
        """Give the broker another certificate, good for so many days."""
        certificate, key = authority.issue("localhost", days=days)
        copy(certificate, self._files / "server.pem")
        copy(key, self._files / "server.key")

    def error(self) -> str:
        """Return why there is no connection; empty while there is one."""
        return str(self.status()["bus"]["error"])


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ca") / "ours")


@pytest.fixture(scope="module")
def shared(library: Path, ours: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with Secured(tmp_path_factory.mktemp("h"), library) as rig:
        rig.trust(ours)
        rig.certify(ours)
        yield rig
        assert list(unearned_raises(rig)) == []


@pytest.fixture
def secured(shared: Secured) -> Secured:
    """Return the host, connected by TLS, under a budget of 3000 W for a minute."""
    if not shared.daemon.running:
        shared.start()
    shared.obey(3000, lease_s=60)
    return shared


def test_a_broker_whose_certificate_has_expired_is_a_lost_broker_until_it_has_a_good_one(
    secured: Secured, ours: Authority
) -> None:
    begun_boot_s = boot_s()
    secured.obey(2800, LEASE_S)
    secured.certify(ours, days=-1)
    secured.broker.restart()
    secured.wait_for(lambda: "certificate has expired" in secured.error(), what="the refusal with its reason")
    secured.wait_for(lambda: secured.status()["state"] == "failsafe", what="failsafe after the lease")
    secured.wait_for(lambda: secured.obeyed(FAILSAFE_WATTS), what="limits of the failsafe")

    secured.certify(ours)
    secured.broker.restart()
    secured.wait_for(lambda: secured.status()["bus"]["connected"], what="connected again, without a reload")
    secured.obey(3000)
    assert list(excesses(secured, begun_boot_s)) == []


def test_an_authority_that_is_new_is_trusted_after_a_reload_and_no_cap_is_dropped_meanwhile(
    secured: Secured, tmp_path: Path
) -> None:
    writes = len(secured.write_log())
    successor = authority(tmp_path / "successor")  # of the same name, with another key
    secured.certify(successor)
    secured.broker.restart()
    secured.wait_for(lambda: "certificate verify failed" in secured.error(), what="the refusal")
    assert secured.problem("mqtt_disconnected")
    secured.trust(successor)
    secured.daemon.signal(signal.SIGHUP)
    secured.wait_for(lambda: secured.status()["bus"]["connected"], what="connected again")
    assert len(secured.write_log()) == writes
    assert secured.status()["state"] == "limited"
    secured.obey(2800)
