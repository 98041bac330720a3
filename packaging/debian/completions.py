"""Write powerctl's completion for each shell below a directory, where Debian's shells look for it."""  # noqa: INP001 -- a script of the package build

import sys
from pathlib import Path

from powerd.ctl.completion import Shell, script

PLACES = {
    Shell.BASH: "bash-completion/completions/powerctl",
    Shell.ZSH: "zsh/vendor-completions/_powerctl",
    Shell.FISH: "fish/vendor_completions.d/powerctl.fish",
}


def main(directory: Path) -> None:
    """Write every script."""
    for shell, place in PLACES.items():
        path = directory / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script(shell) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
