"""The page, from its sources: what it reads exists, what it colours can be read, and it stands alone."""

import base64
import hashlib
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from powerd.ctl.reasons import RULES
from powerd.web import event_models, history_models, models, page

SOURCE = Path(page.__file__).parent
SCRIPT = "\n".join((SOURCE / name).read_text(encoding="utf-8") for name in page.SCRIPTS)
HTML = (SOURCE / "page.html").read_text(encoding="utf-8")
CSS = (SOURCE / "page.css").read_text(encoding="utf-8")
MAX_BYTES = 100_000
# WCAG 2.2, level AA, for text of any size.
LEAST_CONTRAST = 4.5
TEXT_ON = {
    "--page": ("--ink", "--soft"),
    "--card": ("--ink", "--soft", "--good", "--busy", "--warning", "--critical"),
    "--track": ("--ink", "--soft", "--critical"),
    "--busy-page": ("--ink", "--soft", "--busy"),
    "--warning-page": ("--ink", "--soft", "--warning"),
    "--critical-page": ("--on-critical",),
}


@pytest.mark.parametrize(
    ("variable", "model"),
    [
        ("status", models.Status),
        ("budget", models.BudgetView),
        ("step", models.ChainStep),
        ("gpu", models.GpuView),
        ("explanation", models.Explanation),
        ("event", models.EventView),
        ("asked", event_models.GridEventView),
        ("meter", models.MeterView),
        ("part", models.MeterPart),
        ("lending", models.LendingView),
        ("peer", models.PeerView),
        ("problem", models.ProblemView),
        ("orders", models.OrdersDocument),
        ("override", models.OverrideView),
        ("drill", models.DrillView),
        ("detached", models.DetachedView),
        ("extract", history_models.HistoryView),
        ("happening", history_models.HappeningView),
    ],
)
def test_every_field_that_the_page_reads_is_one_of_the_document(
    variable: str, model: type[BaseModel]
) -> None:
    """A field that was renamed would show as nothing."""
    read = set(re.findall(rf"\b{variable}\.(\w+)", SCRIPT)) - {"map", "filter"}
    assert read
    assert read <= model.model_fields.keys()


def test_leases_of_both_kinds_are_read_by_the_fields_that_they_have() -> None:
    """`lease` is the budget's in one function, and watts between hosts in another."""
    read = set(re.findall(r"\blease\.(\w+)", SCRIPT))
    assert read <= models.LeaseView.model_fields.keys() | models.WattLease.model_fields.keys()
    assert {"direction", "host", "watts", "remaining_s"} <= read


def test_every_element_that_the_script_fills_is_in_the_page() -> None:
    named = set(re.findall(r'byId\("([\w-]+)"', SCRIPT))
    assert named <= set(re.findall(r'id="([\w-]+)"', HTML))
    assert "hosts" in named


def test_every_rule_of_the_core_has_a_name_on_the_page() -> None:
    named = set(re.findall(r"^  (\w+): \{ name: ", SCRIPT, re.MULTILINE))
    assert named == set(RULES)


def test_every_script_of_the_directory_is_in_the_page() -> None:
    assert set(page.SCRIPTS) == {path.name for path in SOURCE.glob("*.js")}


def test_the_page_is_small_and_names_nothing_outside_itself() -> None:
    html = page.load().html
    assert len(html.encode()) <= MAX_BYTES
    assert set(re.findall(r"https?://[^\s'\"]+", html)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(?:link|script|img|iframe)[^>]+(?:src|href)=\"(?!data:)", html)
    assert "@import" not in html


def test_only_this_style_and_this_script_may_run() -> None:
    loaded = page.load()
    for tag in ("style", "script"):
        inside = re.search(rf"<{tag}>(.*)</{tag}>", loaded.html, re.DOTALL)
        assert inside is not None
        digest = base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in loaded.content_security_policy
    assert "unsafe" not in loaded.content_security_policy


def test_no_text_can_become_part_of_the_document() -> None:
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", SCRIPT
    )


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", TEXT_ON)
def test_text_can_be_read_on_its_ground(ground: str, scheme: int) -> None:
    colours = dict(re.findall(r"(--[\w-]+): (#\w+);", re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[scheme]))
    contrasts = {text: contrast(colours[text], colours[ground]) for text in TEXT_ON[ground]}
    assert min(contrasts.values()) >= LEAST_CONTRAST, contrasts


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG defines it, from 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    short = colour.removeprefix("#")
    pairs = [c * 2 for c in short] if len(short) == len("rgb") else re.findall("..", short)
    parts = [int(pair, 16) / 255 for pair in pairs]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
