"""Where targets put files: a directory in memory that ends with the process."""

import functools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")


@functools.cache
def _directory() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="powerd-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None)


@contextmanager
def written(name: str, data: bytes) -> Iterator[Path]:
    """Give the path of a file with this content, alone in its directory; it is removed afterwards."""
    path = Path(_directory().name) / name
    path.write_bytes(data)
    path.chmod(0o600)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
