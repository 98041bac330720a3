"""Build the fake library by hand: `python -m tests.fake_nvml --build DIR` prints its path."""

import argparse
from pathlib import Path

from tests.fake_nvml import build


def main() -> None:
    """Build into the directory of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fake_nvml", description=__doc__)
    parser.add_argument("--build", type=Path, required=True, metavar="DIR", help="where to put the library")
    print(build(parser.parse_args().build))  # noqa: T201 - printing the path is what this is for


if __name__ == "__main__":
    main()
