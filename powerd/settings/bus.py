"""How the broker of the `[mqtt]` table is reached: by a host, and by the bridge of its site."""

from dataclasses import astuple
from hashlib import blake2b
from pathlib import Path

from powerd.errors import ConfigError
from powerd.files.secret_file import secret
from powerd.settings.tables import MqttSettings
from powerd.signals.endpoint import BusOptions, endpoint


def bus_options(mqtt: MqttSettings, client_id: str) -> BusOptions:
    """Return how to reach the broker, with the password read.

    Raises:
        ConfigError: the password cannot be read.
    """
    keys = mqtt.model_dump(exclude={"prefix", "client_id", "password_file"})
    return BusOptions(client_id=client_id, password=secret(mqtt.password_file), **keys)


def digest(options: BusOptions) -> bytes:
    """Return a digest of all that a connection is made with, its files included, to tell a change of it.

    Raises:
        ConfigError: no connection could be made with it.
    """
    endpoint(options)
    # Not the options' own text, in which no password stands.
    found = blake2b(repr(astuple(options)).encode())
    for file in filter(None, (options.ca_file, options.cert_file, options.key_file)):
        try:
            found.update(Path(file).read_bytes())
        except OSError as error:
            raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    return found.digest()
