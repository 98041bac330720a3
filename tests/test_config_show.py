"""`powerd config show`: TOML that says where each value stands, and loads again as the same."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.testing

from powerd.cli import app
from powerd.settings.loading import load
from powerd.settings.model import Settings

FILE = Path(__file__).parent.parent / "config" / "powerd.toml"
SITE_LINE = 1 + [line[:4] for line in FILE.read_text(encoding="utf-8").splitlines()].index("site")
# Names that need quotes, values of every kind, and tables that have only the keys of their own kind.
OWN = """
[rack.feeds]
"Feed A/1.2" = 0.5

[gpu.overrides."GPU-5c1f"]
ceiling_watts = 350
job = 'a "b" \\ ü 🙂'

[signals.native]
sources = ["facility-a", "facility-b"]

[signals.meters.parts.tap-a]
adapter = "generic"
topic = "taps/a"
good = [1, "ok", true]
quality = '/quality'
value = '/value'

[signals.meters.parts.tap-b]
adapter = "dsx-bms"
object_id = "E05"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "powerd.toml"
    path.write_text(FILE.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "50-own.toml").write_text(OWN, encoding="utf-8")
    return path


def show(file: Path, *arguments: str, **environment: str) -> str:
    run = typer.testing.CliRunner().invoke(
        app, ["config", "show", "--config", str(file), *arguments], env=environment
    )
    assert run.exit_code == 0, run.output
    return run.output


def loaded_again(text: str, tmp_path: Path) -> Settings:
    path = tmp_path / "again" / "powerd.toml"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    return load(path).settings


@pytest.mark.parametrize("arguments", [(), ("--origin",), ("--changed",), ("--changed", "--origin")])
def test_what_is_shown_loads_as_the_same(file: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert loaded_again(show(file, *arguments), tmp_path) == load(file).settings


def test_each_value_has_its_place_behind_it(file: Path) -> None:
    lines = show(file, "--origin", POWERD_CONTROL__HOLD_S="4").splitlines()
    own = file.parent / "conf.d" / "50-own.toml"
    for line in (
        f'site = "hel1"  # {file}:{SITE_LINE}',
        "guard_band_pct = 2.0  # default",
        "hold_s = 4.0  # environment POWERD_CONTROL__HOLD_S",
        f'"Feed A/1.2" = 0.5  # {own}:3',
        f"sources = [  # {own}:10",
        "# default_watts is not set (default)",
    ):
        assert line in lines


def test_without_origins_there_are_no_comments_but_of_what_is_not_set(file: Path) -> None:
    comments = [line for line in show(file).splitlines() if line.startswith("#") or "  # " in line]
    assert comments
    assert all(line.startswith("# ") and line.endswith(" is not set") for line in comments)


def test_changed_leaves_out_what_is_as_by_default_also_where_somebody_wrote_it_down(file: Path) -> None:
    text = file.read_text(encoding="utf-8").replace("#guard_band_pct = 2.0", "guard_band_pct = 2.0")
    file.write_text(text, encoding="utf-8")
    shown = tomllib.loads(show(file, "--changed"))
    assert "guard_band_pct" not in shown["rack"]
    assert shown["gpu"] == {"overrides": {"GPU-5c1f": {"ceiling_watts": 350, "job": 'a "b" \\ ü 🙂'}}}
    assert shown["signals"]["meters"]["parts"]["tap-b"] == {"adapter": "dsx-bms", "object_id": "E05"}


def test_json_has_every_key_with_its_place(file: Path) -> None:
    shown: dict[str, Any] = json.loads(show(file, "--json"))
    assert shown["host.site"] == {"value": "hel1", "origin": f"{file}:{SITE_LINE}"}
    assert shown["host.overhead_watts"] == {"value": None, "origin": "default"}
    assert "host.overhead_watts" not in json.loads(show(file, "--json", "--changed"))


def test_a_configuration_that_cannot_be_used_is_not_shown(file: Path) -> None:
    (file.parent / "conf.d" / "60-wrong.toml").write_text("[rack]\nfailsafe_wats = 1\n", encoding="utf-8")
    arguments = ["config", "show", "--config", str(file)]
    run = typer.testing.CliRunner().invoke(app, arguments)
    assert "60-wrong.toml:2: rack.failsafe_wats: unknown key" in str(run.exception)
