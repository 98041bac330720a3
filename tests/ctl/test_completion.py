"""Shells complete what powerctl knows, by asking it."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.powerctl import POWERCTL, run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    answer = run("completion", shell)
    assert (answer.code, answer.err) == (0, "")
    assert f"_POWERCTL_COMPLETE=complete_{shell}" in answer.out


@pytest.mark.parametrize(
    ("typed", "offered"), [("verif", ["verify", "verify-ledger"]), ("status --js", ["--json"])]
)
def test_bash_completes_commands_and_options(typed: str, offered: list[str]) -> None:
    words = ["powerctl", *typed.split()]
    script = (
        f"source <(powerctl completion bash); COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
        '_powerctl_completion powerctl; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{Path(POWERCTL).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env={**os.environ, "PATH": path}
    )
    assert done.stdout.split() == offered
