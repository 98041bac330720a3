"""Forged budgets and states: every way that we know to get something taken that was not said."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from joserfc import jws
from joserfc.jwk import ECKey

from powerd.signatures.jws import Signer
from tests.dsx.keys import made, private_pem, public_pem, written

SOURCE, OTHER_SOURCE = "facility-a", "facility-b"
KID, OTHER_KID = "facility-2026", "other-2026"
# Names of keys in tests.dsx.keys.
KEY, OTHER_KEY, OWN_KEY = "facility", "other", "mallory"

SECRET: Final = b"a secret of the rack, which nobody else has got to know"
RETIRED_SECRET: Final = b"the secret that this rack had before, now with the press"

_ES256 = {"alg": "ES256", "kid": KID}


def configured_keys(directory: Path) -> dict[str, dict[str, str]]:
    """Write the public keys, and return `[signals.native.keys]`."""
    return {
        kid: {"file": written(directory / f"{name}.pem", public_pem(name), 0o644), "source": source}
        for kid, name, source in ((KID, KEY, SOURCE), (OTHER_KID, OTHER_KEY, OTHER_SOURCE))
    }


def facility_signer(directory: Path) -> Signer:
    """Return what the facility signs with."""
    return Signer(KID, written(directory / "facility.key", private_pem(KEY)))


def encoded(message: Mapping[str, Any]) -> bytes:
    """Return a message as it is published."""
    return json.dumps(message).encode()


def content(token: bytes) -> dict[str, Any]:
    """Return what was signed, whoever has signed it."""
    payload = token.split(b".")[1]
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    return decoded


def segment(content: object) -> str:
    """Return one part of a JWS."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(raw: bytes, key: str = KEY, **header: object) -> str:
    """Return a good signature of any of the keys, under a header that may say anything."""
    imported = ECKey.import_key(made(key))  # type: ignore[arg-type] # it is an EC key
    registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    return jws.serialize_compact({**_ES256, **header}, raw, imported, registry=registry)


def without_signature(raw: bytes, signature: str = "", **header: object) -> str:
    """Return a JWS with any header, and no signature, or one that was not computed."""
    return f"{segment({**_ES256, **header})}.{segment(raw)}.{signature}"


def by_public_key(raw: bytes) -> str:
    """Return a JWS with the facility's public key, which everybody knows, as the shared secret of HS256."""
    signing = f"{segment({'alg': 'HS256', 'kid': KID})}.{segment(raw)}"
    mac = hmac.new(public_pem(KEY), signing.encode(), hashlib.sha256).digest()
    return f"{signing}.{segment(mac)}"


def budgets(message: Mapping[str, Any], genuine: str) -> dict[str, tuple[bytes, str]]:
    """Return forgeries of a budget by what they are, each with why it is refused.

    Args:
        message: what the forger wants to be believed.
        genuine: a message that the facility has signed, of another content.
    """
    raw = json.dumps(message).encode()
    header, payload, signature = genuine.split(".")
    other_header = segment({**_ES256, "x": 1})
    own_key = ECKey.import_key(made(OWN_KEY)).as_dict()  # type: ignore[arg-type]
    forged = {
        "a key of one's own": (signed(raw, OWN_KEY), "bad_signature"),
        "a key that the message brings along": (signed(raw, OWN_KEY, jwk=own_key), "bad_signature"),
        "a key to be fetched": (signed(raw, OWN_KEY, jku="http://127.0.0.1/keys"), "bad_signature"),
        "a signature of something else": (f"{header}.{segment(raw)}.{signature}", "bad_signature"),
        "a header of something else": (f"{other_header}.{payload}.{signature}", "bad_signature"),
        "no signature": (without_signature(raw), "bad_signature"),
        "a signature of zeros": (without_signature(raw, "A" * 86), "bad_signature"),
        "a payload that is elsewhere": (f"{header}..{signature}", "bad_signature"),
        "two in one": (f"{genuine}.{genuine}", "bad_signature"),
        "not ASCII": (f"{genuine}é", "bad_signature"),
        "no key named": (f"{segment({'alg': 'ES256'})}.{segment(raw)}.{signature}", "unknown_kid"),
        "an unknown key": (signed(raw, OWN_KEY, kid="mallory-1"), "unknown_kid"),
        "a path as a key": (signed(raw, OWN_KEY, kid="../../../dev/null"), "unknown_kid"),
        "a query as a key": (signed(raw, OWN_KEY, kid="x' OR '1'='1"), "unknown_kid"),
        "a key with a NUL": (signed(raw, OWN_KEY, kid=f"{KID}\0"), "unknown_kid"),
        "alg none": (without_signature(raw, alg="none"), "algorithm"),
        "alg nOnE": (without_signature(raw, "A" * 86, alg="nOnE"), "algorithm"),
        "alg HS256": (by_public_key(raw), "algorithm"),
        "alg RS256": (without_signature(raw, signature, alg="RS256"), "algorithm"),
        "an extension": (without_signature(raw, signature, crit=["b64"], b64=False), "algorithm"),
        "the key of another source": (signed(raw, OTHER_KEY, kid=OTHER_KID), "source"),
        "another rack's": (signed(json.dumps({**message, "rack": "r18"}).encode()), "rack"),
        "expired": (signed(raw, exp=1), "expired"),
        "signed twice": (signed(genuine.encode()), "json"),
        "signed by nobody who counts": (json.dumps({**message, "source": "mallory"}), "source"),
        "JWS in JSON": (json.dumps({"payload": payload, "signatures": []}), "missing"),
        "too large": (signed(raw + b" " * 50_000), "too_large"),
    }
    return {name: (text.encode(), reason) for name, (text, reason) in forged.items()}


def states(sealed: bytes, plain: bytes, topic: str, other_topic: str) -> dict[str, tuple[bytes, str]]:
    """Return forgeries of a host's state by what they are, each with why it is refused.

    Args:
        sealed: a state as its host has published it on `topic`.
        plain: what the forger wants to be believed there, an object without a code.
        other_topic: of another host.
    """
    body, mac = sealed[:-53], sealed[-53:]
    code = mac[8:-2]
    of_nobody = _with(plain, _code(b"x" * 32, topic, plain[:-1]))
    return {
        "no code": (plain, "unsigned"),
        "an empty code": (plain[:-1] + b',"mac":""}', "unsigned"),
        "another secret": (of_nobody, "bad_signature"),
        "a retired secret": (_with(plain, _code(RETIRED_SECRET, topic, plain[:-1])), "bad_signature"),
        "no secret": (_with(plain, _code(b"", topic, plain[:-1])), "bad_signature"),
        "a code of something else": (_with(plain, code), "bad_signature"),
        "a code for another topic": (_with(plain, _code(SECRET, other_topic, plain[:-1])), "bad_signature"),
        "a code without a topic": (_with(plain, _plain_code(plain[:-1])), "bad_signature"),
        "something added": (body + b',"x":1' + mac, "bad_signature"),
        "something after": (sealed + b" ", "unsigned"),
        "a code not at the end": (b'{"mac":"' + code + b'",' + plain[1:], "unsigned"),
        "a code with padding": (body + b',"mac":"' + code + b'="}', "unsigned"),
        "a code in hex": (body + b',"mac":"' + b"ab" * 32 + b'"}', "unsigned"),
        "white space": (body + b', "mac":"' + code + b'"}', "unsigned"),
    }


def _with(plain: bytes, code: bytes) -> bytes:
    return plain[:-1] + b',"mac":"' + code + b'"}'


def _code(secret: bytes, topic: str, body: bytes) -> bytes:
    """Return the code of docs/signals.md, worked out here by hand."""
    message = b"powerd host state v1\n" + topic.encode() + b"\n" + body
    return segment(hmac.new(secret, message, hashlib.sha256).digest()).encode()


def _plain_code(body: bytes) -> bytes:
    return segment(hmac.new(SECRET, body, hashlib.sha256).digest()).encode()
