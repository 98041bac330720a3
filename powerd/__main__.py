"""`powerd`, also as `python -m powerd`: the guard goes its own way, all else is `powerd.cli`.

The guard may use 20 MiB; the libraries of the command line alone would cost more than that.
"""

import os
import sys


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["guard"]:
        from powerd.guard.__main__ import main as guard_main  # noqa: PLC0415

        code = guard_main(sys.argv[2:])
        sys.stdout.flush()
        # Not sys.exit: finalisation would wait for the interpreter lock of a thread that hangs in the driver.
        os._exit(code)
    from powerd.cli import main as cli_main  # noqa: PLC0415

    cli_main()


if __name__ == "__main__":
    main()
