"""Mutations that keep the form of an input: of JSON any value, key or number, of lines any line.

What a search by coverage cannot see is that bytes are JSON: flipped bits rarely are. So half of all inputs
are changed value by value, with words that the seeds of the target use.
"""

import copy
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tests.fuzz.registry import Form, Target

# What parsers trip over, wherever it stands.
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -0.0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**300),
    *(0.1, 1e-9, 5e-324, 1e22, 1.7976931348623157e308, -1e308, float("inf"), float("-inf"), float("nan")),
    *(
        "",
        " ",
        "0",
        "null",
        "-1",
        "1e999",
        "\0",
        "\x1b[31m\x07",
        "\n",
        "\u2028",
        "\ud800",
        "\u202e",
        "é" * 65,
    ),
    *(
        [],
        {},
        [None],
        [[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]],
        {"": 0},
        "x" * 129,
        "é" * 65,
        "[bold]x[/bold]",
        "[/]",
    ),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999999-23:59", "2026-11-21T17:00:00"),
    *("P9999Y", "-P1M", "PT0S", "PT0.000001S", "../..", "GPU-0", "+", "#", "a/b"),
)


_MARKS = b"0123456789.,:;+-/#$@ \"'[]{}()\\%=_*~eETZPuxnN\n\r\t\x00\x1b"


class Words(NamedTuple):
    """What the seeds of a target are made of."""

    keys: Sequence[str]
    values: Sequence[Any]

    @classmethod
    def of(cls, seeds: Sequence[bytes]) -> "Words":
        """Collect them."""
        keys: dict[str, None] = {}
        values: list[Any] = list(_ODD)
        for line in (part for seed in seeds for part in (seed, *seed.split(b"\n"))):
            for holder, key in _places(_parsed(line)):
                if isinstance(holder, dict):
                    keys[key] = None
                values.append(holder[key])
        return cls(tuple(keys) or ("a",), values)


def mutated(data: bytes, target: Target, words: Words, rng: random.Random) -> bytes:
    """Return an input that differs from `data` in one to four places, as long as the target allows."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        try:
            data = _step(data, target.form, words, rng)
        except RecursionError:  # it nests too deeply to be handled as JSON
            data = _in_bytes(data, rng)
    return data[: target.max_bytes]


def _step(data: bytes, form: Form, words: Words, rng: random.Random) -> bytes:
    if form is Form.LINES and rng.random() < 0.9:
        return _in_lines(data, words, rng)
    if form is Form.JSON and rng.random() < 0.9:
        return _in_json(data, words, rng)
    return _in_bytes(data, rng)


def _in_json(data: bytes, words: Words, rng: random.Random) -> bytes:
    tree = _parsed(data)
    places = list(_places(tree))
    if not places:
        return _in_bytes(data, rng)
    holder, key = rng.choice(places)
    match rng.randrange(7):
        case 0:
            del holder[key]
        case 1:
            holder[key] = _turned(holder[key], rng)
        case 2:
            other, at = rng.choice(places)
            holder[key] = copy.deepcopy(other[at])
        case 3 if isinstance(holder, dict):
            holder[rng.choice(words.keys)] = rng.choice(words.values)
        case 3:
            holder.insert(key, rng.choice(words.values))
        case 4 if isinstance(holder, dict):
            holder[rng.choice(words.keys)] = holder.pop(key)
        case _:
            holder[key] = rng.choice(words.values)
    return json.dumps(tree, separators=(",", ":")).encode()


def _turned(value: Any, rng: random.Random) -> Any:
    """Return a value of the same kind."""
    match value:
        case bool():
            return not value
        case int():
            return rng.choice((-value, value + 1, value - 1, value * 10, value // 1000, str(value)))
        case float():
            return rng.choice((-value, value * 1000, value / 1000, round(value, 3), str(value)))
        case str():
            return _in_bytes(value.encode(errors="replace"), rng).decode(errors="replace")
        case list():
            return rng.sample(value, len(value)) if rng.random() < 0.5 else [*value, *value][:40]
        case _:
            return [value]


def _in_lines(data: bytes, words: Words, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, rng.choice(lines))
        case 2:
            rng.shuffle(lines)
        case _:
            lines[at] = _in_line(lines[at], words, rng)
    return b"\n".join(lines)


def _in_line(line: bytes, words: Words, rng: random.Random) -> bytes:
    """Change the JSON at the end of a line, if there is one, or else any byte."""
    start = line.find(b"{")
    if start < 0 or rng.random() < 0.2:
        return _in_bytes(line, rng)
    return line[:start] + _in_json(line[start:], words, rng)


def _in_bytes(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    place = rng.randint(0, len(changed))
    length = rng.randint(0, 3)
    new = rng.randbytes(length) if rng.random() < 0.3 else bytes(rng.choices(_MARKS, k=length))
    changed[place : place + rng.randint(0, 3)] = new
    return bytes(changed)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place in a JSON document: what holds it, and under which key or index."""
    waiting = [tree]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict | list):
            for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
                yield holder, key
                waiting.append(holder[key])
