"""The documented configuration file agrees with the code."""

import re
import tomllib
from pathlib import Path
from typing import Any

from powerd.guard.config import GpuOverride
from powerd.settings import leaves, load
from powerd.settings_errors import known_keys
from powerd.settings_model import Settings
from powerd.settings_signals import MeterPartSettings

FILE = Path(__file__).parent.parent / "config" / "powerd.toml"
# Shown with an example value, because there is no default to show.
UNSET_BY_DEFAULT = {
    "host.overhead_watts",
    "rack.default_watts",
    "rack.site_fraction",
    "gpu.floor_watts",
    "gpu.ceiling_watts",
    "gpu.overrides.*.floor_watts",
    "gpu.overrides.*.ceiling_watts",
    "guard.ceiling_watts",
    "guard.host_ceiling_watts",
    "signals.meters.least_watts",
    "signals.advisory.price_above",
    "signals.advisory.ghg_above_g_per_kwh",
}


def with_defaults_spelt_out() -> dict[str, Any]:
    """Return the file with every `#key = value` and `#[table]` line in force."""
    return tomllib.loads(re.sub(r"^#(?=[a-z\[])", "", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE))


def documented() -> dict[str, Any]:
    """Return the documented values by dotted key, names chosen by the operator written as `*`."""
    anyone = re.compile(r"^(rack\.hosts|rack\.feeds|gpu\.overrides|signals\.meters\.parts|signals\.dsx\.keys)\.[^.]+")
    return {anyone.sub(r"\1.*", ".".join(key)): value for key, value in leaves(with_defaults_spelt_out())}


def test_the_file_loads_as_it_is() -> None:
    settings = load(FILE).settings
    assert (settings.host.site, settings.host.rack, settings.host.name) == ("hel1", "r17", "r17-n3")
    assert settings.host.mode == "dry-run"
    assert settings.rack.hard_limit_watts == 40000
    assert list(settings.rack.hosts) == ["r17-n1", "r17-n2", "r17-n3", "r17-n4"]


def test_every_key_is_documented_and_nothing_else() -> None:
    assert set(documented()) == {".".join(key) for key in known_keys(Settings)}


def test_every_documented_default_is_the_default() -> None:
    """What the file shows behind a `#` is what holds when the line stays as it is."""
    in_force = {".".join(key): value for key, value in leaves(load(FILE).settings.model_dump(mode="json"))}
    override = {f"gpu.overrides.*.{key}": value for key, value in vars(GpuOverride()).items()}
    part = MeterPartSettings(adapter="native").model_dump()
    override |= {f"signals.meters.parts.*.{key}": value for key, value in part.items()}
    for key, shown in documented().items():
        if key in UNSET_BY_DEFAULT:
            assert (in_force | override)[key] is None, key
        elif not key.startswith(("rack.hosts.", "rack.feeds.", "signals.dsx.keys.")):
            default = (in_force | override)[key]
            assert (list(default) if isinstance(default, tuple) else default) == shown, key


def test_the_file_names_no_default_for_values_that_have_none() -> None:
    """A host whose overhead nobody stated must not get somebody's example."""
    assert load(FILE).settings.host.overhead_watts is None


def test_every_line_of_the_file_fits_a_terminal() -> None:
    assert max(len(line) for line in FILE.read_text(encoding="utf-8").splitlines()) <= 120
