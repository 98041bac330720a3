"""docs/configuration.md is what the settings and config/powerd.toml say, of every key."""

import re
from pathlib import Path

from powerd.settings.commented import comments
from powerd.settings.errors import known_keys
from powerd.settings.model import Settings
from powerd.settings.reference import document

ROOT = Path(__file__).parent.parent.parent
CONFIG = (ROOT / "config" / "powerd.toml").read_text(encoding="utf-8")
# What the table above them says of both: names and their values.
TOLD_BY_THE_TABLE = {
    ("rack", "feeds", "*"),
    ("rack", "hosts", "*", "share"),
    ("rack", "hosts", "*", "floor_watts"),
}


def test_the_page_is_up_to_date() -> None:
    """If this fails: make generated."""
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == document(CONFIG)


def test_every_key_has_a_row_and_a_meaning() -> None:
    keys = list(known_keys(Settings))
    meanings = comments(CONFIG, keys).keys
    rows = re.findall(r"^\| `[\w*]+` \|", document(CONFIG), re.MULTILINE)
    assert len(rows) == len(keys)
    assert {key for key in keys if not meanings.get(key)} <= TOLD_BY_THE_TABLE


def test_a_comment_belongs_to_the_key_that_it_is_beside_or_above() -> None:
    text = '[mqtt]\n# Of the broker.\n# No user.\nurl = "a # b"   # required\n\n# Prose.\n\n#prefix = "x"\n'
    found = comments(text, [("mqtt", "url"), ("mqtt", "prefix")]).keys
    assert found == {("mqtt", "url"): "Of the broker. No user. required", ("mqtt", "prefix"): ""}
