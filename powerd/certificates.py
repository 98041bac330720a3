"""Until when the certificate files are good that the connection to the broker rests on."""

import warnings
from collections.abc import Mapping
from pathlib import Path

# What tells a file that was replaced: inode, size, time of its last change.
_Stamp = tuple[int, int, int]

# What the file of trusted authorities is for: one of them is enough.
AUTHORITIES = "ca"


class Certificates:
    """Knows when certificates end. Reads a file again when it has changed, since they are renewed meanwhile.

    Args:
        files: PEM files by what they are for; empty names are left out.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self._known: dict[str, tuple[_Stamp, float]] = {}
        self.watch(files)

    def watch(self, files: Mapping[str, str]) -> None:
        """Look at these files from now on."""
        self._files = {purpose: Path(file) for purpose, file in files.items() if file}

    def ends(self) -> dict[str, float]:
        """Return the Unix time at which each file ends, by what it is for.

        A chain ends with the first of its certificates, a file of authorities with the last. A file that
        cannot be read, or holds none, is left out: whoever connects with it says what is wrong.
        """
        found = {}
        for purpose, path in self._files.items():
            try:
                found[purpose] = self._end(purpose, path)
            except (OSError, ValueError):
                self._known.pop(purpose, None)
        return found

    def _end(self, purpose: str, path: Path) -> float:
        stat = path.stat()
        stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        known = self._known.get(purpose)
        if known is None or known[0] != stamp:
            end_of = max if purpose == AUTHORITIES else min
            known = (stamp, end_of(_ends(path.read_bytes())))
            self._known[purpose] = known
        return known[1]


def _ends(pem: bytes) -> list[float]:
    """Return when each of the certificates ends.

    Raises:
        ValueError: there is none, or one that cannot be read.
    """
    # Only hosts that use certificates pay for it.
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415

    with warnings.catch_warnings():
        # Bundles have authorities that are older than today's rules, and nobody here can change them.
        warnings.simplefilter("ignore")
        return [each.not_valid_after_utc.timestamp() for each in load_pem_x509_certificates(pem)]
