"""The configuration in force as TOML, with the place of each value; it loads again as the same."""

from collections.abc import Iterator, Mapping
from typing import Any

import tomli_w

from powerd.settings.layers import Key, Tree
from powerd.settings.loading import Loaded, leaves
from powerd.settings.model import Settings


def as_toml(loaded: Loaded, *, origins: bool = False, changed: bool = False) -> str:
    """Return the settings as TOML.

    Args:
        origins: say behind each value where it stands; "default" if nowhere.
        changed: leave out what is as by default.
    """
    places = loaded.origins if origins else {}
    return "\n".join(_table(_tree(loaded.settings, changed=changed), (), places)).strip("\n") + "\n"


def as_dict(loaded: Loaded, *, changed: bool = False) -> dict[str, Any]:
    """Return the same for `--json`: by dotted key its value, None if it has none, and its place."""
    values = leaves(_tree(loaded.settings, changed=changed))
    return {
        dotted: {"value": value, "origin": loaded.origins[dotted]}
        for dotted, value in ((".".join(key), value) for key, value in values)
    }


def _tree(settings: Settings, *, changed: bool) -> Tree:
    if changed:
        return settings.model_dump(mode="json", exclude_defaults=True)
    tree = settings.model_dump(mode="json")
    # A meter has the keys of its own adapter, and those of others must not be set.
    parts = settings.signals.meters.parts.items()
    tree["signals"]["meters"]["parts"] = {
        name: part.model_dump(mode="json", exclude_unset=True) for name, part in parts
    }
    return tree


def _table(table: Mapping[str, Any], key: Key, places: Mapping[str, str]) -> Iterator[str]:
    below = {name: value for name, value in table.items() if isinstance(value, Mapping)}
    values = {name: value for name, value in table.items() if name not in below}
    if key and (values or not below):
        yield f"\n[{'.'.join(map(_name, key))}]"
    for name, value in values.items():
        yield _value(name, value, places.get(".".join((*key, name)), ""))
    for name, inner in below.items():
        yield from _table(inner, (*key, name), places)


def _value(name: str, value: object, place: str) -> str:
    if value is None:
        text = f"# {_name(name)} is not set"
        return f"{text} ({place})" if place else text
    text = tomli_w.dumps({name: value}).rstrip("\n")
    if not place:
        return text
    first, line_end, rest = text.partition("\n")  # a list stands on several lines
    return f"{first}  # {place}{line_end}{rest}"


def _name(name: str) -> str:
    return tomli_w.dumps({name: 0}).removesuffix(" = 0\n")
