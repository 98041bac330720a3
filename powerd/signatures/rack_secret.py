"""The rack's own secret: with it hosts know each other's states from what anybody else says in their name.

The last member of a state is `"mac"`: HMAC-SHA256 over the topic and every byte before it. So a state stays
JSON that everybody can read, and cannot be changed, made up, or moved to the topic of another host or rack.
What was recorded can be sent again; docs/leases.md says why that is harmless.
"""

import base64
import hmac
from collections.abc import Sequence
from pathlib import Path

from powerd.errors import ConfigError, SignalRejectedError
from powerd.signals.reasons import Reason

MIN_SECRET_BYTES = 32
# One that signs, and those that others may still, or already, sign with.
MAX_SECRETS = 4
_MAX_FILE_BYTES = 4096

# So that no other use of the same secret makes the same code.
_PURPOSE = b"powerd host state v1\n"
_BEFORE, _AFTER = b',"mac":"', b'"}'
_MAC_BYTES = 43
_SEAL_BYTES = len(_BEFORE) + _MAC_BYTES + len(_AFTER)


class RackSecret:
    """Seals the states of this host, and checks those of all.

    Args:
        secrets: the first seals, each of them is taken; none: nothing is sealed, and all is taken.
    """

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        self._secrets = tuple(secrets)

    def sealed(self, topic: str, payload: bytes) -> bytes:
        """Return a payload with its code: a JSON object with one member at least, as it goes to a topic."""
        if not self._secrets:
            return payload
        body = payload.removesuffix(b"}")
        return b"".join((body, _BEFORE, _mac(self._secrets[0], topic, body), _AFTER))

    def check(self, topic: str, payload: bytes, source: str) -> None:
        """Prove that a payload was sealed for this topic.

        Args:
            source: under which refusals are counted.

        Raises:
            SignalRejectedError: it has no code (`unsigned`), or not the right one (`bad_signature`).
        """
        if not self._secrets or not payload:
            return
        body, seal = payload[:-_SEAL_BYTES], payload[-_SEAL_BYTES:]
        if not (seal.startswith(_BEFORE) and seal.endswith(_AFTER)):
            text = 'the state has no "mac"; this host has rack.leases.key_file, and its sender has not'
            raise SignalRejectedError(Reason.UNSIGNED, text, source)
        mac = seal[len(_BEFORE) : -len(_AFTER)]
        # All are compared, so that nothing is told by the time that it takes.
        fits = [hmac.compare_digest(mac, _mac(secret, topic, body)) for secret in self._secrets]
        if not any(fits):
            text = "the state was sealed with another secret, for another topic, or was changed"
            raise SignalRejectedError(Reason.BAD_SIGNATURE, text, source)


NO_SECRET = RackSecret()


def read_rack_secret(file: str) -> RackSecret:
    """Read the secrets of the rack, one a line; no file: a rack without any.

    Raises:
        ConfigError: the file cannot be read, or holds one that is too short. What is in it is not repeated.
    """
    if not file:
        return NO_SECRET
    try:
        raw = Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    secrets = [line.strip() for line in raw.splitlines() if line.strip()]
    if len(raw) > _MAX_FILE_BYTES or not 0 < len(secrets) <= MAX_SECRETS:
        raise ConfigError(f"{file}: holds {len(secrets)} secrets; 1 to {MAX_SECRETS} are usable, one a line")
    if min(map(len, secrets)) < MIN_SECRET_BYTES:
        how = f"openssl rand -base64 {MIN_SECRET_BYTES}"
        raise ConfigError(f"{file}: a secret has less than {MIN_SECRET_BYTES} characters; make one: {how}")
    return RackSecret(secrets)


def _mac(secret: bytes, topic: str, body: bytes) -> bytes:
    code = hmac.digest(secret, b"".join((_PURPOSE, topic.encode(), b"\n", body)), "sha256")
    return base64.urlsafe_b64encode(code).rstrip(b"=")
