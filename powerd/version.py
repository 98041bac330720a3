"""`--version`, the same for `powerd` and `powerctl`."""

import typer

from powerd import __version__


def version_option(program: str) -> object:
    """Return the option that prints a program's name and version, and does nothing else."""

    def show(is_wanted: bool) -> None:
        if is_wanted:
            typer.echo(f"{program} {__version__}")
            raise typer.Exit

    return typer.Option("--version", help="Print the version.", is_eager=True, callback=show)
