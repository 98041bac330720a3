"""Where the broker is and how to prove it is the right one: checked options, a TLS context.

Invariant: a checked endpoint is encrypted, on this machine, or plaintext by the operator's explicit word.
"""

import ipaddress
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from powerd.errors import ConfigError

_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class BusOptions:
    """How to reach the broker: the keys of the `[mqtt]` table, with the password already read.

    Attributes:
        url: mqtts://host[:port], or mqtt:// on this machine.
        client_id: stable per host, so that a new connection takes the place of a dead one.
        ca_file, cert_file, key_file: PEM; empty = the system's authorities, no client certificate.
        keepalive_s: the broker publishes the will after 1.5 of these without a sign of life.
        protocol: "5", "3.1.1", or "auto", which tries them in this order.
        reconnect_min_s, reconnect_max_s: bounds of the random wait between attempts.
        allow_plaintext: allow mqtt:// to another machine.
    """

    url: str
    client_id: str
    username: str = ""
    password: str | None = field(default=None, repr=False)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    keepalive_s: int = 10
    protocol: str = "auto"
    reconnect_min_s: float = 1.0
    reconnect_max_s: float = 4.0
    allow_plaintext: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A checked address.

    Attributes:
        tls: None for plaintext.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None


def endpoint(options: BusOptions) -> Endpoint:
    """Check the options. Reads the certificate files afresh, since they are renewed while powerd runs.

    Raises:
        ConfigError: URL, protocol or a certificate file cannot be used; the text names the key.
    """
    try:
        parts = urlsplit(options.url)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (KeyError, ValueError):
        # The URL is not repeated: it may hold a password in the wrong place.
        raise ConfigError("mqtt.url is not like mqtts://broker.example:8883") from None
    if "@" in parts.netloc:
        raise ConfigError("mqtt.url holds credentials: use mqtt.username and mqtt.password_file")
    if not parts.hostname:
        raise ConfigError(f'mqtt.url "{options.url}" names no host')
    if options.protocol not in ("auto", "5", "3.1.1"):
        raise ConfigError(f'mqtt.protocol "{options.protocol}" is not one of auto, 5, 3.1.1')
    if parts.scheme == "mqtts":
        return Endpoint(parts.hostname, port, _tls_context(options))
    if not (options.allow_plaintext or _is_loopback(parts.hostname)):
        raise ConfigError(
            f"mqtt.url {options.url} is not encrypted and leads to another machine: use mqtts://, or set "
            "mqtt.allow_plaintext = true on a network that you trust"
        )
    return Endpoint(parts.hostname, port, None)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _TidySocket(ssl.SSLSocket):
    """Closes itself when the peer cannot prove who it is, instead of waiting to be collected."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def _tls_context(options: BusOptions) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.ca_file or None)
    except OSError as error:  # ssl.SSLError is one too
        raise ConfigError(f"mqtt.ca_file {options.ca_file}: {error.strerror or error}") from None
    # As it is by default; but the system's OpenSSL may be configured otherwise.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.cert_file:
        try:
            context.load_cert_chain(options.cert_file, options.key_file or None)
        except OSError as error:
            raise ConfigError(
                f"mqtt.cert_file {options.cert_file}, mqtt.key_file {options.key_file}: "
                f"{error.strerror or error}"
            ) from None
    context.sslsocket_class = _TidySocket
    return context
