"""`powerctl`: the operator's hand. Here is which commands there are, and how every command fails.

Invariant: a user's mistake is one line on stderr and an exit code, never a traceback; and nothing is
imported that the command at hand does not need.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from powerd.ctl.checks import ExitCode
from powerd.errors import ConfigError, DaemonUnreachableError, PowerdError
from powerd.version import version_option

if TYPE_CHECKING:  # what a group gives has another home in each version of typer
    AnyCommand = Any

PROGRAM = "powerctl"

# The module of each command, in the order of the help: what reads, what changes, the rest.
MODULES = {
    "status": "look",
    "top": "top",
    "explain": "look",
    "history": "history",
    "events": "report",
    "report": "report",
    "verify": "look",
    "verify-ledger": "report",
    "doctor": "doctor.command",
    "override": "order",
    "release": "order",
    "detach": "order",
    "attach": "order",
    "mode": "order",
    "drill": "drill",
    "publish": "publish",
    "completion": "completion",
}


class _Commands(TyperGroup):
    """The commands, each loaded when it is asked for."""

    # Typer has its own class of context, which differs between its versions.

    def list_commands(self, _ctx: object) -> list[str]:
        """Return their names."""
        return list(MODULES)

    def get_command(self, _ctx: object, cmd_name: str) -> "AnyCommand":
        """Return one; None if there is none of that name."""
        if cmd_name not in MODULES:
            return None
        module = import_module(f"powerd.ctl.{MODULES[cmd_name]}")
        group = typer.main.get_group(module.app)
        return group if group.name == cmd_name else group.commands[cmd_name]


app = typer.Typer(
    name=PROGRAM,
    cls=_Commands,
    help="Look at powerd on this host, change what it does, and talk to a rack as its facility would.",
    epilog="Example: powerctl status; powerctl explain 0; powerctl override --help",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def powerctl(
    *,
    version: Annotated[bool, version_option(PROGRAM)] = False,
) -> None:
    """Take the options before the command."""


def main() -> None:
    """Run `powerctl`."""
    if f"_{PROGRAM.upper()}_COMPLETE" in os.environ:  # a shell asks what could come next
        from typer.completion import completion_init  # type: ignore[attr-defined] # noqa: PLC0415

        completion_init()
    try:
        app(prog_name=PROGRAM)
    except DaemonUnreachableError as error:
        _fail(error, ExitCode.UNREACHABLE)
    except ConfigError as error:
        _fail(error, ExitCode.USAGE)
    except PowerdError as error:
        _fail(error, ExitCode.DEGRADED)


def _fail(error: PowerdError, code: ExitCode) -> None:
    typer.echo(f"{PROGRAM}: {error}", err=True)
    sys.exit(code)
