"""Which budget was in force when, as the facility that sent it knows it: the measure that draw is held to."""

import math
from dataclasses import dataclass


@dataclass(slots=True)
class _Spell:
    """One budget, from its first message to the end of the last one's lease."""

    start_s: float
    end_s: float
    watts: float


class BudgetRecord:
    """Budgets in force over time, in seconds on the boot clock.

    Before the first message, and after a lease that was not renewed, the failsafe budget is in force.
    """

    def __init__(self, failsafe_watts: float) -> None:
        self._failsafe_watts = failsafe_watts
        self._spells: list[_Spell] = []

    def publish(self, boot_s: float, watts: float, lease_s: float) -> bool:
        """Note a message; return whether it is a cut, and not a renewal or a raise."""
        before = self.at(boot_s)
        if self._spells and boot_s < self._spells[-1].end_s and watts == self._spells[-1].watts:
            self._spells[-1].end_s = boot_s + lease_s
            return False
        self._spells.append(_Spell(boot_s, boot_s + lease_s, watts))
        return watts < before

    @property
    def start_s(self) -> float:
        """Return when the first message was published; infinity if none was."""
        return self._spells[0].start_s if self._spells else math.inf

    @property
    def end_s(self) -> float:
        """Return when the last lease ends, if it is not renewed; minus infinity if there was none."""
        return self._spells[-1].end_s if self._spells else -math.inf

    def at(self, boot_s: float) -> float:
        """Return the watts in force."""
        spell = self._spell(boot_s)
        return self._failsafe_watts if spell is None or boot_s >= spell.end_s else spell.watts

    def since_cut_s(self, boot_s: float) -> float:
        """Return how long ago the budget in force was lowered to what it is; infinity if it was not."""
        spell = self._spell(boot_s)
        if spell is None:
            return math.inf
        changed_s = spell.end_s if boot_s >= spell.end_s else spell.start_s
        is_cut = self.at(boot_s) < self.at(math.nextafter(changed_s, -math.inf))
        return boot_s - changed_s if is_cut else math.inf

    def extremes_watts(self, until_s: float) -> tuple[float, float]:
        """Return the lowest and the highest budget that was in force from the first message on."""
        watts = [spell.watts for spell in self._spells]
        next_starts_s = [*(spell.start_s for spell in self._spells[1:]), until_s]
        if any(spell.end_s < next_s for spell, next_s in zip(self._spells, next_starts_s, strict=False)):
            watts.append(self._failsafe_watts)
        return (min(watts), max(watts)) if watts else (self._failsafe_watts, self._failsafe_watts)

    def _spell(self, boot_s: float) -> _Spell | None:
        """Return the last one that had begun; the present is asked for most."""
        return next((spell for spell in reversed(self._spells) if spell.start_s <= boot_s), None)
