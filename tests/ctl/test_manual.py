"""Manual pages say what the commands say, and no more has to be written when one changes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from powerd.ctl import main, manual
from tests.powerctl import run

MADE = tuple(manual.pages())
PAGES = {page.file: page.text for page in MADE}


def test_every_command_of_both_programs_has_a_page_with_what_a_reader_looks_for() -> None:
    wanted = {f"powerctl-{name}.1" for name in main.MODULES} | {"powerctl.1", "powerd.8", "powerd-run.8"}
    assert wanted - PAGES.keys() == set()
    for text in PAGES.values():
        headings = re.findall(r"^\.SH (.+)", text, re.MULTILINE)
        assert headings[:2] == ["NAME", "SYNOPSIS"]
        assert headings[-1] == "SEE ALSO"


@pytest.mark.parametrize("name", ["powerctl", "powerctl status", "powerctl publish event"])
def test_a_page_has_every_option_that_help_has_and_an_example(name: str) -> None:
    page = next(page.text for page in MADE if page.command == name).replace("\\-", "-")
    options = set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", run(*name.split()[1:], "--help").out, re.MULTILINE))
    assert options
    assert options - set(re.findall(r"--[a-z-]+", page)) == set()
    assert f".SH EXAMPLES\n.nf\n{name}" in page


@pytest.mark.parametrize("page", [page for page in MADE if page.command.startswith("powerctl")])
def test_every_command_has_an_example_of_itself(page: manual.Page) -> None:
    _, _, example = page.text.replace("\\-", "-").partition(".SH EXAMPLES\n")
    assert page.command in example.partition(".SH")[0]


def test_no_line_is_taken_for_a_request_by_accident_or_is_longer_than_a_source_line() -> None:
    requests = {".TH", ".SH", ".TP", ".B", ".BR", ".PP", ".nf", ".fi"}
    for text in PAGES.values():
        lines = text.splitlines()
        assert {line.split()[0] for line in lines if line.startswith((".", "'"))} <= requests
        prose = [line for line in lines if not line.startswith((".", "power", " "))]
        assert max(map(len, prose)) <= 80


def test_the_date_is_that_of_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795280400")
    assert next(manual.pages()).text.startswith('.TH POWERCTL 1 2026-11-21 "powerd ')


def test_they_are_written_where_one_says_and_a_place_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "powerd.ctl.manual"]
    done = subprocess.run([*program, str(tmp_path / "man")], capture_output=True, text=True, check=True)
    assert {Path(line).name for line in done.stdout.splitlines()} == PAGES.keys()
    (tmp_path / "file").touch()
    failed = subprocess.run([*program, str(tmp_path / "file")], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr == f"powerd.ctl.manual: {tmp_path}/file: File exists\n"
