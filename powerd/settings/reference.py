"""docs/configuration.md, made from the settings and from what config/powerd.toml says of them.

python -m powerd.settings.reference config/powerd.toml docs/configuration.md
"""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from powerd.settings.commented import Comments, comments
from powerd.settings.errors import fields, known_keys
from powerd.settings.layers import Key
from powerd.settings.model import Settings

_HEAD = """# Configuration reference

Every key of `/etc/powerd/powerd.toml`. Made from the settings and from `config/powerd.toml` by
`make generated`: change those.

Later sources win: the file, `/etc/powerd/conf.d/*.toml` in lexical order, variables such as
`POWERD_CONTROL__PERIOD_S=2` (table and key joined by `__`; lists and tables as JSON), then flags. Unknown
keys are errors. `powerd check-config FILE` shows what is in force, and where each value comes from. `*`
stands for names that you choose. [reload.md](reload.md) says which keys a reload takes up.
"""
_SCALARS = {bool: "true or false", int: "whole number", float: "number", str: "text", NoneType: ""}
_UNITS = {
    "_pct_per_min": "percent per minute",
    "_g_per_kwh": "grams per kWh",
    "_watts": "watts",
    "_pct": "percent",
    "_mb": "MiB",
    "_s": "seconds",
}
_BOUNDS = {"gt": "above {}", "ge": "at least {}", "lt": "below {}", "le": "at most {}"}


class _Row(NamedTuple):
    key: str
    kind: str
    default: str


def document(config: str) -> str:
    """Return the page.

    Args:
        config: text of config/powerd.toml.
    """
    said = comments(config, list(known_keys(Settings)))
    return "\n".join((_HEAD, *_tables(Settings, (), said)))


def _tables(kind: object, key: Key, said: Comments) -> Iterator[str]:
    rows = list(_rows(kind))
    if rows:
        yield f"## `[{'.'.join(key)}]`\n"
        if said.tables.get(key):
            yield _cell(said.tables[key]) + "\n"
        yield "| Key | Value | Default | Meaning |\n|---|---|---|---|"
        for row in rows:
            meaning = _cell(said.keys.get((*key, row.key), ""))
            yield f"| `{row.key}` | {row.kind} | {row.default} | {meaning} |"
        yield ""
    for name, annotation in fields(kind).items():
        if fields(annotation):
            yield from _tables(annotation, (*key, name), said)


def _rows(kind: object) -> Iterator[_Row]:
    for name, annotation in fields(kind).items():
        if not fields(annotation):
            yield _Row(name, _value(name, *_described(kind, name, annotation)), _default(kind, name))


def _described(kind: object, name: str, annotation: object) -> tuple[object, tuple[Any, ...]]:
    """Return the type of a value, and what bounds it."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields[name]
        return field.annotation, tuple(field.metadata)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return get_type_hints(kind)[name], ()
    return annotation, ()


def _value(name: str, annotation: object, metadata: tuple[Any, ...]) -> str:
    unit = next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), "")
    bounds = [*_bounds(annotation), *(text for item in metadata for text in _bound(item))]
    return ", ".join(part for part in (_type(annotation), unit, *bounds) if part)


def _type(annotation: object) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(text for each in arguments if (text := _type(each))))
    if origin is tuple:
        listed = " or ".join(dict.fromkeys(_type(each) for each in arguments if each is not Ellipsis))
        return f"list of {listed}"
    if hasattr(annotation, "__metadata__"):
        return _type(arguments[0])
    return _SCALARS[annotation]  # type: ignore[index]  # every other kind is a table


def _bounds(annotation: object) -> Iterator[str]:
    """Yield the bounds of a value that may also be left out, or of what a list holds."""
    if hasattr(annotation, "__metadata__"):
        for item in annotation.__metadata__:
            yield from _bound(item)
    for each in get_args(annotation):
        if hasattr(each, "__metadata__"):
            yield from (text for text in _bounds(each))
            return


def _bound(item: object) -> Iterator[str]:
    if isinstance(item, FieldInfo):
        for each in item.metadata:
            yield from _bound(each)
    for name, text in _BOUNDS.items():
        if hasattr(item, name):
            yield text.format(f"{getattr(item, name):g}")


def _default(kind: object, name: str) -> str:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields[name]
        if field.is_required():
            return "required"
        return "see meaning" if field.default is PydanticUndefined else _shown(field.default)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        default = next(field.default for field in dataclasses.fields(kind) if field.name == name)
        return _shown(default)
    return "required"


def _shown(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(_shown(each).strip('`') for each in value)}]`"
    if isinstance(value, str):
        return f'`"{value}"`'
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write the page: the configuration to read, then where to."""
    config, page = map(Path, sys.argv[1:3])
    page.write_text(document(config.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
