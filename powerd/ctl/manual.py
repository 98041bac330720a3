"""Manual pages of powerctl and powerd, made from the commands themselves.

    python -m powerd.ctl.manual DIRECTORY

writes `powerctl.1`, one `powerctl-COMMAND.1` for each command (`powerctl-publish-budget.1` for one of a
group), `powerd.8` and one `powerd-COMMAND.8` each, and prints what it wrote. No other program is needed.
The date on them is that of SOURCE_DATE_EPOCH, else today. Shell completion: `powerctl completion SHELL`.
"""

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple, TypeAlias

import typer

from powerd import __version__
from powerd.cli import app as daemon_app
from powerd.ctl.main import app as hand_app
from powerd.errors import ConfigError, PowerdError

# Commands and contexts have another home in each version of typer.
Command: TypeAlias = Any
Context: TypeAlias = Any

_EXIT_CODES = (
    ("0", "What was asked for is done."),
    ("1", "It failed, or what was looked at is degraded."),
    ("2", "Wrong usage, or a configuration that cannot be used."),
    ("3", "The daemon cannot be reached."),
    ("4", "powerctl status: the failsafe budget holds."),
)
_FILES = (
    ("/etc/powerd/powerd.toml", "Main configuration; conf.d/*.toml beside it is read too."),
    (
        "/run/powerd/powerd.sock",
        "The daemon's socket: orders are taken here alone, from members of its group.",
    ),
)
_ABOUT = {
    "powerctl": "look at powerd, and change what it does",
    "powerd": "keep a rack of GPUs inside its power budget",
}


_COLUMNS = 78


class Page(NamedTuple):
    """One manual page: its file name, its text, and the command that it is about."""

    file: str
    text: str
    command: str


def pages() -> Iterator[Page]:
    """Yield every page, in order of the commands."""
    for program, app, section in (("powerctl", hand_app, 1), ("powerd", daemon_app, 8)):
        command = typer.main.get_command(app)
        yield from _pages(command, _context(command, program, None), section)


def write(directory: Path) -> Sequence[Path]:
    """Write every page below a directory, which is made if it is not there, and return their paths.

    Raises:
        ConfigError: it cannot be written to.
    """
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for page in pages():
            path = directory / page.file
            path.write_text(page.text, encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror}") from None
    return written


def _context(command: Command, name: str, parent: Context | None) -> Context:
    return typer.Context(command, info_name=name, parent=parent, **command.context_settings)


def _pages(command: Command, context: Context, section: int) -> Iterator[Page]:
    name = context.command_path.replace(" ", "-")
    yield Page(f"{name}.{section}", _page(name, command, context, section), context.command_path)
    for below, its_name in _subcommands(command, context):
        yield from _pages(below, _context(below, its_name, context), section)


def _subcommands(command: Command, context: Context) -> Iterator[tuple[Command, str]]:
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield command.get_command(context, name), name


def _page(name: str, command: Command, context: Context, section: int) -> str:
    manual = "User Commands" if section == 1 else "System Administration"
    lines = [
        f'.TH {name.upper()} {section} {_date()} "powerd {__version__}" "{manual}"',
        ".SH NAME",
        f"{_literal(name)} \\-",
        _text(_about(name, command)),
        ".SH SYNOPSIS",
        ".B " + _literal(context.command_path),
        *(_text(piece) for piece in command.collect_usage_pieces(context)),
    ]
    if command.help:
        lines += [".SH DESCRIPTION", *_paragraphs(command.help)]
    lines += _definitions("OPTIONS", _options(command, context))
    below = list(_subcommands(command, context))
    about = [(f"{name}-{each}({section})", _about(each, it)) for it, each in below]
    lines += _definitions("COMMANDS", about)
    lines += _example(command.epilog or "")
    if section == 1:
        lines += _definitions("EXIT STATUS", _EXIT_CODES)
    if name in _ABOUT:
        lines += _definitions("FILES", _FILES)
    lines += [
        ".SH SEE ALSO",
        ",\n".join(f".BR {_literal(each)} ({n})" for each, n in _related(name, section)),
    ]
    return "\n".join(lines) + "\n"


def _about(name: str, command: Command) -> str:
    """Return what a command is for, as the line that `man -k` finds: no capital first, no dot at the end."""
    said = _ABOUT.get(name) or command.get_short_help_str(limit=200)
    return (said[:1].lower() + said[1:]).rstrip(".")


def _options(command: Command, context: Context) -> Iterator[tuple[str, str]]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            yield record


def _definitions(title: str, pairs: Iterator[tuple[str, str]] | Sequence[tuple[str, str]]) -> list[str]:
    lines = [line for term, text in pairs for line in (".TP", ".B " + _literal(term), _text(text) or "\\&")]
    return [f".SH {title}", *lines] if lines else []


def _example(epilog: str) -> list[str]:
    """Return what stands below a command's help: its example, and which exit codes it has."""
    before, marker, example = epilog.replace("\b", "").partition("Example:")
    lines = []
    if said := " ".join(before.split()):
        lines += [".SH NOTES", _text(said)]
    if marker:
        commands = re.split(r"\n\s*(?=powerctl|powerd)|; (?=powerctl|powerd)", example.strip())
        lines += [".SH EXAMPLES", ".nf", *map(_literal, "\n".join(commands).splitlines()), ".fi"]
    return lines


def _related(name: str, section: int) -> list[tuple[str, int]]:
    others = {("powerctl", 1), ("powerd", 8), (name.rpartition("-")[0], section)}
    return sorted(others - {(name, section), ("", section)})


def _paragraphs(text: str) -> list[str]:
    parts = [" ".join(part.split()) for part in text.replace("\b", "").split("\n\n")]
    return [line for part in parts for line in (".PP", _text(part))][1:]


def _text(text: str) -> str:
    """Return running text that troff does not take for its own: hyphens stay hyphens."""
    escaped = re.sub(r"(?<!\w)--?(?=\w)", _minus, text.replace("\\", "\\e"))
    return "\n".join(_no_request(line) for line in wrap(escaped, _COLUMNS, break_on_hyphens=False))


def _literal(text: str) -> str:
    """Return what a person may type: every hyphen is a minus, so that it can be copied."""
    return _no_request(text.replace("\\", "\\e").replace("-", "\\-"))


def _no_request(line: str) -> str:
    """Return a line that troff takes for text, whatever it begins with."""
    return f"\\&{line}" if line[:1] in (".", "'") else line


def _minus(found: re.Match[str]) -> str:
    return found[0].replace("-", "\\-")


def _date() -> str:
    moment_s = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return time.strftime("%Y-%m-%d", time.gmtime(moment_s))


def main() -> None:
    """Write the pages into the directory that is named."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):  # noqa: PLR2004 -- one argument
        sys.exit("usage: python -m powerd.ctl.manual DIRECTORY")
    try:
        for path in write(Path(sys.argv[1])):
            print(path)  # noqa: T201 -- what a build wants to know
    except PowerdError as error:
        sys.exit(f"powerd.ctl.manual: {error}")


if __name__ == "__main__":
    main()
