"""Turns a failed validation into lines that a person can act on: where, which key, what is wrong, what to do.

Must not repeat a value of a key that may hold a secret; messages of our own validators are passed on as they
are, so those decide for themselves.
"""

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from powerd.settings.layers import ENVIRONMENT_DELIMITER, ENVIRONMENT_PREFIX, Key, Layer, origin

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_ANY_KEY = "*"


def explain(error: ValidationError, layers: Sequence[Layer], model: type[BaseModel]) -> list[str]:
    """Return one line per problem.

    Args:
        error: what the validation of the merged layers raised.
        layers: the sources, weakest first.
        model: what was validated; its keys are offered in place of misspelt ones.
    """
    return [_line(details, layers, model) for details in error.errors(include_url=False)]


def fields(annotation: object) -> dict[str, Any]:
    """Return the keys that a table's type knows, with their types; `*` is any name; {} if a value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {name: field.annotation for name, field in annotation.model_fields.items()}
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        hints = get_type_hints(annotation)
        return {field.name: hints[field.name] for field in dataclasses.fields(annotation)}
    if get_origin(annotation) is dict:
        return {_ANY_KEY: get_args(annotation)[1]}
    return {}


def _line(details: ErrorDetails, layers: Sequence[Layer], model: type[BaseModel]) -> str:
    key = tuple(str(part) for part in details["loc"] if part != "[key]")
    set_by_someone = key and any(layer.has(key) for layer in layers)
    place = origin(layers, key) if set_by_someone else layers[0].place(key)  # else the file where it belongs
    if details["type"] in _UNKNOWN:
        return f"{place}: {'.'.join(key)}: unknown key{_suggestion(key, place, model)}"
    if details["type"] == "missing":
        return f"{place}: {'.'.join(key)}: missing; add it"
    if details["type"] == "value_error":
        text = details["msg"].removeprefix("Value error, ")
        names_its_key = text.startswith(".".join(key[:1]) + ".") or not key
        return f"{place}: {text}" if names_its_key else f"{place}: {'.'.join(key)}: {text}"
    return f"{place}: {'.'.join(key)}: {_reason(details)}"


def _reason(details: ErrorDetails) -> str:
    if details["type"] == "too_short" and not details["input"]:
        return "empty; add an entry"
    text = details["msg"].removeprefix("Input ").partition(", unable to parse")[0]
    value = details["input"]
    return f"{text}, not {value!r}" if isinstance(value, str | int | float) else text


def _suggestion(key: Key, place: str, model: type[BaseModel]) -> str:
    *table, wrong = key
    siblings = {name: (*table, name) for name in _at(model, tuple(table)) if name != _ANY_KEY}
    near = difflib.get_close_matches(wrong, siblings, n=1)
    # Of several, the one that is nearest to the top.
    elsewhere = {known[-1]: known for known in sorted(known_keys(model), key=len, reverse=True)}
    if near:
        found = siblings[near[0]]
    elif wrong in elsewhere:
        found = elsewhere[wrong]
    else:
        return "; known here: " + ", ".join(sorted(siblings))
    if place.startswith("environment "):
        return f"; did you mean {ENVIRONMENT_PREFIX}{ENVIRONMENT_DELIMITER.join(found).upper()}?"
    return f"; did you mean {'.'.join(found)}?"


def _at(annotation: object, table: Key) -> dict[str, Any]:
    """Return the keys known at a table."""
    for part in table:
        known = fields(annotation)
        annotation = known.get(part, known.get(_ANY_KEY))
    return fields(annotation)


def known_keys(annotation: object, above: Key = ()) -> Iterator[Key]:
    """Yield every key below a table that is not itself a table; `*` is a name that the operator chooses."""
    for name, kind in fields(annotation).items():
        if fields(kind):
            yield from known_keys(kind, (*above, name))
        else:
            yield (*above, name)
