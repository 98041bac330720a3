"""What holds for everything that is read: how it is refused, and what a fair reader would have read."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn, TypeVar

from powerd.errors import SignalRejectedError

Read = TypeVar("Read")

# Of a refusal: it goes into logs and notices as it is.
MAX_TEXT_CHARACTERS = 300
# What is written is at most this much off what was said: half a milliwatt, or one where rounding is down.
_ROUNDING_MW = Decimal("1.01")


def accepted(
    read: Callable[[], Read],
    refusal: type[Exception] | tuple[type[Exception], ...] = SignalRejectedError,
    most_characters: int = MAX_TEXT_CHARACTERS,
) -> Read | None:
    """Return what is read, None if it is refused as it should be; any other exception is a finding."""
    try:
        return read()
    except refusal as error:
        check_lines(str(error), most_characters)
        return None


def check_lines(text: str, most_characters: int = MAX_TEXT_CHARACTERS) -> None:
    """Prove that a text can be shown and logged line by line."""
    assert text, "nothing is said"
    for line in text.split("\n"):
        check_line(line, most_characters)


def check_line(text: str, most_characters: int = MAX_TEXT_CHARACTERS) -> None:
    """Prove that a text is one line, not long, that no terminal acts upon."""
    assert text.isprintable(), f"not printable: {text!a}"
    assert len(text) <= most_characters, f"{len(text)} characters: {text[:100]}"


def fair(payload: bytes) -> Any:
    """Return what the standard library reads from JSON, numbers with a fraction as they were written.

    Raises:
        ValueError: it is no JSON, or a key is there twice.
    """
    return json.loads(
        payload.decode(), parse_float=_exact, parse_constant=_no_number, object_pairs_hook=_unique
    )


def check_mw(mw: int | None, said: Any, mw_per_unit: int = 1000) -> None:
    """Prove that a power is what the JSON says: None for null alone, 0 for 0 alone, never below."""
    if said is None or mw is None:
        assert mw is None
        assert said is None
        return
    assert type(mw) is int
    assert type(said) in (int, Decimal), f"{said!a} is no number"
    assert mw >= 0
    assert abs(mw - Decimal(said) * mw_per_unit) < _ROUNDING_MW, f"{mw} mW of {said}"
    assert mw > 0 or Decimal(said) * mw_per_unit < 1


def check_finite(found: object, at: str = "") -> None:
    """Prove that no number in a record, or in anything that it holds, is infinite or none."""
    if isinstance(found, float):
        assert math.isfinite(found), f"{at} is {found}"
    elif is_dataclass(found):
        for field in fields(found):
            check_finite(getattr(found, field.name), f"{at}.{field.name}")
    elif isinstance(found, dict):
        for key, value in found.items():
            check_finite(value, f"{at}.{key}")
    elif isinstance(found, tuple | list | frozenset):
        for index, value in enumerate(found):
            check_finite(value, f"{at}[{index}]")


def check_texts(texts: Sequence[str], most_characters: int) -> None:
    """Prove that texts out of a message can be shown."""
    for text in texts:
        check_line(text, most_characters)


def _exact(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # its exponent is beyond all bounds
        return Decimal(float(text))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key is there twice")
    return dict(pairs)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
