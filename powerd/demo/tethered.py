"""`python -m powerd.demo.tethered run CONFIG | broker PORT`: a part of the demo, as a process.

It ends when its standard input does, so nothing is left behind by a demo that was killed. A host is the
unchanged `powerd run`.
"""

import os
import signal
import sys
import threading


def main(arguments: list[str]) -> None:
    """Run one part until it is told to stop, or the process that started it has ended."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    part, value = arguments
    # Imported where needed: each part shall start as fast as it can.
    if part == "broker":
        from powerd.demo.embedded_broker import serve  # noqa: PLC0415

        serve(int(value))
    else:
        from powerd.cli import main as powerd  # noqa: PLC0415

        powerd(["run", "--config", value])


def _end_with_stdin() -> None:
    # Not sys.stdin: its lock would be held when the interpreter ends.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1:])
