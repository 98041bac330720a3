"""The threat model claims nothing that no test shows, and the short page leads to it."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent
MODEL = (TOP / "docs" / "threat-model.md").read_text(encoding="utf-8")
SHORT = (TOP / "SECURITY.md").read_text(encoding="utf-8")
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", MODEL)))
# Rows that nothing can show: there is nothing to be stopped, or nobody but the site to stop it.
WITHOUT_A_TEST = ("root", "a mirror of that index")


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_a_test_that_the_threat_model_names_exists(file: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (TOP / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_attacker_has_a_test_that_shows_what_stops_him() -> None:
    column, untested = None, []
    for line in MODEL.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            column = None
        elif "Shown by" in cells:
            column = cells.index("Shown by")
        elif column is not None and cells[0].strip("-") and "tests/" not in cells[column]:
            untested.append(cells[0])
    assert untested == list(WITHOUT_A_TEST)


def test_the_short_page_leads_to_the_long_one_and_says_where_to_report() -> None:
    assert "docs/threat-model.md" in SHORT
    assert "## Reporting" in SHORT


def test_what_the_pages_say_of_the_units_is_what_is_tested() -> None:
    tested = (TOP / "tests" / "systemd" / "test_units.py").read_text(encoding="utf-8")
    assert '"powerd.service": 20, GUARD: 15, BRIDGE: 20' in tested
    for page in (MODEL, SHORT):
        assert {"2.0", "1.5"} <= set(re.findall(r"at most (\d\.\d)", page))
