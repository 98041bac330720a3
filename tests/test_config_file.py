"""The documented configuration file agrees with the code."""

import re
import tomllib
from pathlib import Path
from typing import Any

from powerd.guard.config import GpuOverride
from powerd.settings.errors import known_keys
from powerd.settings.loading import leaves, load
from powerd.settings.model import Settings
from powerd.settings.signals import MeterPartSettings
from tests.dsx.keys import private_file, trusted

ROOT = Path(__file__).parent.parent
FILE = ROOT / "config" / "powerd.toml"
TRIAL = ROOT / "config" / "trial.toml"
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
    "signals.native.unsigned",
    "signals.advisory.price_above",
    "signals.advisory.ghg_above_g_per_kwh",
}


def with_defaults_spelt_out() -> dict[str, Any]:
    """Return the file with every `#key = value` and `#[table]` line in force."""
    return tomllib.loads(re.sub(r"^#(?=[a-z\[])", "", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE))


def documented() -> dict[str, Any]:
    """Return the documented values by dotted key, names chosen by the operator written as `*`."""
    anyone = re.compile(
        r"^(rack\.hosts|rack\.feeds|gpu\.overrides|signals\.meters\.parts|signals\.[a-z]+\.keys)\.[^.]+"
    )
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
        elif not key.startswith(("rack.hosts.", "rack.feeds.")) and ".keys." not in key:
            default = (in_force | override)[key]
            assert (list(default) if isinstance(default, tuple) else default) == shown, key


def test_the_file_names_no_default_for_values_that_have_none() -> None:
    """A host whose overhead nobody stated must not get somebody's example."""
    assert load(FILE).settings.host.overhead_watts is None


def test_every_line_of_the_file_fits_a_terminal() -> None:
    assert max(len(line) for line in FILE.read_text(encoding="utf-8").splitlines()) <= 120


def on_trial(directory: Path, *tables: str) -> Settings:
    """Load the rack that the documents are tried with, and tables that they add; feeds are theirs."""
    own = re.sub(r"\[rack\.feeds\]\n[^\n]+\n", "", TRIAL.read_text(encoding="utf-8"))
    path = directory / "trial.toml"
    path.write_text("\n".join((own, *tables)), encoding="utf-8")
    return load(path).settings


def tables_of(document: str) -> list[str]:
    return re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / document).read_text("utf-8"), re.DOTALL)


def test_the_rack_to_try_powerd_with_needs_neither_root_nor_gpus_nor_budgets() -> None:
    settings = load(TRIAL).settings
    assert (settings.gpu.driver, settings.guard.spawn, settings.signals.native.enabled) == (
        "simulated",
        True,
        False,
    )


def test_what_the_page_about_grid_events_configures_is_taken(tmp_path: Path) -> None:
    [advisory] = tables_of("grid-events.md")
    assert on_trial(tmp_path, advisory).signals.advisory.band_pct == 10


def test_what_the_page_about_dsx_flex_configures_is_taken(tmp_path: Path) -> None:
    [tables] = tables_of("dsx-flex.md")
    for file, made in (("acme.pem", trusted(tmp_path).file), ("ima.pem", trusted(tmp_path, "infra").file)):
        tables = tables.replace(f"/etc/powerd/dsx/{file}", made)
    tables = tables.replace("/etc/powerd/dsx/agent.key", private_file(tmp_path, "agent"))
    dsx = on_trial(tmp_path, tables).signals.dsx
    assert (dsx.identifier, list(dsx.keys)) == ("hel1-r17", ["acme-2026", "ima-2026"])
