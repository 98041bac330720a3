"""What the Debian package consists of, without building it: `make deb` and `make deb-test` do that."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from powerd import __version__, renewal
from powerd.check import check

ROOT = Path(__file__).parent.parent.parent
DEBIAN = ROOT / "packaging" / "debian"
CONFIG = DEBIAN / "powerd.toml"
SCRIPTS = ("build", "powerd.postinst", "powerd.prerm", "powerd.postrm")
# As an operator fills them in; the other lines stay.
FIVE_LINES = {
    'rack = "?"': 'rack = "r17"',
    "hard_limit_watts = 0": "hard_limit_watts = 40000",
    "failsafe_watts = 0": "failsafe_watts = 20000",
    "#r17-n3 = {": "r17-n3 = {",
    'url = "?"': 'url = "mqtts://broker.example:8883"',
}


def text(name: str) -> str:
    return (DEBIAN / name).read_text(encoding="utf-8")


def canonical(name: str) -> str:
    return name.lower().replace("_", "-")


def pins() -> dict[str, Version]:
    lines = [line for line in text("constraints.txt").splitlines() if not line.startswith("#")]
    return {canonical(name): Version(version) for name, version in (line.split("==") for line in lines)}


def problems(file: Path) -> list[str]:
    report = check(file, environment={"POWERD_HOST__NAME": "r17-n3"})
    return [line.split(":", 1)[1] for line in report.problems]


def test_as_installed_it_does_not_start_and_says_line_by_line_what_is_missing() -> None:
    lines = text("powerd.toml").splitlines()
    found = problems(CONFIG)
    assert [line.split(": ")[1] for line in found] == [
        "host.rack",
        "rack.hard_limit_watts",
        "rack.failsafe_watts",
        "rack.hosts",
        "mqtt.url",
    ]
    numbers = [int(line.split(":")[0]) for line in found]
    marked = [number for number, line in enumerate(lines, 1) if "<-" in line]
    # The missing entry is told with the table that it belongs to.
    assert {number for number in numbers if lines[number - 1] != "[rack.hosts]"} < set(marked)


def test_five_lines_make_it_a_dry_run(tmp_path: Path) -> None:
    content = text("powerd.toml")
    assert (
        len(FIVE_LINES) == sum("<-" in line for line in content.splitlines()) - 1
    )  # the header tells of them
    for before, after in FIVE_LINES.items():
        assert content.count(before) == 1
        content = content.replace(before, after)
    file = tmp_path / "powerd.toml"
    file.write_text(content, encoding="utf-8")
    assert problems(file) == []
    assert tomllib.loads(content)["host"]["mode"] == "dry-run"


def test_the_package_has_the_version_of_the_program() -> None:
    [version] = re.findall(r"^powerd \((.*)-\d+\)", text("changelog"), re.MULTILINE)[:1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert version == project["version"] == __version__


def test_every_bundled_package_is_one_that_the_project_accepts() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bundled = pins()
    for line in project["dependencies"]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(bundled[canonical(wanted.name)]), line


def test_the_licence_of_every_bundled_package_is_told() -> None:
    told = {canonical(name) for name in re.findall(r"The Python package (\S+)\.", text("copyright"))}
    assert told == set(pins())
    named = set(re.findall(r"^License: (.+)$", text("copyright"), re.MULTILINE))
    used = {part for line in named for part in re.split(r" (?:and|or) ", line)}
    assert used <= named


@pytest.mark.parametrize("unit", sorted((ROOT / "systemd").glob("*.service")), ids=lambda path: path.stem)
def test_the_program_of_each_unit_is_in_the_package(unit: Path) -> None:
    programs = set(re.findall(r"^Exec(?:Start|StopPost)=-?(\S+)", unit.read_text("utf-8"), re.MULTILINE))
    links = {
        f"/{link}": target for target, link in (line.split() for line in text("powerd.links").splitlines())
    }
    assert programs <= links.keys()
    for target in links.values():
        command = DEBIAN / "commands" / Path(target).name
        assert command.read_text(encoding="utf-8").startswith(f"#!/{Path(target).parent}/python3 -I\n")


def test_an_upgrade_sends_the_signal_that_starts_again_in_place_guard_first() -> None:
    script = text("powerd.postinst")
    assert f"--signal={renewal.SIGNAL.name} " in script
    assert "for unit in powerd-guard.service powerd.service;" in script
    # A restart or stop would run the stop action, which lowers.
    assert not re.search(r"(re)?start .*powerd(-guard)?\.service", script)


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_is_one_for_the_shell_that_it_names(script: str) -> None:
    assert text(script).startswith("#!/bin/sh\n")
    done = subprocess.run(["sh", "-n", DEBIAN / script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
