"""What messages of every kind are put through: bad fields, damage, their schema against their parser."""

import json
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, Final, TypeVar

import pytest
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from powerd.errors import SignalRejectedError

Read = TypeVar("Read")

ABSENT: Final = object()

SCHEMAS: Final = {
    path.name.removesuffix(".json"): json.loads(path.read_text("utf-8"))
    for path in (resources.files("powerd.signals") / "schemas").iterdir()
}
VALIDATORS: Final = {name: Draft202012Validator(schema) for name, schema in SCHEMAS.items()}

# What may stand in the place of any field.
SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**64),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=140),
)


def encoded(fields: object) -> bytes:
    return json.dumps(fields).encode()


def changed(good: Mapping[str, Any], **changes: object) -> dict[str, Any]:
    """Return a good message with some fields changed, or left out where `ABSENT`."""
    return {name: value for name, value in ({**good} | changes).items() if value is not ABSENT}


def changed_at(good: object, path: str, value: object) -> dict[str, Any]:
    """Return a good message with one field changed, or left out where `ABSENT`; of arrays in the first."""
    fields: dict[str, Any] = json.loads(encoded(good))
    holder: Any = fields
    *above, name = path.split(".")
    for step in above:
        holder = holder[step][0] if isinstance(holder[step], list) else holder[step]
    holder[name] = value
    if value is ABSENT:
        del holder[name]
    return fields


def refusal(parse: Callable[[], object]) -> SignalRejectedError:
    """Return why something is refused, which is one short line."""
    with pytest.raises(SignalRejectedError) as caught:
        parse()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250
    return caught.value


def accepted(parse: Callable[[], Read]) -> Read | None:
    """Return what is read; None if it is refused. Any other exception is passed on."""
    try:
        read = parse()
    except SignalRejectedError:
        return None
    assert read is not None
    return read


def check_agreement(
    validator: Draft202012Validator, fields: object, parse: Callable[[bytes], object], beyond: set[str]
) -> None:
    """Prove that a schema and a parser agree on a message.

    Args:
        beyond: reasons to refuse a message that no schema can know. Nor can it tell surrogates.
    """
    try:
        parse(encoded(fields))
        reason = ""
    except SignalRejectedError as error:
        reason = error.reason
    if reason not in {*beyond, "surrogate"}:
        assert validator.is_valid(fields) == (reason == "")


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Return a payload with some of its bytes flipped, cut or repeated."""
    payload = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(payload) - 1))
        payload[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(payload)
