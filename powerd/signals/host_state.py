"""The state message of a host (docs/signals.md, Host state): from payload to record, checked for form.

Of what people are told in it only the draw is read, for the summary of the rack. Whether a message counts
(its order, its age) is the core's business.
"""

from collections.abc import Collection

from powerd.core.leases.host_state import HeardBudget, Hold, HostState, Key, Lend
from powerd.core.units import MilliWatts
from powerd.errors import SignalRejectedError
from powerd.signals import strict_json
from powerd.signals.fields import MAX_SOURCE_CHARACTERS, Fields
from powerd.signals.native import MAX_LABEL_CHARACTERS, VERSION
from powerd.signals.reasons import Reason

MAX_NAME_CHARACTERS = 64
MAX_DIGEST_CHARACTERS = 64
# Leases that one message may speak of, each way: more than a rack has hosts.
MAX_ENTRIES = 128
# A budget is never granted for longer (docs/signals.md, Rack budget).
MAX_LEASE_S = 300.0


def parse_host_state(
    payload: bytes,
    *,
    host: str,
    rack: str,
    hosts: Collection[str],
    hard_limit_mw: MilliWatts,
    received_boot_s: float,
) -> HostState:
    """Read what one host of the rack says.

    Hosts that it deals with need not be in this host's roster: its own may be another one, which is for the
    core to judge.

    Args:
        payload: as it came from the state topic of `host`.
        host, rack: of the topic; the message must name the same.
        hosts: the roster.
        hard_limit_mw: of the rack, to tell a wrong unit.
        received_boot_s: when it arrived.

    Raises:
        SignalRejectedError: the form is wrong; see `Reason`.
    """
    if host not in hosts:
        raise SignalRejectedError(Reason.ROSTER, "the host of this topic is not in rack.hosts")
    fields = Fields(strict_json.read_message(payload, host), host)
    fields.version(VERSION)
    _check_sender(fields, host, rack)

    def mw(name: str) -> MilliWatts:
        return fields.nearest_mw(name, hard_limit_mw)

    def known_mw(name: str) -> MilliWatts | None:
        return None if fields.is_null(name) else fields.nearest_mw(name, hard_limit_mw)

    return HostState(
        host=host,
        key=_key(fields),
        roster=fields.text("roster", MAX_DIGEST_CHARACTERS, min_characters=1),
        is_leasing=fields.boolean("leasing"),
        rack_cap_mw=mw("rack_cap_watts"),
        entitlement_mw=mw("share_watts"),
        want_mw=mw("demand_watts"),
        spare_mw=mw("spare_watts"),
        lent_mw=mw("lent_watts"),
        over_mw=mw("over_watts"),
        worst_case_mw=known_mw("worst_case_watts"),
        measured_mw=known_mw("measured_watts"),
        budget=_budget(fields, hard_limit_mw),
        lends=tuple(Lend(*entry) for entry in _entries(fields, "lends", "to", hard_limit_mw)),
        holds=tuple(Hold(*entry) for entry in _entries(fields, "holds", "from", hard_limit_mw)),
        received_boot_s=received_boot_s,
    )


def _check_sender(fields: Fields, host: str, rack: str) -> None:
    # A broker that lets hosts write on each other's topics must not make one speak for another by mistake.
    named = fields.text("rack", MAX_LABEL_CHARACTERS)
    if named != rack:
        fields.refuse(Reason.RACK, f'rack is "{named}", but the topic belongs to "{rack}"')
    named = fields.text("host", MAX_LABEL_CHARACTERS)
    if named != host:
        fields.refuse(Reason.HOST, f'host is "{named}", but the topic belongs to "{host}"')


def _key(fields: Fields) -> Key:
    return Key(fields.integer("epoch"), fields.integer("seq"))


def _budget(fields: Fields, hard_limit_mw: MilliWatts) -> HeardBudget | None:
    if fields.is_null("budget"):
        return None
    budget = fields.inner("budget")
    return HeardBudget(
        source=budget.text("source", MAX_SOURCE_CHARACTERS, min_characters=1),
        epoch=budget.integer("epoch"),
        seq=budget.integer("seq"),
        mw=None if budget.is_null("watts") else budget.nearest_mw("watts", hard_limit_mw),
        lease_s=budget.seconds("lease_s", MAX_LEASE_S),
    )


def _entries(
    fields: Fields, name: str, whom: str, hard_limit_mw: MilliWatts
) -> list[tuple[str, MilliWatts, Key]]:
    """Read one side of the host's leases; each other host is spoken of once."""
    entries = [
        (
            entry.text(whom, MAX_NAME_CHARACTERS, min_characters=1),
            entry.nearest_mw("watts", hard_limit_mw),
            _key(entry),
        )
        for entry in fields.each(name, MAX_ENTRIES)
    ]
    if len({other for other, *_ in entries}) != len(entries):
        fields.refuse(Reason.DUPLICATE_KEY, f"{name} speaks of one host more than once")
    return entries
