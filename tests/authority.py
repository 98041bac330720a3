"""A throwaway certificate authority, for tests of TLS."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_CURVE = ("-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Authority:
    """Made by `authority`.

    Attributes:
        directory: of its own certificate and of all that it issues.
    """

    directory: Path

    @property
    def ca_file(self) -> str:
        """Return the file that says whom to trust."""
        return str(self.directory / "ca.pem")

    def issue(self, name: str, *, alternatives: str = "", days: int = 2) -> tuple[str, str]:
        """Return the files of a new certificate and its key.

        Args:
            alternatives: what it may be called besides, as in `IP:127.0.0.1,DNS:other`.
            days: for which it is good from now on; negative: it has expired.
        """
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        names = self.directory / f"{name}.ext"
        names.write_text("subjectAltName=" + ",".join(filter(None, (f"DNS:{name}", alternatives))) + "\n")
        request = self.directory / f"{name}.csr"
        _openssl("req", "-newkey", "ec", "-keyout", key, "-out", request, "-subj", f"/CN={name}", *_CURVE)
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.ca_file, "-CAkey", self.directory / "ca.key"),
            *("-CAcreateserial", "-extfile", names, "-out", certificate, "-days", str(days)),
        )
        return str(certificate), str(key)


def authority(directory: Path) -> Authority:
    """Return a new authority, in a directory that it makes."""
    directory.mkdir()
    key, certificate = directory / "ca.key", directory / "ca.pem"
    request = ("req", "-x509", "-newkey", "ec", "-keyout", key, "-out", certificate, "-days", "2")
    _openssl(*request, "-subj", "/CN=Test Authority", *_CURVE)
    return Authority(directory)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)
