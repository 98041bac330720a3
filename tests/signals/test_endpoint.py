from dataclasses import replace
from pathlib import Path

import pytest

from powerd.errors import ConfigError
from powerd.signals.endpoint import BusOptions, endpoint

LOCAL = BusOptions("mqtt://localhost", "test")


@pytest.mark.parametrize(
    ("url", "host", "port", "encrypted"),
    [
        ("mqtt://localhost", "localhost", 1883, False),
        ("mqtt://127.0.0.1:2000", "127.0.0.1", 2000, False),
        ("mqtt://[::1]:2000", "::1", 2000, False),
        ("mqtts://broker.hel1.example", "broker.hel1.example", 8883, True),
        ("mqtts://broker.hel1.example:8884", "broker.hel1.example", 8884, True),
    ],
)
def test_a_url_leads_where_it_says(url: str, host: str, port: int, encrypted: bool) -> None:
    where = endpoint(replace(LOCAL, url=url))
    assert (where.host, where.port, where.tls is not None) == (host, port, encrypted)


@pytest.mark.parametrize("host", ["broker.hel1.example", "10.0.0.7", "127.0.0.1.example", "[2001:db8::1]"])
def test_plaintext_to_another_machine_needs_the_operators_word(host: str) -> None:
    options = replace(LOCAL, url=f"mqtt://{host}")
    with pytest.raises(ConfigError, match=r"mqtt\.allow_plaintext"):
        endpoint(options)
    assert endpoint(replace(options, allow_plaintext=True)).tls is None


@pytest.mark.parametrize(
    "url", ["", "localhost", "localhost:1883", "http://localhost", "mqtt://", "mqtt://localhost:99999"]
)
def test_what_is_no_broker_url_is_an_error_that_names_the_key(url: str) -> None:
    with pytest.raises(ConfigError, match=r"mqtt\.url"):
        endpoint(replace(LOCAL, url=url))


@pytest.mark.parametrize("url", ["mqtt://user:secret@localhost", "mqtt://user:sec:ret@localhost:x"])
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        endpoint(replace(LOCAL, url=url))
    assert "secret" not in str(caught.value)
    assert "sec:ret" not in str(caught.value)


def test_an_unknown_protocol_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"auto, 5, 3\.1\.1"):
        endpoint(replace(LOCAL, protocol="3.1"))


def test_certificate_files_that_cannot_be_used_are_named_with_their_key(tmp_path: Path) -> None:
    secure = replace(LOCAL, url="mqtts://localhost")
    missing, garbage = str(tmp_path / "missing.pem"), tmp_path / "garbage.pem"
    garbage.write_text("not a certificate")
    with pytest.raises(ConfigError, match=rf"mqtt\.ca_file {missing}: No such file"):
        endpoint(replace(secure, ca_file=missing))
    with pytest.raises(ConfigError, match=rf"mqtt\.ca_file {garbage}: "):
        endpoint(replace(secure, ca_file=str(garbage)))
    with pytest.raises(ConfigError, match=rf"mqtt\.cert_file {missing}.*mqtt\.key_file"):
        endpoint(replace(secure, cert_file=missing, key_file=missing))
