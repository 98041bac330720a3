"""Python imports this at its start, where it is on the path: then SIGRTMIN makes the process fail as told.

INSIDE_FAULT names a file with one line: what is to go wrong, and of what.

    stall PATH    the main thread does nothing but turn in a circle, as long as PATH exists
    raise NAME    the next call of a function of that name in powerd is an error, once
    leak MB       memory is taken until there is none left, or so much is held
    exhaust KB    memory is taken as long as there is any, down to pieces of that size
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

_MEBIBYTE = 1 << 20
_held: list[bytearray] = []


def _fail(_number: int, _frame: FrameType | None) -> None:
    fault, _, of_what = Path(os.environ["INSIDE_FAULT"]).read_text(encoding="utf-8").strip().partition(" ")
    {"stall": _stall, "raise": _raise_in, "leak": _leak, "exhaust": _exhaust}[fault](of_what)


def _stall(path: str) -> None:
    while Path(path).exists():
        pass


def _raise_in(name: str) -> None:
    def on_call(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_name == name and "/powerd/" in code.co_filename:
            sys.setprofile(None)
            raise RuntimeError(f"a bug in {name}")

    sys.setprofile(on_call)


def _leak(mebibytes: str) -> None:
    _held.extend(bytearray(b"x") * _MEBIBYTE for _ in range(int(mebibytes)))


def _exhaust(kibibytes: str) -> None:
    size = _MEBIBYTE
    while size >= int(kibibytes) << 10:
        try:
            _held.append(bytearray(size))
        except MemoryError:
            size //= 2


signal.signal(signal.SIGRTMIN, _fail)
