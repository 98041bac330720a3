"""A message that may be signed: the JWS in compact serialisation in the place of the plain object.

What stands for nothing but itself is told from what is signed by its first bytes: no JSON begins like that.
"""

import base64
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, Protocol

from powerd.errors import SignalRejectedError
from powerd.signals.reasons import Reason
from powerd.signals.strict_json import MAX_BYTES

# A header in base64url: an object whose first member follows at once, or after white space.
_HEADERS = (b"ey", b"ew")


def content(payload: bytes) -> bytes:
    """Return the plain object in a message, whoever has signed it: for what is looked at and not obeyed."""
    if not payload.startswith(_HEADERS):
        return payload
    middle = b"".join(payload.split(b".")[1:2])
    try:
        return base64.urlsafe_b64decode(middle + b"=" * (-len(middle) % 4))
    except ValueError:
        return b""


class KeyEntry(Protocol):
    """A key as it is configured."""

    @property
    def file(self) -> str:
        """Return its file."""

    @property
    def source(self) -> str:
        """Return who signs with it."""


class Opened(NamedTuple):
    """What was in a message.

    Attributes:
        raw: the plain object, in bytes.
        signer: who has signed it; None if nobody has.
    """

    raw: bytes
    signer: str | None


class Envelopes:
    """Opens messages, and says who signed them.

    Args:
        keys: by `kid`; read once.
        table: of the configuration that they stand in, for people.

    Attributes:
        signers: all who have a key.

    Raises:
        ConfigError: a key file cannot be used.
    """

    def __init__(self, keys: Mapping[str, KeyEntry], table: str) -> None:
        self._table = table
        self._verified = _verifier(keys) if keys else None
        self.signers: Collection[str] = frozenset(entry.source for entry in keys.values())

    def open(self, payload: bytes, wall_s: float) -> Opened:
        """Return what is in a message.

        Args:
            wall_s: to judge by whether a signature has expired.

        Raises:
            SignalRejectedError: it is signed, and the signature is not good.
        """
        if not payload.startswith(_HEADERS):
            return Opened(payload, None)
        if len(payload) > MAX_BYTES:
            text = f"payload has {len(payload)} bytes, more than {MAX_BYTES}"
            raise SignalRejectedError(Reason.TOO_LARGE, text)
        if self._verified is None:
            raise SignalRejectedError(Reason.UNKNOWN_KID, f"it is signed, and {self._table} has no key")
        try:
            token = payload.decode("ascii").rstrip()
        except UnicodeDecodeError:
            raise SignalRejectedError(Reason.BAD_SIGNATURE, "it is not header.payload.signature") from None
        return self._verified(token, wall_s)


# Where nobody has a key.
PLAIN = Envelopes({}, "the configuration")


def _verifier(keys: Mapping[str, KeyEntry]) -> Callable[[str, float], Opened]:
    from powerd.signatures.jws import TrustedKey, Verifier  # noqa: PLC0415 - for those who need it: large

    verifier = Verifier({kid: TrustedKey(entry.file, entry.source) for kid, entry in keys.items()})

    def verified(token: str, wall_s: float) -> Opened:
        signed = verifier.verified(token, wall_s=wall_s)
        return Opened(signed.raw, signed.signer)

    return verified
