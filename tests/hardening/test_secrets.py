"""Passwords and keys stay where they are: whatever goes wrong, nobody is told what they are."""

import base64
import re
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from powerd.errors import ConfigError
from powerd.openadr.options import VtnOptions
from powerd.settings.bus import bus_options
from powerd.settings.loading import load
from powerd.signals.endpoint import BusOptions, endpoint
from tests.authority import authority
from tests.broker import Mosquitto, free_port
from tests.daemon.processes import POWERD, Process, clean_environment
from tests.daemon.rig import Rig
from tests.daemon.waiting import wait_until
from tests.powerctl import Ran, run
from tests.test_settings import MINIMUM

CANARY = "canary-5f1c9be2-hunter2-canary-5f1c9be2"
READS = ("/v1/status", "/metrics", "/v1/history", "/v1/events", "/openapi.json", "/readyz", "/")
WITHIN_S = 30.0


def secret_file(path: Path, text: str = CANARY) -> str:
    path.touch(mode=0o600)
    path.write_text(text + "\n", encoding="utf-8")
    return str(path)


class Watched(Rig):
    """A host whose broker asks for a password, and everything that it says or writes."""

    def __init__(self, directory: Path) -> None:
        users = directory / "users"
        command = ("mosquitto_passwd", "-b", "-c", str(users), "n1", "the right one")
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        super().__init__(
            directory, gpus=2, broker_settings=("allow_anonymous false", f"password_file {users}")
        )
        self.secrets = directory / "secrets"
        self.secrets.mkdir()
        self.broker.start()
        self.start_guard()

    def start_with(self, **mqtt: Any) -> None:
        """Start a daemon that reaches the broker like this, and is as talkative as can be."""
        leases = {"leases": {"key_file": secret_file(self.secrets / "rack")}}
        self.configure({"mqtt": mqtt, "rack": leases, "log": {"level": "debug"}})
        # A new program: a forked one would show another's command line and environment.
        self.daemon.command = (sys.executable, *self.daemon.command)
        self.daemon.start()

    def said_by_processes(self) -> list[str]:
        """Return what every user of the machine sees of the processes, and their environment."""
        pids = (self.daemon.pid, self.guard.pid)
        files = [Path(f"/proc/{pid}/{name}") for pid in pids for name in ("cmdline", "environ", "comm")]
        return [file.read_text(encoding="utf-8", errors="replace") for file in files]

    def said_by_commands(self) -> list[str]:
        """Return what the commands print that look at everything."""
        at = ("--url", f"http://127.0.0.1:{self.http_port}")
        asked = [run("doctor", "--config", str(self.config), *at), run("status", "--json", *at)]
        for command in (("config", "show", "--origin", "--config"), ("check-config",)):
            done = subprocess.run(
                [POWERD, *command, str(self.config)],
                env=clean_environment(),
                capture_output=True,
                text=True,
                check=False,
                timeout=WITHIN_S,
            )
            asked.append(Ran(done.returncode, done.stdout, done.stderr))
        assert all(len(each.out) > 100 for each in asked)
        return [text for each in asked for text in (each.out, each.err)]

    def said_over_http(self) -> list[str]:
        return [self.get(path).body for path in READS]

    def files(self) -> list[str]:
        """Return what is in every file but those of the secrets."""
        files = [path for path in self.directory.rglob("*") if path.is_file()]
        return [path.read_bytes().decode(errors="replace") for path in files if path.parent != self.secrets]


def tells_nothing(*texts: str) -> None:
    for text in texts:
        found = re.search("canary", text)
        assert not found, text[max(0, found.start() - 200) : found.end() + 200]


def test_a_daemon_tells_nobody_its_secrets_whatever_goes_wrong(tmp_path: Path) -> None:
    with Watched(tmp_path) as rig:
        rig.start_with(username="n1", password_file=secret_file(rig.secrets / "password"))

        rig.wait_for(lambda: "Not authorized" in rig.daemon.log, WITHIN_S, what="the broker's refusal")
        rig.wait_for(lambda: rig.status()["bus"]["error"], WITHIN_S, what="the refusal in the status")
        tells_nothing(*rig.said_by_processes(), *rig.said_by_commands(), *rig.said_over_http())

        rig.broker.kill()
        rig.wait_for(lambda: "refused" in rig.status()["bus"]["error"], WITHIN_S, what="no broker at all")

        (rig.secrets / "password").write_bytes(CANARY.encode() + b"\xff")
        (rig.secrets / "rack").write_text("canary", encoding="utf-8")
        rig.daemon.signal(signal.SIGHUP)
        rig.wait_for(lambda: "reload" in rig.daemon.log, WITHIN_S, what="secrets that are no good")
        tells_nothing(*rig.said_over_http(), *rig.said_by_processes())
        rig.daemon.kill()
        tells_nothing(*rig.files())


def refused(directory: Path, **mqtt: str) -> str:
    """Return why a configuration, or the connection that it describes, is refused."""
    keys = {"url": "mqtts://broker.example:8883", **mqtt}
    text = "".join(f'{key} = "{value}"\n' for key, value in keys.items())
    path = directory / "powerd.toml"
    path.write_text(MINIMUM.partition("[mqtt]")[0] + "[mqtt]\n" + text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        endpoint(bus_options(load(path).settings.mqtt, "n1"))
    return "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "mqtt",
    [
        {"url": f"mqtt://n1:{CANARY}@127.0.0.1:1883"},
        {"url": f"mqtts://{CANARY}@broker.example"},
        {"url": f"{CANARY}://broker.example"},
        {"url": f"mqtts://broker.example/{CANARY}"},
        {"url": f"mqtts://broker.example:{CANARY}"},
        {"password": CANARY},
        {"password_file": CANARY},
    ],
    ids=range(7),
)
def test_a_secret_in_the_wrong_place_is_refused_and_not_told(tmp_path: Path, mqtt: dict[str, str]) -> None:
    """As far as it can be known for one: what is taken for the name of a file is told as that."""
    text = refused(tmp_path, **mqtt)
    if "password_file" in mqtt:
        assert "password_file: canary" in text
    else:
        tells_nothing(text)


def test_a_key_that_is_damaged_is_not_told(tmp_path: Path) -> None:
    certificate, key = authority(tmp_path / "ca").issue("n1")
    first, *_ = Path(key).read_text(encoding="utf-8").splitlines()
    body = base64.b64encode(CANARY.encode() * 3).decode()
    for text in (f"{first}\n{CANARY}\n{body}\n-----END PRIVATE KEY-----", CANARY, f"{first}\n{body}"):
        file = secret_file(tmp_path / "key", text)
        said = refused(tmp_path, cert_file=certificate, key_file=file)
        assert body[:20] not in said
        tells_nothing(said)


def test_the_bridges_secret_is_not_told(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    with Mosquitto(tmp_path / "broker") as broker:
        file = tmp_path / "openadr.toml"
        file.write_text(
            f'[vtn]\nurl = "http://127.0.0.1:{free_port()}"\nclient_id = "ven"\n'
            f'client_secret_file = "{secret_file(secrets / "vtn")}"\n'
            f'[site]\nname = "hel1"\nstate_dir = "{tmp_path}"\n[mqtt]\nurl = "{broker.url}"\n'
            '[log]\nlevel = "debug"\n',
            encoding="utf-8",
        )
        bridge = Process(
            (sys.executable, POWERD, "bridge", "openadr", "--config", str(file)),
            tmp_path / "log",
            clean_environment(),
        )
        try:
            bridge.start()
            wait_until(
                lambda: "vtn" in bridge.log,
                WITHIN_S,
                what="a VTN that is not there",
                evidence=lambda: bridge.log,
            )
            for name in ("cmdline", "environ"):
                assert "canary" not in Path(f"/proc/{bridge.pid}/{name}").read_text(errors="replace")
        finally:
            bridge.close()
        assert "canary" not in bridge.log


def test_a_publishers_password_is_not_told(tmp_path: Path) -> None:
    password = secret_file(tmp_path / "password")
    budget = ("publish", "budget", "--site", "hel1", "--rack", "r17", "--watts", "3000")
    ran = run(
        *budget,
        "--broker",
        f"mqtt://127.0.0.1:{free_port()}",
        "--username",
        "n1",
        "--password-file",
        password,
    )
    assert ran.code == 1
    assert "refused" in ran.err
    tells_nothing(ran.out, ran.err)


def test_what_holds_a_secret_does_not_show_it_when_it_is_printed() -> None:
    assert "canary" not in repr(BusOptions("mqtts://broker", "n1", "n1", CANARY))
    assert "canary" not in repr(VtnOptions("https://vtn", "ven", client_secret=CANARY, ven_name="hel1"))
