"""The bridge's own configuration file: what it says is what holds, and mistakes are named."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from powerd.core.events.grid_event import Baseline, EventClass, EventRamp, Level
from powerd.core.rack.advisory import SignalKind
from powerd.errors import ConfigError
from powerd.openadr.options import Program, Rule
from powerd.openadr.settings import Settings, bridge_options, load, vtn_options
from powerd.settings.errors import known_keys
from powerd.settings.loading import leaves

FILE = Path(__file__).parents[2] / "config" / "openadr.toml"
# There is no default to show: an example stands there.
EXAMPLES = re.compile(r"programs\.\*\.(priority|targets|rules)|budget\.racks")

MINIMUM = """\
[vtn]
url = "https://vtn.example/openadr3/3.1.0"
client_id = "ven-hel1"
client_secret_file = "{secret}"
[site]
name = "hel1"
[mqtt]
url = "mqtts://broker.example:8883"
"""


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    path.write_text("hunter2\n", encoding="utf-8")
    return path


def written(secret: Path, old: str = "", new: str = "", more: str = "") -> Path:
    """Write the minimum with one piece replaced and some text added."""
    path = secret.parent / "openadr.toml"
    text = MINIMUM.format(secret=secret)
    assert old in text
    path.write_text(text.replace(old, new, 1) + more, encoding="utf-8")
    return path


def documented() -> dict[str, Any]:
    """Return what the file shows, commented out or not; names that the operator chooses written as `*`."""
    text = re.sub(r"^#(?=[a-z\[])", "", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    anyone = re.compile(r"^(programs\.\*\.(?:targets|rules)|programs|budget\.racks)\.[^.]+")
    found = {}
    for key, value in leaves(tomllib.loads(text)):
        dotted = ".".join(key)
        for _ in range(2):
            dotted = anyone.sub(r"\1.*", dotted)
        found[dotted] = value
    return found


def test_the_documented_file_loads_as_it_is() -> None:
    settings = load(FILE)
    assert (settings.site.name, settings.site.source, settings.vtn.poll_s) == ("hel1", "openadr", 60.0)
    assert bridge_options(settings).programs == {"peak-saver": Program(zone="hel1")}


def test_every_key_is_documented_and_nothing_else() -> None:
    ours = {".".join(key) for key in known_keys(Settings)}
    plain = {key for key in ours if not re.search(r"targets|budget\.racks", key)}
    shown = {key for key in documented() if not re.search(r"targets|budget\.racks", key)}
    assert shown == plain
    assert {"programs.*.targets.*", "budget.racks.*"} <= documented().keys()


def test_every_documented_default_is_the_default() -> None:
    in_force = {".".join(key): value for key, value in leaves(load(FILE).model_dump(mode="json"))}
    in_force = {key.replace("programs.peak-saver.", "programs.*."): value for key, value in in_force.items()}
    for key, shown in documented().items():
        if not EXAMPLES.match(key):
            assert in_force[key] == shown, key


def test_every_line_of_the_file_fits_a_terminal() -> None:
    assert max(len(line) for line in FILE.read_text(encoding="utf-8").splitlines()) <= 120


def test_the_minimum_obeys_all_programs_with_the_defaults(secret: Path) -> None:
    settings = load(written(secret))
    options = bridge_options(settings)
    assert (options.programs, options.others) == ({}, Program(zone="hel1"))
    vtn = vtn_options(settings)
    assert (vtn.client_secret, vtn.ven_name) == ("hunter2", "powerd-hel1")
    assert settings.client_id == "powerd-hel1-openadr"


def test_a_program_is_read_with_all_it_says(secret: Path) -> None:
    more = """
[programs.44]
event_class = "mandatory"
priority = 3
alerts = "floor"
level = "feed"
targets = { group-1 = ["main-a", "main-b"] }
ramp_down_s = 30
ramp_up_s = 600
ramp_up_jitter_s = 60
zone = "fi"
price_kind = "spot"
[programs.44.rules.CONTROL_SETPOINT]
action = "reduce_pct"
scale = -100
units = "PERCENT"
baseline = "measured"
"""
    options = bridge_options(load(written(secret, more=more)))
    assert options.others is None
    assert options.programs["44"] == Program(
        event_class=EventClass.MANDATORY,
        priority=3,
        alerts_floor=True,
        level=Level.FEED,
        targets={"group-1": ("main-a", "main-b")},
        ramp=EventRamp(30, 600, 60),
        zone="fi",
        price_kind=SignalKind.PRICE_SPOT,
        rules={"CONTROL_SETPOINT": Rule("reduce_pct", -100, "PERCENT", Baseline.MEASURED)},
    )


@pytest.mark.parametrize(
    ("old", "new", "more", "message"),
    [
        ("name =", "nmae =", "", ":6: site.nmae: unknown key; did you mean site.name?"),
        ("https:", "http:", "", "vtn.url http://vtn.example/openadr3/3.1.0 is not encrypted"),
        ("https://vtn", "ftp://vtn", "", "vtn.url should look like https://vtn.example/"),
        ("https://vtn", "https://me:pw@vtn", "", "vtn.url should look like https://vtn.example/"),
        ('name = "hel1"', 'name = "Hel 1"', "", ':6: site.name: should be 1 to 64 of a-z, 0-9, "_" and "-"'),
        ("[mqtt]", f"source = '{'x' * 25}'\n[mqtt]", "", ":7: site.source: has more than 24 characters"),
        ('client_id = "ven-hel1"', "", "", ":1: vtn.client_id: missing; add it"),
        ('url = "mqtts://broker.example:8883"', "", "", "mqtt.url is not set: name the site's broker"),
        ("", "", "[programs.a]\nalert = 1\n", "alert: unknown key; did you mean programs.a.alerts?"),
        ("", "", "[programs.a]\nalerts = ''\n", ":10: programs.a.alerts: should be 'advisory' or 'floor'"),
        ("", "", "[programs.a]\ntargets = {g = ['a']}\n", ':9: programs.a: targets need level = "feed" or '),
        ("", "", "[programs.a.rules.X]\naction = 'level'\nscale = 0\n", "programs.a.rules.X: scale is 0"),
        ("", "", "[budget.racks]\nr17 = 17\n", ":10: budget.racks.r17: should be less than or equal to 1"),
        ("", "", "[reports]\nevery_s = -1\n", ":10: reports.every_s: should be greater than or equal to 0"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_file_line_and_key(
    secret: Path, old: str, new: str, more: str, message: str
) -> None:
    path = written(secret, old, new, more)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert all(line.startswith(f"{path}:") for line in str(caught.value).splitlines())
    assert message in str(caught.value)
    assert "pw@" not in str(caught.value)


def test_a_secret_that_others_may_read_is_refused_and_an_empty_one_too(secret: Path) -> None:
    path = written(secret)
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match=r"vtn\.client_secret_file: .* is open to others than its owner"):
        load(path)
    secret.chmod(0o600)
    secret.write_text("\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="is empty"):
        vtn_options(load(path))


def test_drop_ins_and_variables_of_the_daemon_are_not_taken_for_the_bridges(
    secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = secret.parent / "conf.d"
    folder.mkdir()
    (folder / "10-host.toml").write_text('[host]\nmode = "enforce"\n', encoding="utf-8")
    monkeypatch.setenv("POWERD_HOST__MODE", "enforce")
    assert load(written(secret)).site.name == "hel1"
