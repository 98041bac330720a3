from enum import StrEnum


class Phase(StrEnum):
    """Where the host stands with its controller (EEBUS LPC states, signals.md B3)."""

    INIT = "init"  # no controller heard since the start: failsafe limits
    LIMITED = "limited"  # a fresh lease with a limit
    UNLIMITED = "unlimited"  # a fresh lease without one: the hard limit holds
    FAILSAFE = "failsafe"  # the lease is over
