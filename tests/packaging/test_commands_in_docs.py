"""Every command that a document tells people to type exists, with the options that it shows."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from powerd.cli import app as daemon_app
from powerd.ctl.main import app as hand_app

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
PROGRAMS = {"powerctl": hand_app, "powerd": daemon_app}
# Up to what a shell takes for another command, or for a comment.
IN_BLOCK = re.compile(r"^ *(?:sudo )?(powerctl|powerd) ([a-z](?:\\\n|[^\n|;&#])*)", re.MULTILINE)
IN_PROSE = re.compile(r"`(powerctl|powerd) ([a-z][^`|;&#]*)")


def typed(document: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield what stands in blocks of code and between backticks: program and arguments."""
    for number, part in enumerate(document.read_text(encoding="utf-8").split("```")):
        pattern = IN_BLOCK if number % 2 else IN_PROSE
        for program, arguments in pattern.findall(part):
            yield program, re.sub(r"\"[^\"]*\"|'[^']*'", "TEXT", arguments.replace("\\\n", " ")).split()


def unknown(program: str, arguments: list[str]) -> str:
    """Return what of a command line does not exist; empty if all of it does."""
    command: Any = typer.main.get_command(PROGRAMS[program])
    context = typer.Context(command)
    while hasattr(command, "get_command") and arguments:
        name, *arguments = arguments
        below = command.get_command(context, name)
        if below is None:
            return f"{program}: no command {name}"
        command, context = below, typer.Context(below, info_name=name)
    options = {option for parameter in command.get_params(context) for option in parameter.opts}
    if command.context_settings.get("ignore_unknown_options"):
        return ""  # the guard reads its own
    shown = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    wrong = shown - options - {"--help"}
    return f"{program} {command.name}: {', '.join(sorted(wrong))}" if wrong else ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_people_are_told_to_type_exists(document: Path) -> None:
    assert [wrong for program, rest in typed(document) if (wrong := unknown(program, rest))] == []


def test_a_command_that_does_not_exist_is_found() -> None:
    assert (
        unknown("powerctl", ["drill", "lost-controller", "--duration", "90s"]) == "powerctl drill: --duration"
    )
    assert unknown("powerctl", ["frobnicate"]) == "powerctl: no command frobnicate"
    assert unknown("powerctl", ["publish", "budget", "--site", "hel1"]) == ""
