"""A certificate authority for a test, which gives out good certificates and bad ones."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_A_DAY = timedelta(days=1)
_PEM = serialization.Encoding.PEM


class Authority:
    """Signs certificates with a key of its own.

    Args:
        name: what it calls itself; a new authority of an old name is not the old one.
    """

    def __init__(self, name: str = "Site Authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._own = self._signed(self._name, self._key, ends_in=_A_DAY, is_authority=True)

    def write(self, file: Path) -> None:
        """Write its own certificate, by which others know what it has signed."""
        file.write_bytes(self._own.public_bytes(_PEM))

    def issue(self, certificate: Path, key: Path, *, ends_in: timedelta = _A_DAY) -> None:
        """Write a certificate for `localhost` and its key.

        Args:
            ends_in: from now; negative: it has expired.
        """
        own = ec.generate_private_key(ec.SECP256R1())
        signed = self._signed(_name("localhost"), own, ends_in=ends_in, is_authority=False)
        certificate.write_bytes(signed.public_bytes(_PEM))
        encoding = (
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        key.write_bytes(own.private_bytes(*encoding))

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ends_in: timedelta, is_authority: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * _A_DAY)
            .not_valid_after(now + ends_in)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if not is_authority:
            names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
