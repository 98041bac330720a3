"""Whether limits may be written: the mode, which an operator can change, and what `enforce` needs."""

from collections.abc import Callable, Iterable
from typing import Literal

from powerd.core.gpus.overhead import OverheadSample
from powerd.core.model import Notice, Severity
from powerd.core.preflight import objections
from powerd.core.state import Config
from powerd.daemon.host_gpus import HostGpus
from powerd.errors import ConfigError
from powerd.mode import Mode

_UNMEASURED = "nothing is written before host.overhead_sensor has given its first measurement"


class Gate:
    """Lets writes through once the mode says so and nothing objects.

    Args:
        mode: at the start.
        overhead: the latest measurement of what is not GPU, or None.
        persistence_needed: `enforce` refuses to start on GPUs without persistence mode.

    Attributes:
        mode: what holds now.
        may_write: limits are written.
    """

    def __init__(
        self,
        mode: Mode,
        gpus: HostGpus,
        overhead: Callable[[], OverheadSample | None],
        *,
        persistence_needed: bool,
    ) -> None:
        self.mode: Mode = mode
        self.may_write = False
        self._gpus = gpus
        self._overhead = overhead
        self._persistence_needed = persistence_needed

    def open_at_start(self, config: Config) -> Notice | None:
        """Check, once GPUs were read, whether `enforce` may start; return what it still waits for.

        Raises:
            ConfigError: it must not start on this host.
        """
        if self.mode != "enforce" or self.may_write or self._gpus.report is None:
            return None
        if self._is_unmeasured(config):
            return Notice("overhead_unknown", Severity.CRITICAL, _UNMEASURED)
        _refuse(self._objections(config))
        self.may_write = True
        return None

    def judge(self, config: Config, before: Config) -> None:
        """Check another configuration before it holds.

        What stands in the way of both is no reason: the other one may be what lowers limits.

        Raises:
            ConfigError: limits are written here, and by that configuration they must not be.
        """
        if not self.may_write:
            return
        known = self._objections(before)
        _refuse(line for line in self._objections(config) if line not in known)

    def enforce_or_raise(self, config: Config) -> None:
        """Write from now on, as another configuration wants it.

        Raises:
            ConfigError: something objects.
        """
        _refuse(self.enforce(config))

    def enforce(self, config: Config) -> tuple[str, ...]:
        """Write from now on, unless something objects; return what does."""
        if self._gpus.report is None:
            return (self._gpus.error,)
        found = (_UNMEASURED,) if self._is_unmeasured(config) else self._objections(config)
        if not found:
            self.mode, self.may_write = "enforce", True
        return found

    def close(self, mode: Literal["monitor", "dry-run"]) -> None:
        """Write nothing from now on."""
        self.mode, self.may_write = mode, False

    def _is_unmeasured(self, config: Config) -> bool:
        return self._overhead() is None and config.overhead_mw is None

    def _objections(self, config: Config) -> tuple[str, ...]:
        measured = self._overhead()
        overhead_mw = max(config.overhead_mw or 0, measured.mw if measured else 0)
        needed = self._persistence_needed
        return objections(self._gpus.readings, config, overhead_mw, persistence_needed=needed)


def _refuse(objections: Iterable[str]) -> None:
    if lines := "\n".join(f"enforce refused: {line}" for line in objections):
        raise ConfigError(lines)
