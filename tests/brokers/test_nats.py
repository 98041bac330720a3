"""NATS server with JetStream, by its MQTT, as it comes and as packaged: the engine under DSX Exchange."""

from tests.brokers.claims import Claims
from tests.brokers.kinds import nats
from tests.brokers.packaged import packaged_nats

KINDS = (nats, packaged_nats)


class TestNats(Claims):
    pass
