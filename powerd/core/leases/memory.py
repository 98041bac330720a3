"""What a host knows of its own past after a start, and when what it does not know cannot matter any more.

Without memory of what it has lent a host stays at its floor until no lease made before can be in use. After a
change of the roster it keeps to the least of all entitlements that others may count on, until every host has
changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from powerd.core.leases.host_state import HostState, Key
from powerd.core.leases.leases import LARGEST_EPOCH, LeaseRules, Leases, Promise, expire
from powerd.core.model import Now
from powerd.core.topology import Rack


@dataclass(frozen=True, slots=True)
class LeaseMemory:
    """What outlives the daemon.

    Attributes:
        epoch: the largest own one that is known of.
        promises: every lease that may be in use; of this boot only.
        is_lost, wait_until_boot_s: memory had been lost, and was still being waited for.
        rack: the roster of the last run.
        formers: rosters of before, until all hosts go by that one.
        heard: the key of the newest message of each other host: what is older is no news, whoever says it
            again. It alone is no reason to write.
    """

    epoch: int
    promises: tuple[Promise, ...]
    is_lost: bool
    wait_until_boot_s: float
    rack: Rack
    formers: tuple[Rack, ...] = ()
    heard: dict[str, Key] = field(default_factory=dict, compare=False)


def keep(leases: Leases, rack: Rack) -> LeaseMemory:
    """Return what has to outlive the daemon."""
    epoch = max(leases.epoch, leases.foreign_epoch)
    # A key that no clock gives was made up: remembered, it would keep its host out for good.
    real = {name: peer.key for name, peer in leases.peers.items() if peer.key.epoch <= LARGEST_EPOCH}
    heard = {**leases.heard, **real}
    waiting = (leases.is_lost, leases.wait_until_boot_s)
    return LeaseMemory(epoch, leases.promises, *waiting, rack, leases.formers, heard)


def recall(
    memory: LeaseMemory | None, rack: Rack, rules: LeaseRules, now: Now, *, of_this_boot: bool = True
) -> Leases:
    """Return the leases at the start of the daemon.

    Args:
        memory: None if there is none, or it could not be read.
        of_this_boot: the times in it were counted on this clock.
    """
    epoch = max(int(now.wall_s * 1000), memory.epoch + 1 if memory else 0)
    leases = Leases(epoch=epoch, started_boot_s=now.boot_s, heard=memory.heard if memory else {})
    if has_peers(rack, rules):
        rosters = (memory.rack, *memory.formers) if memory else ()
        leases = leases._replace(formers=tuple(roster for roster in rosters if roster != rack))
    elif memory is None or not of_this_boot:
        return leases
    if memory is None or not of_this_boot:
        return leases._replace(is_lost=True, wait_until_boot_s=now.boot_s + rules.forget_s)
    # Also where leases were switched off meanwhile: borrowers cannot know of that.
    return leases._replace(
        promises=memory.promises,
        is_lost=memory.is_lost,
        wait_until_boot_s=memory.wait_until_boot_s,
    )


def tend(leases: Leases, rack: Rack, boot_s: float, *, roster: str, knows_budget: bool) -> Leases:
    """Let go of what is over: promises, lost memory, former rosters.

    Args:
        knows_budget: a budget was heard since the start, or remembered, or none can be in force any more.
    """
    leases = expire(leases, boot_s)
    if leases.is_lost and boot_s > leases.wait_until_boot_s and knows_budget:
        # A peer that goes by another roster may be right: then this host's share may be too large.
        leases = leases._replace(is_lost=any(peer.roster != roster for peer in leases.peers.values()))
    if leases.formers and not leases.promises and _all_agree(rack, leases.peers, roster):
        leases = leases._replace(formers=())
    return leases


def has_peers(rack: Rack, rules: LeaseRules) -> bool:
    """Say whether there is anybody to lend to or to borrow from."""
    return rules.enabled and len(rack.hosts) > 1


def roster_digest(rack: Rack, rules: LeaseRules) -> str:
    """Return a digest of all that hosts must agree on to deal with each other."""
    hosts = sorted((host.name, host.share_units, host.floor_mw) for host in rack.hosts)
    terms = (
        rack.site,
        rack.name,
        hosts,
        (rack.hard_limit_mw, rack.failsafe_mw, rack.overhead_mw, rack.guard_band_pct),
        (rules.enabled, rules.ttl_s, rules.max_ttl_s, rules.guard_bound_s, rules.publish_s, rules.lead_s),
    )
    return blake2b(repr(terms).encode(), digest_size=8).hexdigest()


def _all_agree(rack: Rack, peers: Mapping[str, HostState], roster: str) -> bool:
    """Say whether every other host of the roster was heard, and goes by the same one."""
    return len(peers) == len(rack.hosts) - 1 and all(peer.roster == roster for peer in peers.values())
