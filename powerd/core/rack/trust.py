"""What stands behind a message: nothing but the broker, or a signature (docs/signals.md, Signed budgets)."""

from enum import StrEnum


class Trust(StrEnum):
    """What stands behind a message."""

    BROKER = "broker"  # that it was let through: no signature is asked for
    SIGNED = "signed"  # the key of its source
    NONE = "none"  # not signed where signatures are asked for: it may lower, and nothing else
