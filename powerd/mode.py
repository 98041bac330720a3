"""How far powerd may go: the modes, once, for the settings, for orders, and for the commands."""

from enum import StrEnum
from typing import Literal, TypeAlias, get_args

# monitor reads; dry-run also decides, and says what it would write; enforce writes.
Mode: TypeAlias = Literal["monitor", "dry-run", "enforce"]
MODES: tuple[Mode, ...] = get_args(Mode)


class ModeName(StrEnum):
    """A mode, as commands take it: how far the daemon may go."""

    MONITOR = "monitor"
    DRY_RUN = "dry-run"
    ENFORCE = "enforce"
