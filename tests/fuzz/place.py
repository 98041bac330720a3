"""Where targets put files: a directory in memory that ends with the process."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")


_made: list["tempfile.TemporaryDirectory[str]"] = []


def directory() -> Path:
    """Return the directory; it is made when it is asked for first, and removed with the process."""
    if not _made:
        where = _MEMORY if _MEMORY.is_dir() else None
        _made.append(tempfile.TemporaryDirectory(prefix="powerd-fuzz-", dir=where))
    return Path(_made[0].name)


def remove() -> None:
    """Remove the directory, for a process that ended without doing so."""
    if _made:
        _made.pop().cleanup()


@contextmanager
def written(name: str, data: bytes) -> Iterator[Path]:
    """Give the path of a file with this content, alone in its directory; it is removed afterwards."""
    path = directory() / name
    path.write_bytes(data)
    path.chmod(0o600)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
