"""What `powerctl doctor` finds of signatures: whether raises rest on keys, and what is kept is signed."""

import time
from collections.abc import Iterator, Mapping

from powerd.ctl.doctor.check import Check, failed, not_checked, ok, warning
from powerd.errors import ConfigError, SignalRejectedError
from powerd.settings.model import Settings
from powerd.signals.topics import Topics
from powerd.signatures.envelope import Envelopes
from powerd.signatures.rack_secret import read_rack_secret

_BUDGETS, _STATES = "broker.budgets", "broker.states"


def trust(settings: Settings, topics: Topics, kept: Mapping[str, bytes]) -> Iterator[Check]:
    """Yield who can raise limits.

    Args:
        kept: what the broker delivered, by topic.
    """
    if settings.signals.native.enabled:
        yield _budgets(settings, topics, kept.get(topics.budget, b""))
    if settings.rack.leases.enabled and len(settings.rack.hosts) > 1:
        of_hosts = {name: topics.state_of(name) for name in settings.rack.hosts}
        states = {name: kept[topic] for name, topic in of_hosts.items() if topic in kept}
        yield _states(settings, topics, states)


def _budgets(settings: Settings, topics: Topics, kept: bytes) -> Check:
    native = settings.signals.native
    if not native.keys:
        text = f"budgets are not signed: whoever may write on {topics.budget} sets them"
        return not_checked(_BUDGETS, text, "[signals.native.keys], see docs/signals.md, Signed budgets")
    if native.unsigned_may == "accept":
        text = "budgets of senders without a key are taken unsigned, for what they say"
        return warning(_BUDGETS, text, 'take out signals.native.unsigned = "accept" once all senders sign')
    try:
        signer = Envelopes(native.keys, "signals.native.keys").open(kept, time.time()).signer
    except (ConfigError, SignalRejectedError) as error:
        fix = "is it the facility's, and the key the one that it signs with?"
        return failed(_BUDGETS, f"the budget that the broker keeps: {error}", fix)
    if kept and signer is None:
        fix = "have its sender sign it: powerctl publish budget --kid KID --signing-key FILE"
        return warning(_BUDGETS, "the budget that the broker keeps is not signed: it can only lower", fix)
    signers = sorted({key.source for key in native.keys.values()})
    return ok(_BUDGETS, f"nothing raises but what {' or '.join(signers)} has signed")


def _states(settings: Settings, topics: Topics, states: Mapping[str, bytes]) -> Check:
    file = settings.rack.leases.key_file
    if not file:
        text = f"states are not sealed: whoever may write on {topics.states} speaks as any host"
        return not_checked(_STATES, text, "rack.leases.key_file, see docs/leases.md, Sealed states")
    try:
        secret = read_rack_secret(file)
    except ConfigError as error:
        return not_checked(_STATES, str(error), "run it as root")
    odd = {}
    for name, payload in states.items():
        try:
            secret.check(topics.state_of(name), payload, name)
        except SignalRejectedError as error:
            odd[name] = str(error)
    if odd:
        fix = "the same rack.leases.key_file on every host of the rack, then systemctl reload powerd"
        return failed(_STATES, "; ".join(f"{name}: {why}" for name, why in odd.items()), fix)
    return ok(_STATES, f"the states of {len(states)} hosts are sealed with the secret of this rack")
