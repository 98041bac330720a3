"""Who looks for mistakes must be able to find some: parsers are broken on purpose, and each oracle tells."""

import json
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import pytest

from powerd.core.rack import admission
from powerd.errors import SignalRejectedError
from powerd.guard.keeper import Keeper
from powerd.openadr import durations
from powerd.settings import loading
from powerd.signals import rfc3339, strict_json
from powerd.signals.fields import Fields
from powerd.signatures.jws import Verifier
from tests.fuzz.brief import inputs, tried
from tests.fuzz.registry import TARGETS
from tests.fuzz.targets import hand
from tests.fuzz.targets import native as messages

# So many inputs suffice for each of these mistakes.
RUNS = 3000


def missing_is_null(read: Callable[..., Any]) -> Callable[..., Any]:
    def is_null(fields: Fields, name: str) -> bool:
        return not fields.has(name) or read(fields, name)

    return is_null


def text_is_zero(read: Callable[..., Any]) -> Callable[..., Any]:
    def number(fields: Fields, name: str) -> Any:
        try:
            return read(fields, name)
        except SignalRejectedError:
            return 0

    return number


def plain_json(_: Callable[..., Any]) -> Callable[..., Any]:
    def loads(payload: bytes) -> Any:
        try:
            return json.loads(payload)
        except (ValueError, RecursionError):
            raise SignalRejectedError("json", "no JSON") from None

    return loads


def naive_is_utc(read: Callable[[str], float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            return read(text)
        except ValueError:
            return read(f"{text}Z")

    return parse


def any_levels(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda pattern, topic: fnmatchcase(topic, pattern.replace("+", "*").replace("#", "*"))


def trusting(_: Callable[..., Any]) -> Callable[..., Any]:
    """Take a signature for good that is not looked at."""
    from joserfc.util import urlsafe_b64decode  # noqa: PLC0415

    from powerd.signatures.jws import Signed  # noqa: PLC0415

    def verified(_self: Verifier, token: str, *, wall_s: float, source: str = "unknown") -> Signed:
        try:
            raw = urlsafe_b64decode(token.split(".")[1].encode())
            return Signed(raw, strict_json.loads(raw), "facility-a")
        except (ValueError, IndexError):
            raise SignalRejectedError("bad_signature", "no token") from None

    return verified


def never_over(read: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: 1e9 if read(*arguments) else 0.0


def anybody(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _self, _token: None


def unlooked(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda value: value


def in_twelfths(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        duration = read(text)
        return replace(duration, months=0, seconds=duration.seconds + 30 * 86400 * duration.months)

    return parse


def unproven(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _path, _settings: None


@pytest.mark.parametrize(
    ("target", "holder", "name", "broken"),
    [
        ("budget", Fields, "is_null", missing_is_null),
        ("budget", Fields, "_number", text_is_zero),
        ("host_state", Fields, "is_null", missing_is_null),
        ("grid_event", Fields, "_number", text_is_zero),
        ("json_object", strict_json, "loads", plain_json),
        ("time_stamp", rfc3339, "parse", naive_is_utc),
        ("topic", messages, "matches", any_levels),
        ("signature", Verifier, "verified", trusting),
        ("signed_message", Verifier, "verified", trusting),
        ("message_sequence", admission, "_lease_s", never_over),
        ("message_sequence", Fields, "_number", text_is_zero),
        ("guard_requests", Keeper, "_check_token", anybody),
        ("status_screen", hand, "_harmless", unlooked),
        ("vtn_duration", durations, "parse", in_twelfths),
        ("settings", loading, "prove", unproven),
    ],
)
def test_a_mistake_is_found(
    target: str, holder: Any, name: str, broken: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    TARGETS[target].load()  # whole, before anything is broken: what it imports stays as it is
    monkeypatch.setattr(holder, name, broken(getattr(holder, name)))
    with pytest.raises(AssertionError, match=target):
        tried(TARGETS[target], RUNS)


def test_where_there_is_no_atheris_seeded_mutations_are_tried_instead() -> None:
    target = TARGETS["budget"]
    assert tried(target, 500) == 500
    assert len(set(inputs(target, 500))) > 300, "most of them differ"
    assert list(inputs(target, 500)) == list(inputs(target, 500)), "and are the same each time"
