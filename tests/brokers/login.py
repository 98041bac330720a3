"""How somebody proves to a broker who they are: the daemon, the facility, a bridge, a stranger."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt


@dataclass(frozen=True, slots=True)
class Login:
    """What a client brings along; empty = nothing of the kind.

    Attributes:
        ca_file: whom it trusts; the connection is encrypted if there is one.
    """

    username: str = ""
    password: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def prepare(self, client: mqtt.Client) -> None:
        """Give it to a client that is going to connect."""
        if self.username:
            client.username_pw_set(self.username, self.password)
        if self.ca_file:
            client.tls_set(self.ca_file, self.cert_file or None, self.key_file or None)

    def table(self, directory: Path) -> dict[str, Any]:
        """Return it as keys of `[mqtt]`; the password is in a file below `directory`."""
        keys = {"ca_file": self.ca_file, "cert_file": self.cert_file, "key_file": self.key_file}
        if self.username:
            file = directory / "password"
            file.touch(mode=0o600)
            file.write_text(self.password, encoding="utf-8")
            keys |= {"username": self.username, "password_file": str(file)}
        return {name: value for name, value in keys.items() if value}
