"""The configuration files read, validated, and with the place of every value.

Invariant: settings that `load` returned are usable: a rack made of them is feasible (I7), and no unknown key,
unknown variable or unreadable file was passed over.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from powerd.errors import ConfigError
from powerd.files.secret_file import check_secrets
from powerd.settings.errors import explain
from powerd.settings.layers import Key, merge, origin, problem_of_directory, read_layers
from powerd.settings.model import Settings
from powerd.settings.rules import gpu_policies, lease_rules, meter_options, rack, secrets_and_keys


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where they came from.

    Attributes:
        origins: dotted key to "file:line", "environment VARIABLE", "flag" or "default", for every key.
    """

    settings: Settings
    origins: dict[str, str]


class Source(NamedTuple):
    """Where the settings of a daemon come from, and come from again at a reload; see `load`."""

    path: Path
    overrides: Mapping[str, Any]
    environment: Mapping[str, str]

    def load(self) -> Loaded:
        """Read and prove the settings as they are now; raises as `load` does."""
        return load(self.path, self.overrides, self.environment)


def read(
    path: Path, overrides: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Loaded:
    """Read and validate all settings key by key, without asking whether the rack is feasible.

    Raises:
        ConfigError: one line per problem: where, which key, what is wrong, what to do.
    """
    layers = read_layers(path, overrides, environment)
    try:
        settings = Settings(**merge(layers))
    except ValidationError as error:
        # Without its cause, which repeats what was given, and that may be a secret in the wrong place.
        raise ConfigError("\n".join(explain(error, layers, Settings))) from None
    secrets = {
        "mqtt.password_file": settings.mqtt.password_file,
        "mqtt.key_file": settings.mqtt.key_file,
        "rack.leases.key_file": settings.rack.leases.key_file,
        "signals.dsx.signing_key_file": settings.signals.dsx.signing_key_file,
    }
    check_secrets(path, secrets)
    if problem := problem_of_directory(Path(settings.host.state_dir)):
        raise ConfigError(f"{path}: host.state_dir: {problem}")
    keys = (key for key, _ in leaves(settings.model_dump()))
    return Loaded(settings, {".".join(key): origin(layers, key) for key in keys})


def load(
    path: Path, overrides: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Loaded:
    """Read, validate, and prove that the rack is feasible and this host belongs to it.

    Args:
        path: the main file; `conf.d/*.toml` beside it is read too, in lexical order.
        overrides: dotted key to value, from flags; None as a value means the flag was not given.
        environment: variables to look through for `POWERD_*`, normally `os.environ`.

    Raises:
        ConfigError: one line per problem: where, which key, what is wrong, what to do.
    """
    loaded = read(path, overrides, environment)
    prove(path, loaded.settings)
    return loaded


def prove(path: Path, settings: Settings) -> None:
    """Prove what no single key shows: the rack is feasible, this host is in it, its times fit together.

    Raises:
        ConfigError: it is not so; one line per problem, with the file and the keys.
    """
    problems = []
    for made in (rack, gpu_policies, lease_rules, meter_options, secrets_and_keys):
        try:
            made(settings)
        except ConfigError as error:
            problems += [f"{path}: {line}" for line in str(error).splitlines()]
    if problems:
        raise ConfigError("\n".join(problems))


def leaves(tree: Mapping[str, Any], above: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Yield every key that is not a table, with its value; an empty table counts as a value."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name), value
