"""Prices and emissions (docs/grid-events.md): from payload to record, checked for form, and back.

Which signal is the newest, and whether it lowers anything, is the core's business.
"""

from powerd.core.rack.advisory import AdvisorySignal, SignalKind
from powerd.errors import SignalRejectedError
from powerd.signals import rfc3339, strict_json
from powerd.signals.fields import MAX_SOURCE_CHARACTERS, Fields
from powerd.signals.native import MAX_LABEL_CHARACTERS, VERSION
from powerd.signals.reasons import Reason
from powerd.signals.strict_json import JsonObject
from powerd.signals.wire import encode

GHG, PRICE = "ghg", "price"
# By the level of the topic that says what the number is: what its field `kind` may be.
KINDS: dict[str, dict[str, SignalKind]] = {
    GHG: {"marginal": SignalKind.GHG_MARGINAL, "average": SignalKind.GHG_AVERAGE},
    PRICE: {
        "spot": SignalKind.PRICE_SPOT,
        "tariff": SignalKind.PRICE_TARIFF,
        "forecast": SignalKind.PRICE_FORECAST,
    },
}
UNITS = {GHG: "g_per_kwh", PRICE: "per_kwh"}
# The bounds of what a grid can emit, or charge or pay for, a kilowatt-hour.
MAX_G_PER_KWH = 10_000.0
MAX_PRICE_PER_KWH = 1e6
MAX_ZONE_CHARACTERS = 64
CURRENCY_CHARACTERS = 3


def parse_signal(payload: bytes, *, signal: str, zone: str) -> AdvisorySignal:
    """Read one signal.

    Args:
        payload: as it came from the topic.
        signal: the level of the topic that says what it is: `ghg` or `price`.
        zone: the last level of the topic; the message must name the same.

    Raises:
        SignalRejectedError: the form is wrong; see `Reason`.
    """
    if signal not in KINDS:
        raise SignalRejectedError(Reason.KIND, "the topic is neither of ghg nor of price")
    fields = Fields(strict_json.read_message(payload))
    fields.version(VERSION)
    source = fields.text("source", MAX_SOURCE_CHARACTERS, min_characters=1)
    _check_zone(fields, zone)
    _check_unit(fields, signal)
    valid_from_s, valid_until_s = _validity(fields)
    return AdvisorySignal(
        kind=_kind(fields, signal),
        zone=zone,
        value=_value(fields, signal),
        currency=_currency(fields) if signal == PRICE else "",
        valid_from_s=valid_from_s,
        valid_until_s=valid_until_s,
        source=source,
        epoch=fields.integer("epoch"),
        seq=fields.integer("seq"),
        issued_at_s=fields.unix_s("issued_at"),
        correlation_id=fields.optional_text("correlation_id", MAX_LABEL_CHARACTERS),
    )


def signal_of(kind: SignalKind) -> str:
    """Return the level of the topic that says what it is: `ghg` or `price`."""
    return next(signal for signal, kinds in KINDS.items() if kind in kinds.values())


def encode_signal(said: AdvisorySignal) -> bytes:
    """Return the payload from which the same signal is read, but for stamps finer than milliseconds."""
    signal = signal_of(said.kind)
    fields: JsonObject = {
        "v": VERSION,
        "source": said.source,
        "epoch": said.epoch,
        "seq": said.seq,
        "issued_at": rfc3339.utc(said.issued_at_s),
        "zone": said.zone,
        "kind": next(name for name, kind in KINDS[signal].items() if kind is said.kind),
        "value": said.value,
        "unit": UNITS[signal],
        "valid_from": rfc3339.utc(said.valid_from_s),
        "valid_until": rfc3339.utc(said.valid_until_s),
    }
    labels = {"currency": said.currency, "correlation_id": said.correlation_id}
    return encode(fields | {name: label for name, label in labels.items() if label})


def _check_zone(fields: Fields, zone: str) -> None:
    named = fields.text("zone", MAX_ZONE_CHARACTERS, min_characters=1)
    if named != zone:
        fields.refuse(Reason.ZONE, f'zone is "{named}", which is not the last level of the topic')


def _check_unit(fields: Fields, signal: str) -> None:
    unit = fields.text("unit", MAX_LABEL_CHARACTERS)
    if unit != UNITS[signal]:
        fields.refuse(Reason.UNIT, f'unit is "{unit}"; that of {signal} is {UNITS[signal]}')


def _kind(fields: Fields, signal: str) -> SignalKind:
    kind = fields.text("kind", MAX_LABEL_CHARACTERS)
    if kind not in KINDS[signal]:
        fields.refuse(Reason.KIND, f'kind is "{kind}", not one of {", ".join(KINDS[signal])}')
    return KINDS[signal][kind]


def _value(fields: Fields, signal: str) -> float:
    if signal == GHG:
        return fields.number("value", 0, MAX_G_PER_KWH)
    return fields.number("value", -MAX_PRICE_PER_KWH, MAX_PRICE_PER_KWH)


def _currency(fields: Fields) -> str:
    currency = fields.text("currency", CURRENCY_CHARACTERS, min_characters=CURRENCY_CHARACTERS)
    if not (currency.isascii() and currency.isalpha() and currency.isupper()):
        fields.refuse(Reason.UNIT, f'currency is "{currency}", not three capital letters like EUR')
    return currency


def _validity(fields: Fields) -> tuple[float, float]:
    valid_from_s, valid_until_s = fields.unix_s("valid_from"), fields.unix_s("valid_until")
    if valid_until_s <= valid_from_s:
        fields.refuse(Reason.ORDER, "valid_until is not after valid_from")
    return valid_from_s, valid_until_s
