"""The page shows what the status document has: a field that was renamed would show as nothing."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from powerd.web import models, page

SCRIPT = (Path(page.__file__).parent / "page.js").read_text(encoding="utf-8")
HTML = (Path(page.__file__).parent / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("variable", "model"),
    [
        ("status", models.Status),
        ("budget", models.BudgetView),
        ("step", models.ChainStep),
        ("gpu", models.GpuView),
        ("event", models.EventView),
        ("meter", models.MeterView),
        ("part", models.MeterPart),
        ("lending", models.LendingView),
        ("peer", models.PeerView),
        ("problem", models.ProblemView),
    ],
)
def test_every_field_that_the_page_reads_is_one_of_the_document(
    variable: str, model: type[BaseModel]
) -> None:
    read = set(re.findall(rf"\b{variable}\.(\w+)", SCRIPT)) - {"map"}
    assert read
    assert read <= model.model_fields.keys()


def test_leases_of_both_kinds_are_read_by_the_fields_that_they_have() -> None:
    """`lease` is the budget's in one function, and watts between hosts in another."""
    read = set(re.findall(r"\blease\.(\w+)", SCRIPT))
    assert read <= models.LeaseView.model_fields.keys() | models.WattLease.model_fields.keys()
    assert {"direction", "host", "watts", "remaining_s"} <= read


def test_every_element_that_the_script_fills_is_in_the_page() -> None:
    named = set(re.findall(r'(?:byId|setText|pill|banner)\("([\w-]+)"', SCRIPT))
    assert named <= set(re.findall(r'id="([\w-]+)"', HTML))
    assert "peers" in named
