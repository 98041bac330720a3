"""Keys that sign and verify: PEM or JWK files, read once, for ES256 and RS256 alone.

Invariant: a key that was loaded has exactly one algorithm, and is strong enough for it. A file that holds
something else (a private key where a public one belongs, a certificate, a shared secret) is an error.
"""

import warnings
from pathlib import Path
from typing import NamedTuple, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, RSAKey

from powerd.errors import ConfigError, SignalRejectedError
from powerd.files.secret_file import problem_of_secret
from powerd.signals import strict_json

MIN_RSA_BITS = 2048

JoseKey: TypeAlias = ECKey | RSAKey

_MAX_BYTES = 16 * 1024
# What the libraries raise at a file that holds no key, or a strange one.
_UNUSABLE = (
    *(JoseError, UnsupportedAlgorithm, SignalRejectedError),
    *(ValueError, TypeError, KeyError, AttributeError),
)


class Key(NamedTuple):
    """A key and the one algorithm that it is used with."""

    algorithm: str
    key: JoseKey


def public_key(path: str) -> Key:
    """Read the key that somebody's signatures are verified with.

    Raises:
        ConfigError: the file cannot be read, or holds no such key.
    """
    key = _read(path)
    if key.key.is_private:
        raise ConfigError(f"{path}: holds a private key; configure its public part, and keep this one secret")
    return key


def private_key(path: str) -> Key:
    """Read the key that powerd signs with.

    Raises:
        ConfigError: the file cannot be read, is open to others than its owner, or holds no such key.
    """
    if problem := problem_of_secret(path):
        raise ConfigError(problem)
    key = _read(path)
    if not key.key.is_private:
        raise ConfigError(f"{path}: holds a public key; signing needs the private one")
    return key


def _read(path: str) -> Key:
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path}: has {len(raw)} bytes, which is no key")
    # Nothing of what the libraries say is passed on: it could hold parts of a secret.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # of RSA keys, whose size is judged below
            key = _jwk(raw) if raw.lstrip().startswith(b"{") else _pem(raw)
    except _UNUSABLE:
        key = None
    if key is None:
        raise ConfigError(f"{path}: holds no key that is usable: give an EC P-256 or RSA key as PEM or JWK")
    return _judged(path, key)


def _pem(raw: bytes) -> JoseKey | None:
    if b"-----BEGIN" not in raw or b"CERTIFICATE" in raw:
        return None
    try:
        return ECKey.import_key(raw)
    except JoseError:
        return RSAKey.import_key(raw)


def _jwk(raw: bytes) -> JoseKey | None:
    fields = {name: value for name, value in strict_json.loads(raw).items() if isinstance(value, str | list)}
    match fields.get("kty"):
        case "EC":
            return ECKey.import_key(fields)
        case "RSA":
            return RSAKey.import_key(fields)
        case _:
            return None


def _judged(path: str, key: JoseKey) -> Key:
    if isinstance(key, ECKey):
        if key.curve_name != "P-256":
            raise ConfigError(f"{path}: an EC key on curve {key.curve_name}; ES256 needs P-256")
        algorithm = "ES256"
    else:
        bits = key.public_key.key_size
        if bits < MIN_RSA_BITS:
            raise ConfigError(f"{path}: an RSA key of {bits} bits; RS256 needs {MIN_RSA_BITS} at least")
        algorithm = "RS256"
    operation = "sign" if key.is_private else "verify"
    try:
        key.check_use("sig")
        key.check_alg(algorithm)
        key.check_key_op(operation)
    except JoseError as error:
        raise ConfigError(f"{path}: its JWK does not allow it to {operation} {algorithm}") from error
    return Key(algorithm, key)
