"""Signed payloads: JWS in compact serialisation (RFC 7515), with ES256 or RS256 and a key named by `kid`.

The header is written by whoever sent the message, so it chooses nothing but the key: the algorithm is the
key's own. So neither `alg: none` nor a public key used as a shared secret gets anywhere.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode

from powerd.errors import SignalRejectedError
from powerd.signals import strict_json
from powerd.signals.fields import Fields, printable
from powerd.signals.reasons import Reason
from powerd.signals.strict_json import JsonObject
from powerd.signatures.keys import Key, private_key, public_key

# Of a kid or an algorithm.
MAX_NAME_CHARACTERS = 128
# How far the clocks of signer and verifier may be apart when a signature expires.
LEEWAY_S = 30.0

_ALGORITHMS = ("ES256", "RS256")
# A JWS header may hold what its receiver does not know (RFC 7515, 4); what it must know stands in `crit`.
_REGISTRIES = {name: jws.JWSRegistry(algorithms=[name], strict_check_header=False) for name in _ALGORITHMS}


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A key that signatures are verified with, and whose it is.

    Attributes:
        file: public key, PEM or JWK.
        source: who signs with it, as messages name it: in CloudEvents `//grid/v1/isv/acme-energy`, in budgets
            `facility-a`. It signs for nobody else.
    """

    file: str
    source: str


class Signed(NamedTuple):
    """What a signature proves.

    Attributes:
        raw: what was signed, byte for byte.
        fields: the same, read.
        signer: whose key it was, as in `TrustedKey.source`.
    """

    raw: bytes
    fields: JsonObject
    signer: str


class Verifier:
    """Verifies signed payloads.

    Args:
        keys: by `kid`; read once.

    Raises:
        ConfigError: a key file cannot be used.
    """

    def __init__(self, keys: Mapping[str, TrustedKey]) -> None:
        self._keys = {kid: (public_key(each.file), each.source) for kid, each in keys.items()}

    def payload(self, token: str, *, signer: str, wall_s: float, source: str = "unknown") -> JsonObject:
        """Return what was signed by somebody who is known from elsewhere.

        Args:
            token: the compact serialisation.
            signer: who must have signed, as in `TrustedKey.source`.
            wall_s: to judge by whether the signature has expired (`exp` in the header or the payload).
            source: under which refusals are counted.

        Raises:
            SignalRejectedError: as by `verified`, or it is somebody else's.
        """
        signed = self.verified(token, wall_s=wall_s, source=source)
        if signed.signer != signer:
            text = f"signed with the key of {signed.signer}, but sent as {printable(signer)}"
            raise SignalRejectedError(Reason.SOURCE, text, source)
        return signed.fields

    def verified(self, token: str, *, wall_s: float, source: str = "unknown") -> Signed:
        """Return what was signed, and by whom; arguments as of `payload`.

        Raises:
            SignalRejectedError: the signature is not good or has expired, or what was signed is not a JSON
                object.
        """
        header = Fields(_header(token, source), source)
        key, owner = self._key(header)
        try:
            signed = jws.deserialize_compact(token, key.key, registry=_REGISTRIES[key.algorithm])
        except (JoseError, ValueError, TypeError):
            header.refuse(Reason.BAD_SIGNATURE, "the signature does not fit the payload and the key")
        fields = _object(signed.payload, source)
        for each in (header, Fields(fields, source)):
            _check_expiry(each, wall_s)
        return Signed(signed.payload, fields, owner)

    def _key(self, header: Fields) -> tuple[Key, str]:
        """Return the key that the header names, if it is to be used as the header says."""
        algorithm = header.text("alg", MAX_NAME_CHARACTERS)
        if algorithm not in _REGISTRIES:
            header.refuse(Reason.ALGORITHM, f'alg is "{algorithm}", not one of {", ".join(_REGISTRIES)}')
        for name in ("crit", "b64"):
            if header.has(name):
                header.refuse(Reason.ALGORITHM, f"{name} asks for an extension that powerd does not know")
        if not header.has("kid"):
            header.refuse(Reason.UNKNOWN_KID, "the signature does not say by kid with which key it was made")
        kid = header.text("kid", MAX_NAME_CHARACTERS)
        found = self._keys.get(kid)
        if found is None:
            header.refuse(Reason.UNKNOWN_KID, f'no key is configured for kid "{kid}"')
        if found[0].algorithm != algorithm:
            text = f'alg is "{algorithm}"; the key of kid "{kid}" is for {found[0].algorithm}'
            header.refuse(Reason.ALGORITHM, text)
        return found


class Signer:
    """Signs payloads.

    Args:
        kid: under which the other side knows the public key.
        file: private key, PEM or JWK, for its owner alone.

    Raises:
        ConfigError: the key file cannot be used.
    """

    def __init__(self, kid: str, file: str) -> None:
        self._key = private_key(file)
        self._header = {"alg": self._key.algorithm, "kid": kid}

    def sign(self, payload: bytes) -> str:
        """Return the payload and its signature in compact serialisation."""
        registry = _REGISTRIES[self._key.algorithm]
        return jws.serialize_compact(dict(self._header), payload, self._key.key, registry=registry)


def _header(token: str, source: str) -> JsonObject:
    segments = token.split(".")
    if len(segments) != 3:  # noqa: PLR2004 - header, payload, signature
        raise SignalRejectedError(Reason.BAD_SIGNATURE, "data is not header.payload.signature", source)
    try:
        raw = urlsafe_b64decode(segments[0].encode())
    except ValueError:
        raise SignalRejectedError(
            Reason.BAD_SIGNATURE, "the header of the signature is not base64url", source
        ) from None
    return _object(raw, source)


def _object(raw: bytes, source: str) -> JsonObject:
    try:
        return strict_json.loads(raw)
    except SignalRejectedError as error:
        raise SignalRejectedError(error.reason, f"what was signed: {error}", source) from None


def _check_expiry(fields: Fields, wall_s: float) -> None:
    if fields.has("exp") and fields.number("exp", 0, math.inf) + LEEWAY_S < wall_s:
        fields.refuse(Reason.EXPIRED, "exp is past: the signature has expired")
