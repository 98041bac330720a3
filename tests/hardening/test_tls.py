"""Encrypted unless it stays on this machine, at every way in, and never by a protocol that is broken."""

import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from powerd.errors import BusError, ConfigError
from powerd.openadr.settings import load as load_bridge
from powerd.openadr.web import check_url, tls_context
from powerd.settings.loading import load
from powerd.signals.endpoint import BusOptions, endpoint
from powerd.signals.mqtt import connect
from tests.authority import authority
from tests.broker import free_port
from tests.hardening.test_secrets import secret_file
from tests.powerctl import run
from tests.test_settings import MINIMUM

WITHIN_S = 20.0


def daemon(directory: Path, host: str) -> None:
    path = directory / "powerd.toml"
    path.write_text(MINIMUM.replace("mqtts://broker.hel1.example:8883", f"mqtt://{host}"), encoding="utf-8")
    load(path)


def bridge(directory: Path, host: str, vtn: str = "https://vtn.example") -> None:
    path = directory / "openadr.toml"
    path.write_text(
        f'[vtn]\nurl = "{vtn}"\nclient_id = "ven"\nclient_secret_file = "{secret_file(directory / "vtn")}"\n'
        f'[site]\nname = "hel1"\n[mqtt]\nurl = "mqtt://{host}"\n',
        encoding="utf-8",
    )
    load_bridge(path)


WAYS_OUT: dict[str, Callable[[Path, str], object]] = {
    "daemon": daemon,
    "any connection to a broker": lambda _directory, host: endpoint(BusOptions(f"mqtt://{host}", "n1")),
    "bridge to the site's broker": bridge,
    "bridge to the VTN": lambda directory, host: bridge(directory, "localhost", f"http://{host}"),
    "bridge to the token server": lambda _directory, host: check_url(
        "tokenURL", f"http://{host}", allow_plaintext=False
    ),
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_nothing_leaves_this_machine_in_plain_text_unless_it_is_allowed(tmp_path: Path, way: str) -> None:
    for host in ("broker.example", "10.1.2.3", "127.1", "[2001:db8::1]", "localhost.example", "0.0.0.0"):
        with pytest.raises(ConfigError, match=r"encrypted|plain text"):
            WAYS_OUT[way](tmp_path, host)
    for host in ("localhost", "127.0.0.1", "[::1]"):
        WAYS_OUT[way](tmp_path, host)


def test_a_publisher_is_refused_in_plain_text_too(tmp_path: Path) -> None:
    ran = run(
        *("publish", "budget", "--site", "hel1", "--rack", "r17", "--watts", "3000"),
        *("--broker", "mqtt://broker.example", "--password-file", secret_file(tmp_path / "password")),
    )
    assert ran.code == 2
    assert "not encrypted" in ran.err


def test_every_connection_asks_who_is_there_and_knows_no_broken_protocol() -> None:
    of_the_bus = endpoint(BusOptions("mqtts://broker.example", "n1")).tls
    assert of_the_bus
    for context in (of_the_bus, tls_context("")):
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname


@contextmanager
def server(directory: Path, *options: str) -> Iterator[int]:
    """Run a TLS server with a certificate of ours for localhost; yield its port."""
    ours = authority(directory / "ca")
    certificate, key = ours.issue("localhost")
    port = free_port()
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", certificate, "-key", key]
    process = subprocess.Popen(
        [*command, "-quiet", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield port
    finally:
        process.kill()
        process.communicate()


def shakes_hands(port: int, *options: str) -> bool:
    """Say whether somebody without our standards gets a connection."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=WITHIN_S)
    return "Cipher is (NONE)" not in done.stdout and "Cipher is" in done.stdout


async def test_a_broker_of_yesterday_gets_no_connection(tmp_path: Path) -> None:
    old = ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    with server(tmp_path, *old) as port:
        while not shakes_hands(port, *old):
            pass  # it has not begun to listen
        options = BusOptions(f"mqtts://localhost:{port}", "n1", ca_file=str(tmp_path / "ca" / "ca.pem"))
        with pytest.raises(BusError, match=r"(?i)version|protocol|alert"):
            async with connect(options):
                pass
