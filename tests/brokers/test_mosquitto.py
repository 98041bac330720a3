"""Mosquitto: by both versions of MQTT, and as packaged: TLS, with certificates of clients or passwords."""

from tests.brokers.claims import Claims
from tests.brokers.kinds import mosquitto_5, mosquitto_311
from tests.brokers.packaged import packaged_mosquitto, packaged_mosquitto_with_passwords

KINDS = (mosquitto_311, mosquitto_5, packaged_mosquitto, packaged_mosquitto_with_passwords)


class TestMosquitto(Claims):
    pass
