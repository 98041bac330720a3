"""Files that hold a secret: a password, a client's secret or a private key, for their owner alone."""

import stat
from collections.abc import Mapping
from pathlib import Path

from powerd.errors import ConfigError

# systemd makes these readable for the unit alone and shows their ACL as group bits (systemd.exec(5)).
_CREDENTIALS_DIRECTORY = "/run/credentials/"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def is_credential(file: str) -> bool:
    """Say whether systemd provides the file, which then exists only while its unit runs."""
    return file.startswith(_CREDENTIALS_DIRECTORY)


def problem_of_secret(file: str) -> str:
    """Return why a file cannot hold a secret; empty if it can, or if none is configured."""
    # A credential is not looked at: from a shell that would always fail.
    if not file or is_credential(file):
        return ""
    try:
        mode = Path(file).stat().st_mode
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    if mode & _OTHERS:
        return f"{file} is open to others than its owner; run: chmod 0600 {file}"
    return ""


def check_secrets(path: Path, secrets: Mapping[str, str]) -> None:
    """Prove that files can hold the secrets that a configuration says are in them.

    Args:
        path: of the configuration.
        secrets: key to file; empty = none is configured.

    Raises:
        ConfigError: some cannot; one line each: where, which key, what is wrong, what to do.
    """
    problems = {key: problem_of_secret(file) for key, file in secrets.items()}
    if lines := [f"{path}: {key}: {problem}" for key, problem in problems.items() if problem]:
        raise ConfigError("\n".join(lines))


def secret(file: str) -> str | None:
    """Return what a secret file holds, without its line end; None if none is configured.

    Raises:
        ConfigError: it cannot be read. What is in it is not repeated.
    """
    if not file:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError:
        raise ConfigError(f"{file} cannot be read: it is not UTF-8 text") from None
