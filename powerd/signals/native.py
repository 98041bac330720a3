"""The native budget message (docs/signals.md, Rack budget): from payload to record, checked for form.

Form is all that is judged here. Whether a well-formed message counts (its order, its age, its lease, the
clocks) is the core's business.
"""

import hashlib

from powerd.core.model import Now
from powerd.core.rack.timeline import BudgetMessage
from powerd.core.units import MilliWatts
from powerd.signals import strict_json
from powerd.signals.fields import MAX_SOURCE_CHARACTERS, Fields
from powerd.signals.reasons import Reason

VERSION = 1
DEFAULT_PRIORITY = 100
MAX_LABEL_CHARACTERS = 128


def parse_budget(
    payload: bytes, *, rack: str, hard_limit_mw: MilliWatts, retained: bool, received: Now
) -> BudgetMessage:
    """Read one budget.

    Args:
        payload: as it came from the topic of `rack`.
        rack: the rack the topic belongs to; the message must name the same.
        hard_limit_mw: of that rack, to tell a wrong unit.
        retained: delivered from the broker's store.
        received: when it arrived.

    Returns:
        The message. Watts between the hard limit and ten times of it are left for the core to clamp.

    Raises:
        SignalRejectedError: the form is wrong; see `Reason`.
    """
    fields = Fields(strict_json.read_message(payload, empty="no statement, the last one runs out"))
    fields.version(VERSION)
    source = fields.text("source", MAX_SOURCE_CHARACTERS, min_characters=1)
    _check_rack(fields, rack)
    issued_at_s, valid_until_s = _validity(fields)
    return BudgetMessage(
        source=source,
        epoch=fields.integer("epoch"),
        seq=fields.integer("seq"),
        issued_at_s=issued_at_s,
        valid_until_s=valid_until_s,
        mw=None if fields.is_null("watts") else fields.power_mw("watts", hard_limit_mw),
        received=received,
        retained=retained,
        priority=fields.integer("priority") if fields.has("priority") else DEFAULT_PRIORITY,
        default_mw=_optional_power_mw(fields, "default_watts", hard_limit_mw),
        failsafe_mw=_optional_power_mw(fields, "failsafe_watts", hard_limit_mw),
        reason=fields.optional_text("reason", MAX_LABEL_CHARACTERS),
        correlation_id=fields.optional_text("correlation_id", MAX_LABEL_CHARACTERS),
        digest=hashlib.blake2b(payload, digest_size=8).hexdigest(),
    )


def _check_rack(fields: Fields, rack: str) -> None:
    # A bridge that mixes up its racks would otherwise hand this rack the budget of another.
    named = fields.text("rack", MAX_LABEL_CHARACTERS)
    if named != rack:
        fields.refuse(Reason.RACK, f'rack is "{named}", but the topic belongs to "{rack}"')


def _validity(fields: Fields) -> tuple[float, float]:
    issued_at_s, valid_until_s = fields.unix_s("issued_at"), fields.unix_s("valid_until")
    if valid_until_s <= issued_at_s:
        fields.refuse(Reason.ORDER, "valid_until is not after issued_at: the lease has no length")
    return issued_at_s, valid_until_s


def _optional_power_mw(fields: Fields, name: str, hard_limit_mw: MilliWatts) -> MilliWatts | None:
    return fields.power_mw(name, hard_limit_mw) if fields.has(name) else None
