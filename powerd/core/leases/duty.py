"""Which host does what one host is enough for, and nobody's safety rests on: it tells people of the rack.

No election: every host works it out from what it has heard. For a moment two may speak, or none.
"""

from powerd.core.leases.leases import LeaseRules, Leases
from powerd.core.topology import Rack


def on_duty(rack: Rack, host: str, leases: Leases, rules: LeaseRules, boot_s: float) -> str:
    """Return the first live host of the roster.

    A host is live if it was heard less than `silent_s` ago; after the start of the daemon the others are
    given that long to be heard.

    Args:
        host: this one, which is live.
        leases: what this host has heard.
    """

    def is_live(name: str) -> bool:
        peer = leases.peers.get(name)
        heard_boot_s = peer.received_boot_s if peer else leases.started_boot_s
        return name == host or boot_s - heard_boot_s <= rules.silent_s

    return next(each.name for each in rack.hosts if is_live(each.name))
