"""The limits that GPUs had before this tool wrote to them for the first time in this boot.

What was there is requested by someone, so release puts back the requested limit and not the default.
Invariant: an entry is never overwritten within a boot, also not by a guard that starts after a crash.
"""

from powerd.guard import journal
from powerd.guard.statefile import StateFile, stored_mw


class Baseline:
    """The ledger; main loop only.

    Args:
        file: keeps the ledger across restarts.
    """

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self._limits_mw: dict[str, int | None] = {}
        limits = file.load().get("limits_mw", {})
        try:
            self._limits_mw = {
                str(uuid): None if mw is None else stored_mw(mw) for uuid, mw in limits.items()
            }
        except (AttributeError, ValueError):
            journal.log(journal.WARNING, "the stored baseline cannot be understood; starting a new one")

    def record(self, uuid: str, requested_mw: int | None) -> None:
        """Note a GPU's limit before the first write to it; None when it could not be read."""
        if uuid not in self._limits_mw:
            self._limits_mw[uuid] = requested_mw
            self._file.save({"limits_mw": self._limits_mw})

    @property
    def limits_mw(self) -> dict[str, int | None]:
        """Return the ledger by UUID, in milliwatts."""
        return dict(self._limits_mw)

    def forget(self, uuids: set[str]) -> None:
        """Strike off GPUs whose limit has been put back."""
        for uuid in uuids:
            self._limits_mw.pop(uuid, None)
        if self._limits_mw:
            self._file.save({"limits_mw": self._limits_mw})
        else:
            self._file.remove()
