#!/usr/bin/env python3
"""Print a broker's access list: who may publish and hear what.

    access.py mosquitto hel1 < participants.txt > /etc/mosquitto/powerd.acl
    access.py nats hel1 < participants.txt > /etc/nats/powerd-users.conf

Each line of the participants is a role, a name, and for some the racks: `host r17-n1 r17`. Names are those of
certificates or users. Who has two roles has two lines. docs/brokers.md says what each role is.
"""

import argparse
import sys
from collections.abc import Iterable
from typing import NamedTuple


class Role(NamedTuple):
    """What participants of one kind may do.

    Attributes:
        publishes, hears: topic filters with the fields `base`, `name`, `rack` and `agent`.
    """

    publishes: tuple[str, ...]
    hears: tuple[str, ...]


_SITE_SAYS = ("{base}/grid/event/+", "{base}/signal/+/+")
_DSX_SAYS = ("grid/v1/isv/+/loadtarget/set", "grid/v1/infra/+/powerbreach/enforcement")
_AGENT_SAYS = (
    "grid/v1/dsx-flex-agent/{agent}/powerstate/status",
    "grid/v1/dsx-flex-agent/{agent}/powerbreach",
)
_ALL_AGENTS_SAY = tuple(each.format(agent="+") for each in _AGENT_SAYS)
_RACK_HEARS = ("{base}/rack/{rack}/budget", "{base}/rack/{rack}/meter/+", *_SITE_SAYS, *_DSX_SAYS)

# Topics are those of docs/signals.md and docs/dsx-flex.md.
ROLES = {
    "host": Role(
        ("{base}/rack/{rack}/host/{name}/+", "{base}/rack/{rack}/summary", *_AGENT_SAYS),
        (*_RACK_HEARS, "{base}/rack/{rack}/host/+/state", "{base}/rack/{rack}/host/{name}/doctor"),
    ),
    "facility": Role(
        ("{base}/rack/+/budget", "{base}/bridge/{name}/online"),
        ("{base}/rack/+/summary", "{base}/rack/+/host/+/notice"),
    ),
    "grid": Role(
        (*_SITE_SAYS, "{base}/bridge/{name}/online"), ("{base}/grid/event/+", "{base}/rack/+/summary")
    ),
    "meter": Role(("{base}/rack/+/meter/+", "{base}/bridge/{name}/online"), ()),
    "isv": Role(("grid/v1/isv/{name}/loadtarget/set",), _ALL_AGENTS_SAY),
    "infra": Role(("grid/v1/infra/{name}/powerbreach/enforcement",), _ALL_AGENTS_SAY),
    # Of $SYS, Mosquitto's figures about itself.
    "observer": Role((), ("{base}/#", "grid/v1/#", "$SYS/#")),
    # The bridge of a row's broker, at the broker of its hall.
    "row": Role(
        (
            "{base}/rack/{rack}/summary",
            "{base}/rack/{rack}/host/+/notice",
            "{base}/rack/{rack}/host/+/online",
            *_AGENT_SAYS,
        ),
        _RACK_HEARS,
    ),
}


class Rights(NamedTuple):
    """What one participant may do, as topic filters."""

    publishes: list[str]
    hears: list[str]


def rights(lines: Iterable[str], site: str) -> dict[str, Rights]:
    """Return what each participant may do, by name.

    Args:
        lines: role, name, racks; empty ones and those that begin with # count for nothing.

    Raises:
        ValueError: a line names no role that there is, or no rack where there has to be one.
    """
    found: dict[str, Rights] = {}
    for line in lines:
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        role, name, racks = words[0], words[1] if len(words) > 1 else "", words[2:]
        if role not in ROLES or not name or bool(racks) != (role in ("host", "row")):
            raise ValueError(f'"{line.strip()}" is not like "host r17-n1 r17" or "facility name"')
        own = found.setdefault(name, Rights([], []))
        for rack in racks or [""]:
            fields = {"base": f"powerd/v1/{site}", "name": name, "rack": rack, "agent": f"{site}-{rack}"}
            _add(own.publishes, ROLES[role].publishes, fields)
            _add(own.hears, ROLES[role].hears, fields)
    return found


def _add(filters: list[str], more: Iterable[str], fields: dict[str, str]) -> None:
    filters += [each for each in (one.format(**fields) for one in more) if each not in filters]


def mosquitto(name: str, own: Rights) -> str:
    """Return the part of an ACL file about one participant (mosquitto.conf(5), acl_file)."""
    lines = [f"user {name}"]
    lines += [f"topic write {each}" for each in own.publishes]
    lines += [f"topic read {each}" for each in own.hears]
    return "\n".join(lines) + "\n"


def nats(name: str, own: Rights) -> str:
    """Return one entry of `users`, for who is known by a certificate and comes by MQTT."""
    # Deliveries at QoS 1 come on subjects of the server's own.
    hears = [*_subjects(own.hears), "$MQTT.sub.>"]
    return (
        f'{{ user: "{name}", allowed_connection_types: ["MQTT"], permissions: {{\n'
        f"  publish: {_listed(_subjects(own.publishes))}\n"
        f"  subscribe: {_listed(hears)}\n"
        "} }\n"
    )


def _subjects(filters: Iterable[str]) -> list[str]:
    """Return MQTT topic filters as NATS subjects."""
    found = []
    for each in filters:
        if each.startswith("$SYS"):
            continue
        subject = each.replace("/", ".").replace("+", "*")
        # In MQTT `a/#` takes in `a` too.
        found += [subject[:-2], f"{subject[:-1]}>"] if subject.endswith(".#") else [subject]
    return found


def _listed(subjects: list[str]) -> str:
    return "[\n" + "".join(f'    "{each}"\n' for each in subjects) + "  ]"


def main() -> int:
    """Print the list; exit 1 if a line cannot be used."""
    parser = argparse.ArgumentParser(description="Print a broker's access list from who takes part.")
    parser.add_argument("broker", choices=("mosquitto", "nats"))
    parser.add_argument("site", help="as in host.site of powerd's configuration")
    options = parser.parse_args()
    try:
        participants = rights(sys.stdin, options.site)
    except ValueError as error:
        sys.stderr.write(f"access.py: {error}\n")
        return 1
    if options.broker == "mosquitto":
        sys.stdout.write("\n".join(mosquitto(*each) for each in participants.items()))
    else:
        sys.stdout.write("".join(("users: [\n", *(nats(*each) for each in participants.items()), "]\n")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
