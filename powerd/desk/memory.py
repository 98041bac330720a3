"""What is known of orders at the start, and what is kept of them for the next one."""

from collections.abc import Callable
from pathlib import Path

from powerd.core.model import Notice, Severity
from powerd.desk import file
from powerd.desk.file import Kept
from powerd.desk.in_force import InForce
from powerd.files.latest_file import LatestFile
from powerd.snapshot import OrdersView


class OrderMemory:
    """Keeps the orders that outlive the daemon in a file.

    Args:
        configured_mode: what the configuration says.
        notice: called with what went wrong later on.

    Attributes:
        orders: what holds, with what was remembered.
        damage: why nothing could be remembered; None if something was, or there was nothing.
    """

    def __init__(
        self, directory: Path, boot_id: str, configured_mode: str, notice: Callable[[Notice], None]
    ) -> None:
        self.damage: Notice | None = None
        kept = Kept()
        try:
            kept = file.load(directory, boot_id)
        except (OSError, ValueError) as error:
            text = f"{directory / file.FILE_NAME}: {error}; no order of before is taken to hold"
            self.damage = Notice("orders_file_unusable", Severity.WARNING, text)
        self.orders = InForce(configured_mode, kept.overrides, kept.detached)
        self._notice = notice
        self._file = LatestFile[Kept](lambda latest: file.save(directory, boot_id, latest), self._on_done)

    def keep(self, view: OrdersView) -> None:
        """Take note of what holds; writes nothing itself."""
        self._file.keep(Kept(view.overrides, view.detached))

    async def run(self) -> None:
        """Write every change, the latest only."""
        await self._file.run()

    def _on_done(self, _: Kept, error: OSError | None) -> None:
        if error is not None:
            text = f"{error}: a restart will not know the orders that hold"
            self._notice(Notice("orders_file_not_written", Severity.WARNING, text))
