"""How the broker of the `[mqtt]` table is reached: by a host, and by the bridge of its site."""

from powerd.secret_file import secret
from powerd.settings.tables import MqttSettings
from powerd.signals.endpoint import BusOptions


def bus_options(mqtt: MqttSettings, client_id: str) -> BusOptions:
    """Return how to reach the broker, with the password read.

    Raises:
        ConfigError: the password cannot be read.
    """
    keys = mqtt.model_dump(exclude={"prefix", "client_id", "password_file"})
    return BusOptions(client_id=client_id, password=secret(mqtt.password_file), **keys)
