"""Keys for tests, made anew in each run."""

import functools
import json
import os
import warnings
from pathlib import Path
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, RSAKey

from powerd.signatures.jws import TrustedKey

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

ISV = "acme-energy"
ISV_SOURCE = f"//grid/v1/isv/{ISV}"
INFRA_SOURCE = "//grid/v1/infra/ima-prod"


@functools.cache
def made(name: str) -> PrivateKey:
    """Return a key by name: the same one each time. `rsa…` and `rsa1024` are RSA keys, `p384` is on P-384."""
    if name.startswith("rsa"):
        return rsa.generate_private_key(65537, 1024 if name == "rsa1024" else 2048)
    return ec.generate_private_key(ec.SECP384R1() if name == "p384" else ec.SECP256R1())


def private_pem(name: str) -> bytes:
    return made(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(name: str) -> bytes:
    return made(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk(name: str, *, private: bool = False, **fields: object) -> bytes:
    key = made(name)
    with warnings.catch_warnings(action="ignore", category=SecurityWarning):  # one is made too short
        imported = RSAKey.import_key(key) if isinstance(key, rsa.RSAPrivateKey) else ECKey.import_key(key)
    return json.dumps({**imported.as_dict(private=private), **fields}).encode()


def written(path: Path, content: bytes, mode: int = 0o600) -> str:
    """Write a key file, and return its path."""
    path.write_bytes(content)
    os.chmod(path, mode)  # noqa: PTH101 - as an operator would
    return str(path)


def trusted(directory: Path, name: str = "ec", source: str = ISV_SOURCE) -> TrustedKey:
    """Write a public key, and return it as configured."""
    return TrustedKey(written(directory / f"{name}.pem", public_pem(name), 0o644), source)


def private_file(directory: Path, name: str = "ec") -> str:
    """Write a private key, and return its path."""
    return written(directory / f"{name}.key", private_pem(name))
