"""Signatures, keys, and the messages of DSX Flex.

The private keys to `tests/fuzz/keys` were thrown away: whatever is taken as signed beyond what was signed
with them then is a forgery.
"""

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

from powerd.core.events.grid_event import ActionKind, GridEvent
from powerd.core.model import Notice, Now
from powerd.dsx.listener import DsxListener, ListenOptions
from powerd.dsx.load_target import Feeds
from powerd.dsx.traces import Traces
from powerd.errors import ConfigError
from powerd.signals.listener import Hooks
from powerd.signatures.envelope import Envelopes
from powerd.signatures.jws import TrustedKey, Verifier
from powerd.signatures.keys import private_key, public_key
from tests.fuzz.oracle import accepted, check_finite, check_line, check_mw, fair
from tests.fuzz.place import written

KEYS = Path(__file__).parents[1] / "keys"
ISV = "//grid/v1/isv/acme-energy"
FACILITY = "facility-a"
TRUSTED = {
    "ec": TrustedKey(str(KEYS / "ec.pem"), ISV),
    "rsa": TrustedKey(str(KEYS / "rsa.pem"), ISV),
    "budget": TrustedKey(str(KEYS / "budget.pem"), FACILITY),
}
# All that was ever signed with these keys, and by whom.
SIGNED = {path.read_bytes(): ISV for path in KEYS.glob("signed-*.json")}
SIGNED |= {path.read_bytes(): FACILITY for path in KEYS.glob("budget-*.json")}
NOW = Now(boot_s=1000.0, wall_s=1795280400.5)
TOPIC = "grid/v1/isv/acme-energy/loadtarget/set"
ENFORCEMENT_TOPIC = "grid/v1/infra/ima-prod/powerbreach/enforcement"
FEEDS = Feeds.of(40_000_000, {"main-a": 0.01, "main-b": 0.02}, others=["main-c"])
_VERIFIER = Verifier(TRUSTED)
_ENVELOPES = Envelopes(TRUSTED, "signals.native.keys")
_KW = {"watt": 1000, "kilowatt": 10**6, "megawatt": 10**9}


def signature(data: bytes) -> None:
    """Nothing counts as signed that was not signed, byte for byte, and nobody signs for another."""
    token = data.decode(errors="replace")
    signed = accepted(lambda: _VERIFIER.verified(token, wall_s=NOW.wall_s))
    if signed is not None:
        assert SIGNED[signed.raw] == signed.signer
    if accepted(lambda: _VERIFIER.payload(token, signer=ISV, wall_s=NOW.wall_s)) is not None:
        assert signed is not None
        assert signed.signer == ISV
    late = accepted(lambda: _VERIFIER.verified(token, wall_s=5e9))
    assert late is None or (signed is not None and b'"exp"' not in late.raw)


def signed_message(payload: bytes) -> None:
    """A message is what it is, by nobody, or what was signed, by its signer."""
    opened = accepted(lambda: _ENVELOPES.open(payload, NOW.wall_s))
    if opened is None:
        return
    if opened.signer is None:
        assert opened.raw == payload
    else:
        assert SIGNED[opened.raw] == opened.signer


def key_file(data: bytes) -> None:
    """A file is a key of one kind that is strong enough, or it is refused; nothing of it is repeated."""
    with written("key", data) as path:
        public = accepted(lambda: public_key(str(path)), ConfigError)
        private = accepted(lambda: private_key(str(path)), ConfigError)
    assert public is None or private is None
    for key in (public, private):
        assert key is None or key.algorithm in ("ES256", "RS256")


def load_target(payload: bytes) -> None:
    """A target limits as it says, and releases where it says null; unsigned data counts where allowed."""
    for listener, events, _ in (_heard(payload, TOPIC), _heard(payload, TOPIC, TRUSTED)):
        if listener.rejected or not events:
            continue
        message = fair(payload)
        if isinstance(message["data"], str):
            assert _VERIFIER.payload(message["data"], signer=ISV, wall_s=NOW.wall_s)
            continue
        for event in events:
            check_target(event, message["data"]["targets"][event.seq])


def enforcement(payload: bytes) -> None:
    """What was done about a breach is told in one line."""
    listener, events, notices = _heard(payload, ENFORCEMENT_TOPIC)
    assert not events
    assert len(notices) == 1
    check_line(notices[0].subject)
    assert listener.rejected or fair(payload)["data"]["code"] in ("success", "partial", "error")


def check_target(event: GridEvent, said: Any) -> None:
    """Prove that an event asks for what its target says."""
    check_finite(event)
    [interval] = event.intervals
    assert interval.end_s is None or interval.start_s < interval.end_s
    constraint = said["load_constraint"]
    if constraint is None:
        assert interval.action.kind is ActionKind.RELEASE
        return
    assert interval.action.kind is ActionKind.LIMIT
    value = constraint["value"]
    assert type(value) in (int, Decimal)
    # A double of so many megawatts is off by less than a watt.
    if value < 10**6:
        check_mw(interval.action.mw, value, _KW[constraint["unit"]])
    assert math.isclose(interval.action.mw, float(value) * _KW[constraint["unit"]], abs_tol=1.0)
    tags = said.get("feed_tags") or list(FEEDS.whole_mw)
    assert set(event.targets) <= set(tags)


def _heard(
    payload: bytes, topic: str, keys: dict[str, TrustedKey] | None = None
) -> tuple[DsxListener, list[GridEvent], list[Notice]]:
    events: list[GridEvent] = []
    notices: list[Notice] = []
    options = ListenOptions(keys=keys or {}, allow_unsigned=not keys)
    hooks = Hooks(events.append, notices.append, lambda source, reason: check_line(f"{source} {reason}"))
    listener = DsxListener(options, FEEDS, clock=_Still(), traces=Traces(), hooks=hooks)
    listener.on_message(topic, payload, False)
    for notice in notices:
        check_line(notice.text, 900)
    return listener, events, notices


class _Still:
    """A clock that stands."""

    def now(self) -> Now:
        return NOW
