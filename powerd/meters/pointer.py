"""JSON pointers (RFC 6901): where in a payload a value stands, like `/rows/0/records/2/avgValue`."""

import re

from powerd.errors import SignalRejectedError
from powerd.signals.reasons import Reason

_POINTER = re.compile(r"(/([^~/]|~[01])*)*")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


def checked_pointer(name: str, pointer: str) -> str:
    """Return the pointer if it is one.

    Args:
        name: what it is for, for the error text.

    Raises:
        ValueError: it is none.
    """
    if not _POINTER.fullmatch(pointer):
        raise ValueError(f'{name} "{pointer}" is not a JSON pointer like /status/power')
    return pointer


def find(document: object, pointer: str, part: str) -> object:
    """Return what stands at a place in a document.

    Args:
        pointer: a checked one; empty = the document itself.
        part: whom a refusal is counted for.

    Raises:
        SignalRejectedError: there is nothing.
    """
    found = document
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and _INDEX.fullmatch(key) and int(key) < len(found):
            found = found[int(key)]
        else:
            raise SignalRejectedError(Reason.MISSING, f"{pointer} leads nowhere", part)
    return found
