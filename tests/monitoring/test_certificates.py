"""When certificates end is known before they do, and again after they were renewed."""

import subprocess
import time
from pathlib import Path

import pytest

from powerd.certificates import Certificates

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


def days_left(file: Path) -> float:
    return (Certificates({"client": str(file)}).ends()["client"] - time.time()) / DAY_S


def test_a_chain_ends_with_its_first_certificate_and_a_key_beside_it_does_not_matter(
    tmp_path: Path, short: tuple[str, str], long: tuple[str, str]
) -> None:
    chain = tmp_path / "client.pem"
    chain.write_text(long[0] + long[1] + short[1])
    assert days_left(chain) == pytest.approx(3, abs=0.1)


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
