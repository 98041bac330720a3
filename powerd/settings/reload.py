"""Which keys a reload (SIGHUP) changes, which wait for a restart, and what of new settings is in force.

Every key is declared here, by itself or with its table; a test finds one that is not. Docs: docs/reload.md.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from powerd.errors import ConfigError
from powerd.settings.layers import Key, Tree
from powerd.settings.loading import Loaded, leaves
from powerd.settings.model import Settings

# A key, or a table with all that is below it, and what a reload does with it.
LIVE: Mapping[str, str] = {
    "host.mode": "as by powerctl mode; unchanged, it leaves the mode that an operator has ordered",
    "host.overhead_watts": "more is taken off the GPUs at once; less is given to them along the ramp",
    "host.accounting": "with the next decision; limits above the budget go at once",
    "host.measured_excess_watts": "with the next decision",
    "rack.hard_limit_watts": "a lower one is a cut at once, a higher one is climbed to; see Racks",
    "rack.failsafe_watts": "with the next plan, so the guard's fallback follows too; see Racks",
    "rack.overhead_watts": "more is a cut at once, less is given along the ramp; see Racks",
    "rack.guard_band_pct": "more is a cut at once, less is given along the ramp; see Racks",
    "rack.default_watts": "a lower one is a cut at once, a higher one is climbed to",
    "rack.site_fraction": "for events that are under way too",
    "rack.feeds": "for events that are under way too",
    "rack.hosts": "less is a cut at once, a larger share is given along the ramp, a floor at once; see Racks",
    "rack.leases": "see Racks; key_file is read again",
    "control.objective": "with the next decision",
    "control.hold_s": "from the next plan on",
    "control.failsafe_hold_s": "for a failsafe that is under way too",
    "control.raise_dwell_s": "from the next failsafe on",
    "control.raise_ramp_pct_per_min": "for a climb that is under way too, from where it is",
    "control.raise_jitter_s": "from the next climb on",
    "control.deadband_watts": "with the next decision",
    "control.deadband_pct": "with the next decision",
    "control.idle_after_s": "with the next decision",
    "control.warmup_s": "with the next decision",
    "control.brake_hold_s": "from the next brake on",
    "control.other_writer_hold_s": "from the next foreign limit on",
    "gpu.floor_watts": "with the next decision",
    "gpu.ceiling_watts": "a lower one is a cut at once",
    "gpu.overrides": "with the next decision; a GPU without a table has the values of [gpu] again",
    "signals.native": "what a sender that is not listened to any more has said is dropped at once; "
    "the key files are read again",
    "signals.events": "events that are held stay held, whoever sent them, as over a restart; "
    "the key files are read again",
    "signals.dsx.isvs": "at once; powerd connects to the broker anew",
    "signals.dsx.other_feeds": "at once",
    "signals.dsx.allow_unsigned": "at once",
    "signals.dsx.keys": "the files are read again, also where no key has changed",
    "signals.advisory": "with the next decision",
    "mqtt.username": "powerd connects to the broker anew",
    "mqtt.password_file": "read again, also where the key has not changed; anew if the password has",
    "mqtt.ca_file": "read again, also where the key has not changed; anew if the certificates have",
    "mqtt.cert_file": "read again, also where the key has not changed; anew if the certificate has",
    "mqtt.key_file": "read again, also where the key has not changed; anew if the private key has",
    "mqtt.keepalive_s": "powerd connects to the broker anew",
    "mqtt.protocol": "powerd connects to the broker anew",
    "mqtt.reconnect_min_s": "powerd connects to the broker anew",
    "mqtt.reconnect_max_s": "powerd connects to the broker anew",
    "log.level": "at once",
}
# The same, and why these wait.
RESTART: Mapping[str, str] = {
    "host.site": "names the topics",
    "host.rack": "names the topics",
    "host.name": "names the topics, and what was lent under that name",
    "host.overhead_sensor": "what was measured belongs to the sensor",
    "host.state_dir": "what is remembered is in it",
    "host.allow_without_persistence_mode": "is asked before the first write",
    "host.trust_wall_clock": "what was judged by the clock stays judged",
    "control.period_s": "the rhythm of every part",
    "gpu.driver": "is the guard's",
    "gpu.simulated": "is the guard's",
    "guard": "is the guard's, which takes no reload; its socket and deadline are the daemon's too",
    "signals.dsx.enabled": "makes another participant of the rack",
    "signals.dsx.identifier": "names what is published",
    "signals.dsx.role": "names what is published",
    "signals.dsx.signing_kid": "names what is published",
    "signals.dsx.signing_key_file": "names what is published",
    "signals.dsx.status_every_s": "belongs to what is published",
    "signals.dsx.status_qos": "belongs to what is published",
    "signals.dsx.breach_qos": "belongs to what is published",
    "signals.dsx.infrastructure_actions": "belongs to what is published",
    "signals.dsx.breach": "a breach that is under way is judged by one rule",
    "signals.meters": "what the rack's meters have said is counted by one rule",
    "mqtt.url": "another broker may know another budget",
    "mqtt.prefix": "names the topics",
    "mqtt.client_id": "names the host to its broker",
    "mqtt.allow_plaintext": "belongs to mqtt.url",
    "http": "sockets are opened once",
    "ledger": "the file is opened once",
    "log.format": "a log has one form",
}
_RESTART = tuple(tuple(dotted.split(".")) for dotted in RESTART)


class Change(NamedTuple):
    """One key that a new configuration has otherwise than the one in force.

    Attributes:
        old, new: None where it is not set.
        origin: "file:line" and the like of the new value; "removed" where it stands nowhere any more.
        is_live: a reload changes it; else it waits for a restart.
    """

    key: str
    old: Any
    new: Any
    origin: str
    is_live: bool

    @property
    def text(self) -> str:
        """Return it as one line."""
        return f"{self.key}: {shown(self.old)} -> {shown(self.new)} ({self.origin})"


def shown(value: object) -> str:
    """Return a value for people."""
    return "not set" if value is None else f"{value:g}" if isinstance(value, float) else repr(value)


def declarations(key: Key) -> list[str]:
    """Return what LIVE and RESTART say of a key: exactly one entry, or a decision is missing."""
    return [dotted for dotted in (*LIVE, *RESTART) if _is_below(key, tuple(dotted.split(".")))]


def is_live(key: Key) -> bool:
    """Say whether a reload changes a key."""
    return not any(_is_below(key, prefix) for prefix in _RESTART)


def changes(running: Settings, loaded: Loaded) -> tuple[Change, ...]:
    """Return what differs, in the order of the tables; no file that a key names is looked into."""
    old, new = _values(running), _values(loaded.settings)
    found = (
        Change(dotted, old.get(key), new.get(key), loaded.origins.get(dotted, "removed"), is_live(key))
        for key, dotted in ((key, ".".join(key)) for key in {**old, **new})
        if old.get(key) != new.get(key)
    )
    # The defaults that a new table comes with tell nothing.
    return tuple(change for change in found if change.old is not None or change.origin != "default")


def in_force(running: Settings, new: Settings) -> Settings:
    """Return new settings, with what waits for a restart left as it is.

    Raises:
        ConfigError: the two do not go together.
    """
    # A key that nobody has set stays unset: meters of different kinds have different keys.
    tree, kept = (each.model_dump(exclude_unset=True) for each in (new, running))
    for key in _RESTART:
        _transplant(tree, kept, key)
    try:
        return Settings(**tree)
    except ValidationError as error:
        texts = (each["msg"].removeprefix("Value error, ") for each in error.errors())
        lines = (f"{text}; it goes with a key that waits for a restart" for text in texts)
        raise ConfigError("\n".join(lines)) from error


def _values(settings: Settings) -> dict[Key, Any]:
    # An empty table is no value: it has no keys.
    found: Iterator[tuple[Key, Any]] = leaves(settings.model_dump(mode="json"))
    return {key: value for key, value in found if value is not None and value != {}}


def _transplant(tree: Tree, kept: Tree, key: Key) -> None:
    """Have a key, or a table, as another tree has it, also where that has none."""
    for part in key[:-1]:
        tree, kept = tree.setdefault(part, {}), kept.get(part, {})
    tree.pop(key[-1], None)
    if key[-1] in kept:
        tree[key[-1]] = kept[key[-1]]


def _is_below(key: Key, prefix: Key) -> bool:
    return key[: len(prefix)] == prefix
