"""TLS to a real broker on a bad day: its certificate has expired, or is from an authority that is new.

The facility speaks to the same broker beside it, without TLS.
"""

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.broker import free_port
from tests.daemon.facility import LEASE_S
from tests.daemon.observer import excesses, unearned_raises
from tests.daemon.rig import FAILSAFE_WATTS, Rig
from tests.daemon.waiting import boot_s
from tests.faults.authority import Authority


class Secured(Rig):
    """A host that trusts one authority, and a broker with a certificate of that."""

    def __init__(self, directory: Path, library: Path) -> None:
        self._files = {name: directory / name for name in ("ca.pem", "server.pem", "server.key")}
        port = free_port()
        server = (f"certfile {self._files['server.pem']}", f"keyfile {self._files['server.key']}")
        table = {"url": f"mqtts://localhost:{port}", "ca_file": str(self._files["ca.pem"])}
        super().__init__(
            directory,
            library,
            tables={"mqtt": table},
            broker_settings=(f"listener {port} 127.0.0.1", *server),
        )

    def trust(self, authority: Authority) -> None:
        """Let the host trust an authority and no other one from now on."""
        authority.write(self._files["ca.pem"])

    def certify(self, authority: Authority, *, ends_in: timedelta = timedelta(days=1)) -> None:
        """Give the broker another certificate."""
        authority.issue(self._files["server.pem"], self._files["server.key"], ends_in=ends_in)

    def error(self) -> str:
        """Return why there is no connection; empty while there is one."""
        return str(self.status()["bus"]["error"])


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def shared(
    library: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secured]:
    with Secured(tmp_path_factory.mktemp("h"), library) as rig:
        rig.trust(authority)
        rig.certify(authority)
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
    secured: Secured, authority: Authority
) -> None:
    begun_boot_s = boot_s()
    secured.obey(2800, LEASE_S)
    secured.certify(authority, ends_in=timedelta(seconds=-1))
    secured.broker.restart()
    secured.wait_for(lambda: "certificate has expired" in secured.error(), what="the refusal with its reason")
    secured.wait_for(lambda: secured.status()["state"] == "failsafe", what="failsafe after the lease")
    secured.wait_for(lambda: secured.obeyed(FAILSAFE_WATTS), what="limits of the failsafe")

    secured.certify(authority)
    secured.broker.restart()
    secured.wait_for(lambda: secured.status()["bus"]["connected"], what="connected again, without a reload")
    secured.obey(3000)
    assert list(excesses(secured, begun_boot_s)) == []


def test_an_authority_that_is_new_is_trusted_after_a_reload_and_no_cap_is_dropped_meanwhile(
    secured: Secured,
) -> None:
    writes = len(secured.write_log())
    successor = Authority()  # of the same name, with another key
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
