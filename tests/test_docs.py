"""The documents say what the code does."""

import re
from pathlib import Path

import pytest

from powerd.metrics.table import TABLE
from powerd.signals.reasons import Reason

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "SECURITY.md", *ROOT.glob("docs/*.md")])


def table_rows(document: str) -> list[list[str]]:
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in rows if row[0].startswith("`")]


def test_the_metrics_table_is_that_of_the_code() -> None:
    documented = [
        (row[0].strip("`"), row[1], tuple(re.findall(r"`(\w+)`", row[2])), row[3])
        for row in table_rows("docs/metrics.md")
    ]
    assert documented == [(row.name, row.kind.value, row.labels, row.help) for row in TABLE]


def test_every_reason_for_a_refusal_is_documented() -> None:
    text = (ROOT / "docs/signals.md").read_text(encoding="utf-8")
    core = (ROOT / "powerd/core/rack/admission.py").read_text(encoding="utf-8")
    judged = set(re.findall(r'REJECTED, message, "(\w+)"', core))
    assert judged, "the core's reasons were not found"
    missing = {reason for reason in judged | {reason.value for reason in Reason} if f"`{reason}`" not in text}
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_points_to_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = re.findall(r"\]\((?!http)([^)#]+)\)|`((?:powerd|docs|tests|config|systemd)/[\w/.-]+)`", text)
    targets = [link or path for link, path in named]
    missing = [t for t in targets if not ((ROOT / t).exists() or (document.parent / t).exists())]
    assert not missing
