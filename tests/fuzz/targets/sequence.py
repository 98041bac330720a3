"""Messages one after another, through the listeners into decisions, in virtual time."""

import base64
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from powerd.core.decide import decide
from powerd.core.model import Now
from powerd.core.state import Config, Inputs, State, initial_state
from powerd.signals.listener import (
    AdvisoryListener,
    BudgetListener,
    EventListener,
    Hooks,
    Inbound,
    PeerListener,
)
from powerd.signals.topics import Topics
from powerd.signatures.envelope import PLAIN, Envelopes
from tests.fuzz.oracle import check_line, fair
from tests.fuzz.targets.files import CONFIG, RACK
from tests.fuzz.targets.native import fair_unix_s
from tests.fuzz.targets.signed import SIGNED, TRUSTED

START = Now(boot_s=1000.0, wall_s=1795280400.5)
TOPICS = Topics("powerd/v1", "hel1", "r12", "h1")
# Of a notice, with the topic that its message came on.
_NOTICE_CHARACTERS = 450
_MAX_LINES = 24
_SIGNATURES = Envelopes(TRUSTED, "signals.native.keys")


def message_sequence(data: bytes) -> None:
    """The cap is never above the failsafe without a fresh budget that allows it, nor lower than was asked.

    Each line is a message: topic below the site's, space, 1 if it is retained, space, seconds that pass
    before it, space, payload.
    """
    for listens in (_Host(PLAIN, "accept"), _Host(_SIGNATURES, "lower_only")):
        for line in data.split(b"\n")[:_MAX_LINES]:
            listens.hear(line)
        listens.wait(400.0)
        assert listens.cap_mw <= RACK.failsafe_mw, "all leases are over"


@dataclass(frozen=True)
class _Said:
    """A budget as a fair reader would have it, a generous one.

    Attributes:
        mw: what it allows; None = no limit.
        least_mw: the lowest number of watts in it.
    """

    mw: float | None
    least_mw: float
    until_boot_s: float


class _Host:
    """The listeners and the core of one host, and what a fair reader makes of the same messages."""

    def __init__(self, envelopes: Envelopes, unsigned: str) -> None:
        self.now_is = START
        self.cap_mw = 0
        self._unsigned = unsigned
        self._heard: dict[str, list[Any]] = {"messages": [], "states": [], "events": [], "signals": []}
        self._said: list[_Said] = []
        self._is_of_budgets_alone = True
        self._state: State = initial_state(START)
        self._config: Config = CONFIG
        limit_mw = RACK.hard_limit_mw
        self._inbound = Inbound(
            BudgetListener(
                topics=TOPICS,
                hard_limit_mw=limit_mw,
                sources=(),
                hooks=self._hooks("messages"),
                envelopes=envelopes,
                unsigned=unsigned,
                clock=self,
            ),
            PeerListener(topics=TOPICS, rack=RACK, hooks=self._hooks("states"), clock=self),
            EventListener(
                topics=TOPICS, hard_limit_mw=limit_mw, sources=(), hooks=self._hooks("events"), clock=self
            ),
            AdvisoryListener(topics=TOPICS, sources=(), hooks=self._hooks("signals")),
        )
        self._decide()

    def now(self) -> Now:
        """Return the virtual time, as a clock does."""
        return self.now_is

    def hear(self, line: bytes) -> None:
        """Take one line of the input."""
        parts = line.split(b" ", 3)
        if len(parts) < 4:
            return
        name, retained, wait, payload = parts
        topic = f"{TOPICS.base}/{name.decode(errors='replace')}"
        self.wait(float(wait) if wait.isdigit() and len(wait) < 4 else 0.0)
        self._inbound.on_message(topic, payload, retained == b"1")
        if topic == TOPICS.budget:
            self._said += _fairly(payload, self.now_is.boot_s, is_signed=self._unsigned != "accept")
        else:
            self._is_of_budgets_alone = False
        self._decide()

    def wait(self, seconds: float) -> None:
        """Let time pass, with a decision before and after half of it."""
        for part_s in (seconds / 2, seconds / 2):
            self.now_is = Now(self.now_is.boot_s + part_s, self.now_is.wall_s + part_s)
            self._decide()

    def _hooks(self, kind: str) -> Hooks[Any]:
        return Hooks(
            self._heard[kind].append,
            lambda notice: check_line(notice.text, _NOTICE_CHARACTERS),
            lambda source, reason: check_line(f"{source} {reason}"),
        )

    def _decide(self) -> None:
        kinds: dict[str, Any] = {kind: tuple(heard) for kind, heard in self._heard.items()}
        inputs = replace(Inputs(readings=()), **kinds)
        for heard in self._heard.values():
            heard.clear()
        decision, self._state = decide(inputs, self._state, self.now_is, self._config)
        self.cap_mw = decision.rack_cap_mw
        assert self.cap_mw <= self._most_mw(), "raised without a fresh budget"
        if self._is_of_budgets_alone:
            assert self.cap_mw >= self._least_mw() - 1, "lowered, and nobody asked for it"

    def _most_mw(self) -> float:
        fresh = [said.mw for said in self._said if said.until_boot_s >= self.now_is.boot_s]
        allowed = [RACK.hard_limit_mw if mw is None else mw for mw in fresh]
        return min(RACK.hard_limit_mw, max([RACK.failsafe_mw, *allowed]))

    def _least_mw(self) -> float:
        return max(RACK.least_mw, min([RACK.failsafe_mw, *(said.least_mw for said in self._said)]))


def _fairly(payload: bytes, boot_s: float, *, is_signed: bool) -> Iterator[_Said]:
    """Yield what a budget says, if anything; it allows nothing where it had to be signed and is not."""
    raw = _content(payload)
    try:
        said = fair(raw)
        lease_s = fair_unix_s(said["valid_until"]) - fair_unix_s(said["issued_at"])
        powers = [said[name] for name in ("watts", "default_watts", "failsafe_watts") if name in said]
    except (ValueError, LookupError, TypeError, RecursionError):
        return
    known_mw = [float(each) * 1000 for each in powers if type(each) in (int, Decimal)]
    least_mw = min([mw for mw in known_mw if mw >= 0], default=math.inf)
    until_boot_s = boot_s + min(max(lease_s, 5.0), 300.0)
    if is_signed and raw not in SIGNED:
        yield _Said(0.0, least_mw, until_boot_s)
    elif said.get("watts", "") is None:
        yield _Said(None, least_mw, until_boot_s)
    elif known_mw:
        yield _Said(known_mw[0], least_mw, until_boot_s)


def _content(payload: bytes) -> bytes:
    """Return what is in a message that may be signed, whether or not the signature is good."""
    parts = payload.strip().split(b".")
    if payload.startswith(b"{") or len(parts) != 3:
        return payload
    try:
        return base64.urlsafe_b64decode(parts[1] + b"==")
    except ValueError:
        return payload
