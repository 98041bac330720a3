"""What the handbook and the alerts tell people to type exists, with the options that it needs."""

import re
import shlex
from typing import Any

import pytest
import typer

from powerd.ctl.main import app
from tests.monitoring.promql import ROOT, alerts

HANDBOOK = "\n".join(
    (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("alerts.md", "monitoring.md")
)
# In code, so with all that belongs to it; a name alone only refers to the command.
TYPED = sorted({line for line in re.findall(r"`powerctl ([^`]+)`", HANDBOOK) if " " in line})


def command(words: list[str]) -> tuple[Any, list[str]]:
    """Return what is called, and the words that are left for it."""
    found: Any = typer.main.get_command(app)
    while hasattr(found, "list_commands"):
        found = found.get_command(None, words[0])
        assert found is not None, f"there is no powerctl {words[0]}"
        words = words[1:]
    return found, words


@pytest.mark.parametrize("line", TYPED)
def test_what_is_to_be_typed_exists(line: str) -> None:
    called, words = command(shlex.split(line))
    options = {word for word in words if word.startswith("-")}
    known = {name for parameter in called.params for name in parameter.opts}
    assert options <= known
    if options:
        needed = [parameter.opts for parameter in called.params if parameter.required]
        assert not [names for names in needed if names[0].startswith("-") and not options & set(names)]


def test_alerts_name_only_commands_that_exist() -> None:
    texts = " ".join(" ".join(rule["annotations"]["description"].split()) for rule in alerts())
    for name in sorted(set(re.findall(r"powerctl (\w+)", texts))):
        found: Any = typer.main.get_command(app)
        assert found.get_command(None, name) is not None, name
