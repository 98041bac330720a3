"""`powerctl completion SHELL`: what a shell needs to complete powerctl's commands and options."""

from enum import StrEnum
from typing import Annotated

import typer

from powerd.ctl.options import new_app

app = new_app()


class Shell(StrEnum):
    """Shells that are known."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@app.command(epilog="Example: source <(powerctl completion bash); powerctl completion fish > powerctl.fish")
def completion(shell: Annotated[Shell, typer.Argument(help="Which shell.")]) -> None:
    """Print the completion script of a shell.

    The shell then asks powerctl itself what may come next, so the script stays true when commands change.
    """
    typer.echo(script(shell))


def script(shell: Shell) -> str:
    """Return the script, for a file of the shell's own completion directory or to be sourced."""
    # Imported here: no other command needs it. Typer's own, though it lists it nowhere.
    from typer.completion import get_completion_script  # type: ignore[attr-defined] # noqa: PLC0415

    names = {"prog_name": "powerctl", "complete_var": "_POWERCTL_COMPLETE"}
    return str(get_completion_script(**names, shell=shell.value)).strip()
