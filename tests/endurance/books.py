"""What a daemon of the simulated rack keeps beside its control loop: ledger, history, metrics.

Each run of a daemon has its own, as in `app`; the file of the ledger is the host's and outlives them.
"""

from collections.abc import Callable

from powerd.core.model import Now
from powerd.core.proof.ledger_entry import Samples
from powerd.daemon.controller import Report
from powerd.daemon.recorder import Recorder
from powerd.history.history import History
from powerd.ledger.file import FILE_NAME
from powerd.ledger.reader import LedgerReader
from powerd.ledger.writer import Ledger, LedgerOptions
from powerd.metrics.exposition import Metrics
from tests.cluster.daemon import EPOCH_S, RACK
from tests.cluster.host import RackHost


class Books:
    """The books of one host.

    Args:
        max_mb: the ledger grows no larger.

    Attributes:
        history, metrics, recorder: of the run of the daemon that goes on.
        troubles: what the ledger complained of.
        happened: how many notices there were, by event.
        scrape_bytes: length of the last exposition of the metrics.
    """

    def __init__(self, host: RackHost, max_mb: int) -> None:
        self.path = host.disk.directory / FILE_NAME
        self.troubles: list[str] = []
        self.happened: dict[str, int] = {}
        self._max_mb = max_mb
        self._daemon: object = None
        self.recorder: Recorder | None = None
        self.history = History()
        host.on_report = self._take

    def close(self) -> None:
        """Write what is left."""
        if self.recorder is not None:
            self.recorder.close()

    def energy_mj(self, event: str, from_s: float, to_s: float) -> tuple[float, float]:
        """Return what the rack drew in some time around an event, by the ledger.

        Args:
            from_s, to_s: seconds of true time.

        Returns:
            Millijoules in that time, and how many seconds of it are known.
        """
        energy_mj = known_s = 0.0
        for entry in LedgerReader(self.path).extract(event).entries:
            for row in entry.body.rows if isinstance(entry.body, Samples) else ():
                begin_s = row.wall_s - EPOCH_S
                inside_s = min(begin_s + row.span_s, to_s) - max(begin_s, from_s)
                if inside_s > 0 and row.mean_mw is not None:
                    energy_mj += row.mean_mw * inside_s
                    known_s += inside_s
        return energy_mj, known_s

    def _take(self, host: RackHost, report: Report) -> None:
        if host.daemon is not self._daemon:
            self._begin(host)
        for notice in report.notices:
            self.happened[notice.event] = self.happened.get(notice.event, 0) + 1
        self.metrics.observe(report.snapshot)
        self.history.take(report.snapshot, report.notices, is_sampled=report.sampled)
        assert self.recorder is not None
        self.recorder(report)

    def _begin(self, host: RackHost) -> None:
        assert host.daemon is not None
        self.close()
        self._daemon = host.daemon
        ledger = Ledger(self.path, LedgerOptions(max_mb=self._max_mb))
        ledger.start()
        self.recorder = Recorder(ledger, lambda notice: self.troubles.append(notice.text), lambda _: None)
        self.history = History()
        self.metrics = Metrics(RACK, host.name, _Clock(host.daemon.now))


class _Clock:
    def __init__(self, now: Callable[[], Now]) -> None:
        self.now = now
