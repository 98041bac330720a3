"""When certificates end is known before they do, and again after they were renewed."""

import subprocess
import time
from pathlib import Path

import pytest

from powerd.certificates import Certificates
from powerd.signals.endpoint import BusOptions
from tests.authority import authority
from tests.broker import Mosquitto
from tests.signals.stubs import BUDGET_TOPIC, Observed, until
from tests.signals.test_tls import tls_broker

DAY_S = 86_400


def certificate(days: int) -> tuple[str, str]:
    """Return PEM of a key, and of a certificate that ends so many days from now."""
    request = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    command = (*request, "-keyout", "-", "-days", str(days), "-subj", "/CN=r17-n1")
    pem = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    start = pem.index("-----BEGIN CERTIFICATE")
    return pem[:start], pem[start:]


@pytest.fixture(scope="module")
def short() -> tuple[str, str]:
    return certificate(3)


@pytest.fixture(scope="module")
def long() -> tuple[str, str]:
    return certificate(300)


def days_left(purpose: str, file: Path) -> float:
    return (Certificates({purpose: str(file)}).ends()[purpose] - time.time()) / DAY_S


def test_a_chain_ends_with_its_first_certificate_and_a_key_beside_it_does_not_matter(
    tmp_path: Path, short: tuple[str, str], long: tuple[str, str]
) -> None:
    chain = tmp_path / "client.pem"
    chain.write_text(long[0] + long[1] + short[1])
    assert days_left("client", chain) == pytest.approx(3, abs=0.1)


def test_of_several_authorities_one_is_enough(
    tmp_path: Path, short: tuple[str, str], long: tuple[str, str]
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text(short[1] + long[1])
    assert days_left("ca", bundle) == pytest.approx(300, abs=0.1)


def test_a_renewed_certificate_is_seen_without_a_restart(
    tmp_path: Path, short: tuple[str, str], long: tuple[str, str]
) -> None:
    file, new = tmp_path / "client.pem", tmp_path / "new.pem"
    file.write_text(short[1])
    certificates = Certificates({"client": str(file)})
    before = certificates.ends()["client"]
    assert certificates.ends()["client"] == before
    new.write_text(long[1])
    new.rename(file)
    assert certificates.ends()["client"] - before == pytest.approx(297 * DAY_S, abs=DAY_S / 10)


def test_what_cannot_be_read_has_no_end(tmp_path: Path, short: tuple[str, str]) -> None:
    file, garbage = tmp_path / "client.pem", tmp_path / "ca.pem"
    file.write_text(short[1])
    garbage.write_text("no certificate\n")
    certificates = Certificates({"client": str(file), "ca": str(garbage), "other": ""})
    assert certificates.ends().keys() == {"client"}
    file.unlink()
    assert certificates.ends() == {}


async def test_the_end_of_the_brokers_certificate_is_known_and_still_when_it_is_gone(tmp_path: Path) -> None:
    ours = authority(tmp_path / "ca")
    with tls_broker(tmp_path / "broker", ours, name="localhost") as broker:
        async with Observed(BusOptions(broker.url, "n3", ca_file=ours.ca_file), BUDGET_TOPIC) as seen:
            assert seen.bus.status().certificate_end_wall_s is None
            await seen.connected()
            broker.kill()
            await until(lambda: not seen.bus.status().connected)
            end_wall_s = seen.bus.status().certificate_end_wall_s
    assert end_wall_s == pytest.approx(time.time() + 2 * DAY_S, abs=DAY_S / 10)


async def test_a_broker_without_a_certificate_has_none_that_ends(broker: Mosquitto) -> None:
    async with Observed(BusOptions(broker.url, "n3"), BUDGET_TOPIC) as seen:
        await seen.connected()
        assert seen.bus.status().certificate_end_wall_s is None
