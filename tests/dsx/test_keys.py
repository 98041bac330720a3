"""Which key files are taken, and why the others are not."""

import base64
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from powerd.errors import ConfigError
from powerd.signatures.keys import private_key, public_key
from tests.dsx.keys import jwk, private_pem, public_pem, written

CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def of_another_algorithm() -> bytes:
    """Return a public key in good form, of an algorithm that nobody knows."""
    der = bytearray(base64.b64decode(public_pem("ec").split(b"-----")[2]))
    der[der.index(bytes.fromhex("06072a8648ce3d0201")) + 8] = 0x66
    return b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(der) + b"-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize(
    ("content", "algorithm"),
    [
        (partial(public_pem, "ec"), "ES256"),
        (partial(public_pem, "rsa"), "RS256"),
        (partial(jwk, "ec"), "ES256"),
        (partial(jwk, "rsa", kid="k1", use="sig", alg="RS256", key_ops=["verify"]), "RS256"),
    ],
)
def test_a_public_key_is_a_pem_or_jwk_file_and_has_one_algorithm(
    content: Callable[[], bytes], algorithm: str, tmp_path: Path
) -> None:
    assert public_key(written(tmp_path / "key", content(), 0o644)).algorithm == algorithm


@pytest.mark.parametrize(
    ("content", "algorithm"),
    [
        (partial(private_pem, "ec"), "ES256"),
        (partial(private_pem, "rsa"), "RS256"),
        (partial(jwk, "ec", private=True), "ES256"),
    ],
)
def test_so_is_a_private_one(content: Callable[[], bytes], algorithm: str, tmp_path: Path) -> None:
    assert private_key(written(tmp_path / "key", content())).algorithm == algorithm


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (bytes, "no key that is usable"),
        (partial(bytes, b"secret"), "no key that is usable"),
        (partial(bytes, 20_000), "no key"),
        (partial(bytes, b"{}"), "no key that is usable"),
        (partial(bytes, b'{"kty":"EC","crv":"P-256"}'), "no key that is usable"),
        (partial(bytes, b'{"kty":"EC","crv":"P-0","x":"AA","y":"AA"}'), "no key that is usable"),
        (partial(bytes, b'{"kty":"oct","k":"c2VjcmV0"}'), "no key that is usable"),
        (partial(bytes, CERTIFICATE), "no key that is usable"),
        (of_another_algorithm, "no key that is usable"),
        (partial(public_pem, "p384"), "ES256 needs P-256"),
        (partial(public_pem, "rsa1024"), "1024 bits; RS256 needs 2048"),
        (partial(jwk, "rsa1024"), "1024 bits; RS256 needs 2048"),
        (partial(jwk, "ec", use="enc"), "does not allow"),
        (partial(jwk, "ec", alg="ES384"), "does not allow"),
        (partial(jwk, "rsa", alg="HS256"), "does not allow"),
        (partial(jwk, "ec", key_ops=["sign"]), "does not allow"),
        (partial(private_pem, "ec"), "private key; configure its public part"),
        (partial(jwk, "ec", private=True), "private key; configure its public part"),
    ],
)
def test_a_file_that_is_something_else_is_refused_by_name(
    content: Callable[[], bytes], problem: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "key", content())
    with pytest.raises(ConfigError, match=problem) as caught:
        public_key(path)
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for read in (public_key, private_key):
        with pytest.raises(ConfigError, match="missing cannot be read: No such file"):
            read(str(tmp_path / "missing"))


def test_a_private_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "key", private_pem("ec"), 0o640)
    with pytest.raises(ConfigError, match="chmod 0600"):
        private_key(path)


def test_signing_needs_a_private_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="signing needs the private one"):
        private_key(written(tmp_path / "key", public_pem("ec")))
