"""Signatures: what is taken, and every way in which somebody could try to get something else taken."""

import base64
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from powerd.errors import SignalRejectedError
from powerd.signatures.jws import Signer, TrustedKey, Verifier
from tests.dsx.keys import ISV_SOURCE, made, private_file, public_pem, trusted

WALL_S = 1795280400.0
PAYLOAD = {"targets": [1]}


@pytest.fixture
def verifier(tmp_path: Path) -> Verifier:
    return Verifier({"e1": trusted(tmp_path), "r1": trusted(tmp_path, "rsa")})


def segment(content: object) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(payload: object = PAYLOAD, *, key: str = "ec", **header: object) -> str:
    """Return a good signature over a payload, with a header that may say anything."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    imported: ECKey | RSAKey = (
        RSAKey.import_key(made(key)) if key.startswith("rsa") else ECKey.import_key(made(key))  # type: ignore[arg-type]
    )
    algorithm = "RS256" if key.startswith("rsa") else "ES256"
    protected = {"alg": algorithm, "kid": "r1" if key.startswith("rsa") else "e1", **header}
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    return jws.serialize_compact(protected, raw, imported, registry=registry)


def refusal(verifier: Verifier, token: str, *, signer: str = ISV_SOURCE) -> str:
    with pytest.raises(SignalRejectedError) as caught:
        verifier.payload(token, signer=signer, wall_s=WALL_S, source="dsx:acme")
    assert caught.value.source == "dsx:acme"
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250
    return caught.value.reason


@pytest.mark.parametrize(("kid", "key"), [("e1", "ec"), ("r1", "rsa")])
def test_what_powerd_signs_it_verifies(kid: str, key: str, verifier: Verifier, tmp_path: Path) -> None:
    token = Signer(kid, private_file(tmp_path, key)).sign(b'{"a":1}')
    assert verifier.payload(token, signer=ISV_SOURCE, wall_s=WALL_S) == {"a": 1}


@pytest.mark.parametrize("key", ["ec", "rsa"])
def test_what_others_sign_is_verified_whatever_else_the_header_says(key: str, verifier: Verifier) -> None:
    token = signed(key=key, typ="JWT", iat=1795280000, something_new=True)
    assert verifier.payload(token, signer=ISV_SOURCE, wall_s=WALL_S) == PAYLOAD


def test_a_signature_of_another_key_is_bad(verifier: Verifier) -> None:
    assert refusal(verifier, signed(key="ec2", kid="e1")) == "bad_signature"
    assert refusal(verifier, signed(key="rsa2", kid="r1")) == "bad_signature"


def test_a_changed_payload_header_or_signature_is_bad(verifier: Verifier) -> None:
    header, payload, signature = signed().split(".")
    changed_header = segment({"alg": "ES256", "kid": "e1", "typ": "JOSE"})
    changed_signature = ("A" if signature[0] != "A" else "B") + signature[1:]
    for token in (
        f"{header}.{segment({'targets': [2]})}.{signature}",
        f"{changed_header}.{payload}.{signature}",
        f"{header}.{payload}.{changed_signature}",
        f"{header}.{payload}.{signature[:-4]}",
        f"{header}.{payload}.{'A' * 86}",  # r = s = 0, which some have taken for good
        f"{header}.{payload}.",
        f"{header}..{signature}",
    ):
        assert refusal(verifier, token) == "bad_signature"


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c.d", "*.b.c", "é.b.c", "A.b.c"])
def test_what_is_no_signature_at_all_is_bad(token: str, verifier: Verifier) -> None:
    assert refusal(verifier, token) == "bad_signature"


@pytest.mark.parametrize("kid", ["e2", "", "../../etc/passwd"])
def test_an_unknown_key_is_refused(kid: str, verifier: Verifier) -> None:
    assert refusal(verifier, signed(kid=kid)) == "unknown_kid"


def test_a_signature_that_names_no_key_is_refused(verifier: Verifier) -> None:
    token = f"{segment({'alg': 'ES256'})}.{segment(PAYLOAD)}.{'A' * 86}"
    assert refusal(verifier, token) == "unknown_kid"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "ES384", "PS256", "RS512", "EdDSA"])
def test_no_other_algorithm_is_taken(algorithm: str, verifier: Verifier) -> None:
    for signature in ("", "A" * 86):
        token = f"{segment({'alg': algorithm, 'kid': 'e1'})}.{segment(PAYLOAD)}.{signature}"
        assert refusal(verifier, token) == "algorithm"


@pytest.mark.parametrize(("kid", "key"), [("e1", "ec"), ("r1", "rsa")])
def test_a_public_key_is_no_shared_secret(kid: str, key: str, verifier: Verifier) -> None:
    """Whoever knows it could otherwise sign with HS256, and everybody knows it."""
    signing = f"{segment({'alg': 'HS256', 'kid': kid})}.{segment(PAYLOAD)}"
    mac = hmac.new(public_pem(key), signing.encode(), hashlib.sha256).digest()
    assert refusal(verifier, f"{signing}.{segment(mac)}") == "algorithm"


def test_a_key_is_used_with_its_own_algorithm_only(verifier: Verifier) -> None:
    assert refusal(verifier, signed(key="ec", kid="r1")) == "algorithm"
    assert refusal(verifier, signed(key="rsa", kid="e1")) == "algorithm"


@pytest.mark.parametrize("extension", [{"crit": ["exp"], "exp": 1}, {"b64": True}, {"b64": False}])
def test_extensions_that_powerd_does_not_know_are_refused(
    extension: dict[str, object], verifier: Verifier
) -> None:
    token = f"{segment({'alg': 'ES256', 'kid': 'e1', **extension})}.{segment(PAYLOAD)}.{'A' * 86}"
    assert refusal(verifier, token) == "algorithm"


def test_keys_that_the_message_brings_along_are_not_looked_at(verifier: Verifier) -> None:
    own = ECKey.import_key(made("ec2")).as_dict()  # type: ignore[arg-type] # it is an EC key
    assert refusal(verifier, signed(key="ec2", jwk=own)) == "bad_signature"


def test_nobody_signs_for_somebody_else(tmp_path: Path) -> None:
    """The infrastructure agent has a key too, and must not set load targets with it."""
    key = trusted(tmp_path)
    verifier = Verifier({"e1": TrustedKey(key.file, "//grid/v1/infra/ima-prod")})
    assert refusal(verifier, signed()) == "source"


@pytest.mark.parametrize("where", ["header", "payload"])
def test_a_signature_expires_when_it_says_so_give_or_take_half_a_minute(
    where: str, verifier: Verifier
) -> None:
    def token(exp: object) -> str:
        return signed(exp=exp) if where == "header" else signed(PAYLOAD | {"exp": exp})

    assert refusal(verifier, token(WALL_S - 30.1)) == "expired"
    assert refusal(verifier, token("soon")) == "type"
    assert verifier.payload(token(WALL_S - 30), signer=ISV_SOURCE, wall_s=WALL_S)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"[]", "not_object"),
        (b'{"a":1,"a":2}', "duplicate_key"),
        (b'{"a":NaN}', "not_finite"),
        (b"\xff", "encoding"),
        (b"{", "json"),
        (b"[" * 20 + b"]" * 20, "too_deep"),
    ],
)
def test_what_was_signed_is_read_as_strictly_as_all_else(
    payload: bytes, reason: str, verifier: Verifier
) -> None:
    assert refusal(verifier, signed(payload)) == reason


def test_a_header_that_says_one_thing_twice_is_refused(verifier: Verifier) -> None:
    header = segment(b'{"alg":"ES256","kid":"e1","kid":"r1"}')
    assert refusal(verifier, f"{header}.{segment(PAYLOAD)}.{'A' * 86}") == "duplicate_key"
