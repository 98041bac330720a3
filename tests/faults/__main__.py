"""Write the table of faults: `python -m tests.faults docs/faults.md`."""

import sys
from pathlib import Path

from tests.faults.table import page

if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
