"""TLS against a real broker, with certificates of a throwaway authority."""

from pathlib import Path

import pytest

from powerd.errors import BusError
from powerd.signals.endpoint import BusOptions
from powerd.signals.mqtt import connect
from powerd.signals.outbox import Outgoing
from tests.authority import Authority, authority
from tests.broker import Mosquitto
from tests.signals.stubs import BUDGET_TOPIC, Observed, until


def tls_broker(directory: Path, ours: Authority, *, name: str, client_certificate: bool = False) -> Mosquitto:
    certificate, key = ours.issue(name)
    files = [f"cafile {ours.ca_file}", f"certfile {certificate}", f"keyfile {key}"]
    return Mosquitto(
        directory, tls=True, settings=[*files, f"require_certificate {str(client_certificate).lower()}"]
    )


async def test_budgets_arrive_over_tls_with_a_client_certificate(tmp_path: Path) -> None:
    ours = authority(tmp_path / "ca")
    cert_file, key_file = ours.issue("n3")
    with tls_broker(tmp_path / "broker", ours, name="localhost", client_certificate=True) as broker:
        options = BusOptions(broker.url, "n3", ca_file=ours.ca_file, cert_file=cert_file, key_file=key_file)
        async with Observed(options, BUDGET_TOPIC) as seen:
            await seen.connected()
            async with connect(
                BusOptions(broker.url, "facility", "", None, ours.ca_file, cert_file, key_file)
            ) as session:
                await session.publish(Outgoing(BUDGET_TOPIC, b"live" * 5000, qos=1))
            await until(lambda: seen.payloads() == [b"live" * 5000])


@pytest.mark.parametrize(
    ("trusted", "name", "problem"),
    [("other", "localhost", "certificate verify failed"), ("ours", "elsewhere", "Hostname mismatch")],
)
async def test_a_broker_that_cannot_prove_who_it_is_gets_no_connection(
    tmp_path: Path, trusted: str, name: str, problem: str
) -> None:
    known = {"ours": authority(tmp_path / "ours"), "other": authority(tmp_path / "other")}
    with tls_broker(tmp_path / "broker", known["ours"], name=name) as broker:
        options = BusOptions(broker.url, "n3", ca_file=known[trusted].ca_file)
        with pytest.raises(BusError, match=problem):
            async with connect(options):
                pass
