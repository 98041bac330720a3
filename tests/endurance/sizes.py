"""How large what a daemon remembers has become: everything that can be reached from it, added up."""

import gc
import sys
from collections.abc import Iterable
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

_NO_DATA = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, FrameType, CodeType)


def bytes_of(root: object, leaving_out: Iterable[object] = ()) -> int:
    """Return how many bytes an object takes with all that it leads to.

    Code is left out, and so is what belongs to the simulation, to event loops, or to `leaving_out`.
    """
    seen = {id(each) for each in leaving_out}
    waiting: list[Any] = [root]
    total = 0
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, _NO_DATA) or _is_foreign(each):
            continue
        seen.add(id(each))
        total += sys.getsizeof(each)
        waiting += gc.get_referents(each)
    return total


def _is_foreign(each: object) -> bool:
    return (type(each).__module__ or "").partition(".")[0] in ("tests", "asyncio", "_asyncio", "threading")
