"""Whether a message is newer than the last one of its source: the same for budgets and for events.

Newer means a larger (epoch, seq). Epochs go by a clock, so a new one does not make an old stamp new
(docs/signals.md, Clocks and Verdicts).
"""

from typing import NamedTuple, Protocol

from powerd.core.rack.timeline import VerdictKind


class Numbered(Protocol):
    """A message, or what is remembered of one."""

    @property
    def epoch(self) -> int:
        """Which life of its sender, ..."""

    @property
    def seq(self) -> int:
        """... and which message in it."""

    @property
    def issued_at_s(self) -> float:
        """When, by its sender's wall clock, in Unix seconds."""

    @property
    def digest(self) -> str:
        """What tells its content from any other."""


class Stale(NamedTuple):
    """Why a message is not newer; as in `Verdict`."""

    kind: VerdictKind
    reason: str
    text: str = ""


def why_stale(new: Numbered, known: Numbered, max_skew_s: float) -> Stale | None:
    """Return why a message is not newer than what is known of its source; None if it is."""
    new_key, known_key = (new.epoch, new.seq), (known.epoch, known.seq)
    if new_key == known_key and new.digest == known.digest:
        return Stale(VerdictKind.DUPLICATE, "duplicate")
    if new_key == known_key:
        text = f"epoch {new.epoch} seq {new.seq} came before with other content"
        return Stale(VerdictKind.REJECTED, "key_reused", text)
    if new_key < known_key:
        reason = "old_epoch" if new.epoch < known.epoch else "old_seq"
        text = f"epoch {new.epoch} seq {new.seq} is older than {known.epoch} seq {known.seq}"
        return Stale(VerdictKind.REJECTED, reason, text)
    if new.epoch > known.epoch and new.issued_at_s < known.issued_at_s - max_skew_s:
        text = "a new epoch was issued before the last message of the old one"
        return Stale(VerdictKind.REJECTED, "backdated_epoch", text)
    return None
