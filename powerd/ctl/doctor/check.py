"""What `powerctl doctor` finds: one line for each thing it looked at, and the fix where one is needed."""

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """How a thing stands."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


class Check(NamedTuple):
    """One thing that was looked at.

    Attributes:
        name: stable, for scripts: the area, a dot, and the thing.
        text: what was found, one line.
        fix: what to do, one line; empty if nothing is to be done.
    """

    name: str
    verdict: Verdict
    text: str
    fix: str = ""


def ok(name: str, text: str) -> Check:
    """Return that a thing is as it should be."""
    return Check(name, Verdict.OK, text)


def warning(name: str, text: str, fix: str) -> Check:
    """Return that a thing will or may do harm."""
    return Check(name, Verdict.WARNING, text, fix)


def failed(name: str, text: str, fix: str) -> Check:
    """Return that a thing is not as it must be."""
    return Check(name, Verdict.FAILED, text, fix)


def not_checked(name: str, text: str, fix: str = "") -> Check:
    """Return why nothing can be said of a thing."""
    return Check(name, Verdict.NOT_CHECKED, text, fix)
