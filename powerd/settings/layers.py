"""Where configuration comes from: the file, its drop-ins, the environment, flags; later ones win.

Decides which text a value came from, so that every error and `powerd check-config` can name file and line.
Invariant: whatever could be a typing mistake (a missing file, an unreadable one, text that is not TOML) is an
error, never an empty configuration. Knows no key and judges no value. Standard library only, because the
guard reads its tables through here too.
"""

import json
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from powerd.errors import ConfigError

ENVIRONMENT_PREFIX = "POWERD_"
ENVIRONMENT_DELIMITER = "__"
DROP_IN_DIRECTORY = "conf.d"
# Read by the guard's drivers, stands below every setting, and so is none itself.
NOT_SETTINGS = frozenset({"POWERD_FORBID_WRITES"})

Tree: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of configuration.

    Attributes:
        name: the file's path, "environment" or "flag".
        tree: nested tables, as `tomllib` returns them.
        places: where single keys stand: "file:line", or a variable's name; may be incomplete.
    """

    name: str
    tree: Tree
    places: dict[Key, str] = field(default_factory=dict)

    def has(self, key: Key) -> bool:
        """Return whether this layer sets the key, or something below it."""
        node: object = self.tree
        for part in key:
            if not isinstance(node, dict) or part not in node:
                return False
            node = node[part]
        return True

    def place(self, key: Key) -> str:
        """Return where the key stands, or the table around it, or else the layer's name."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.places:
                return self.places[key[:length]]
        return self.name


def read_layers(
    path: Path,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    drop_ins: bool = True,
) -> tuple[Layer, ...]:
    """Read all sources, the weakest first.

    Args:
        path: the main file; `conf.d/*.toml` beside it is read too, in lexical order.
        overrides: dotted key to value, from flags; None as a value means the flag was not given.
        environment: variables to look through for `POWERD_*`, normally `os.environ`.
        drop_ins: read `conf.d` too.

    Raises:
        ConfigError: a file cannot be used; one line per problem.
    """
    layers: list[Layer] = []
    problems = _problems_of_parent(path)
    folder = path.parent / DROP_IN_DIRECTORY
    if drop_ins and folder.is_dir():
        problems += _problems_of_mode(folder, folder.stat())
    for file in (path, *(sorted(folder.glob("*.toml")) if drop_ins else ())):
        try:
            layers.append(_read_file(file))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return (*layers, _environment_layer(environment or {}), _flag_layer(overrides or {}))


def merge(layers: Sequence[Layer]) -> Tree:
    """Return one tree: tables are merged key by key, anything else is replaced by the later layer."""
    merged: Tree = {}
    for layer in layers:
        merged = _merged(merged, layer.tree)
    return merged


def origin(layers: Sequence[Layer], key: Key) -> str:
    """Return where the value in force comes from; "default" if no layer sets the key."""
    return next((layer.place(key) for layer in reversed(layers) if layer.has(key)), "default")


def _merged(below: Tree, above: Tree) -> Tree:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def problem_of_directory(path: Path) -> str:
    """Return why files in a directory cannot be believed; empty if they can, or if there is none yet."""
    try:
        return "".join(_problems_of_mode(path, path.stat()))
    except OSError:
        return ""


def _problems_of_mode(path: Path, found: os.stat_result) -> list[str]:
    """Anyone who may write the configuration may set the limits: refuse to follow such a file."""
    if found.st_mode & stat.S_IWOTH:
        return [f"{path}: everyone may write to it; run: chmod o-w {path}"]
    return []


def _problems_of_parent(path: Path) -> list[str]:
    """Anyone who may rename a file may replace it; where the sticky bit is set, only its owner may."""
    try:
        found = path.parent.stat()
    except OSError:
        return []  # reading the file will say why
    return [] if found.st_mode & stat.S_ISVTX else _problems_of_mode(path.parent, found)


def _read_file(path: Path) -> Layer:
    try:
        with path.open(encoding="utf-8") as file:
            # Of what is read, and not of what may stand there a moment later.
            problems = _problems_of_mode(path, os.fstat(file.fileno()))
            text = file.read()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; name an existing one with --config") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: byte {error.start} cannot be decoded") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if problems:
        raise ConfigError(problems[0])
    try:
        tree = tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(f"{path}: not valid TOML: nested too deeply") from error
    except ValueError as error:  # also of a number with thousands of digits
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    return Layer(str(path), tree, {key: f"{path}:{line}" for key, line in _lines(text)})


def _lines(text: str) -> Iterator[tuple[Key, int]]:
    """Yield the line of each table header and each key that starts a line.

    A finder, not a parser: lines inside a multi-line string may be taken for keys, which at worst makes an
    error name a wrong line of the right file.
    """
    table: Key = ()
    for number, line in enumerate(text.splitlines(), start=1):
        head = line.strip()
        if head.startswith("["):
            table = _key_of(head.strip("[ ").partition("]")[0])
            yield table, number
        elif key := _key_of(head.partition("=")[0]):
            yield (*table, *key), number


def _key_of(text: str) -> Key:
    """Split a possibly dotted and quoted TOML key; () if the text is none."""
    try:
        node: object = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    parts = []
    while isinstance(node, dict) and node:
        part, node = next(iter(node.items()))
        parts.append(part)
    return tuple(parts)


def _environment_layer(environment: Mapping[str, str]) -> Layer:
    tree: Tree = {}
    places: dict[Key, str] = {}
    for name, text in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in NOT_SETTINGS:
            continue
        key = tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split(ENVIRONMENT_DELIMITER))
        _put(tree, key, _environment_value(name, text))
        places[key] = f"environment {name}"
    return Layer("environment", tree, places)


def _environment_value(name: str, text: str) -> object:
    """Return scalars as text, which the settings convert; lists and tables are written as JSON."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"environment {name}: not valid JSON: {error}") from error


def _flag_layer(overrides: Mapping[str, Any]) -> Layer:
    tree: Tree = {}
    for dotted, value in overrides.items():
        if value is not None:
            _put(tree, tuple(dotted.split(".")), value)
    return Layer("flag", tree)


def _put(tree: Tree, key: Key, value: object) -> None:
    for part in key[:-1]:
        node = tree.get(part)
        if not isinstance(node, dict):
            node = tree[part] = {}
        tree = node
    tree[key[-1]] = value
