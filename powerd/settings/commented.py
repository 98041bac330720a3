"""What config/powerd.toml says of each key: the comments of that file, by dotted key.

Names that an operator chooses are written as `*`, as in `powerd.settings.errors.known_keys`.
"""

import re
import tomllib
from collections.abc import Collection, Iterator
from typing import NamedTuple

from powerd.settings.layers import Key

# `#[table]` and `#key = value` show what may be set, so here they are set. Prose has a space after its "#".
_SHOWN = re.compile(r"^#?(?=\[|[\w\"-]+ = )")
_ANY = "*"


class Comments(NamedTuple):
    """Comments in one line each, without "#": of tables, and of keys; none where there is no comment."""

    tables: dict[Key, str]
    keys: dict[Key, str]


def comments(text: str, known: Collection[Key]) -> Comments:
    """Read them.

    A comment stands behind what it is about, or above it up to the next empty line or key.

    Args:
        text: of the file.
        known: every key that there is, as `known_keys` yields them.
    """
    tables: dict[Key, str] = {}
    keys: dict[Key, str] = {}
    table: Key = ()
    above: list[str] = []
    for line in text.splitlines():
        shown = _SHOWN.sub("", line)
        if line.startswith("# ") or not line:
            above = [*above, line[2:]] if line else []
            continue
        statement, behind = _split(shown)
        said = " ".join(part for part in (*above, behind) if part)
        above = []
        if statement.startswith("["):
            table = _known_as(tuple(_names(statement)), known)
            tables.setdefault(table, said)
        else:
            key = _known_as((*table, statement.partition(" = ")[0].strip('"')), known)
            keys.setdefault(key, said)
    return Comments(tables, keys)


def _split(line: str) -> tuple[str, str]:
    """Return the statement of a line, and the comment behind it; a "#" may be in a text."""
    for found in re.finditer(r"\s+#\s", line):
        try:
            tomllib.loads(line[: found.start()])
        except tomllib.TOMLDecodeError:
            continue
        return line[: found.start()], line[found.end() :].strip()
    return line.strip(), ""


def _names(header: str) -> Iterator[str]:
    table = tomllib.loads(header)
    while table:
        [(name, table)] = table.items()
        yield name


def _known_as(key: Key, known: Collection[Key]) -> Key:
    """Return the key with `*` for names that an operator chooses."""
    for candidate in known:
        head = candidate[: len(key)]
        if len(head) == len(key) and all(k in (_ANY, name) for k, name in zip(head, key, strict=True)):
            return head
    return key
