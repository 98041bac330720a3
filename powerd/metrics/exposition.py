"""Metrics of the daemon, in a registry of its own: the rows of `metrics_table`, kept up to date.

Invariant: bounded cardinality. GPUs that are gone lose their series, and sources that nobody believed share
one. Not thread-safe: the control loop feeds it and the endpoint scrapes it on the same event loop.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from powerd.clock import Clock
from powerd.core.model import Now
from powerd.core.rack.timeline import VerdictKind
from powerd.metrics.readers import Change, Labels, Samples, View, one
from powerd.metrics.table import (
    CERTIFICATE_EXPIRY,
    CLOCK_SKEW,
    CONFIG_READ,
    CONFIG_USABLE,
    GPU_LABELS,
    LEDGER_DROPPED,
    NVML_CALLS,
    REJECTED,
    SIGNAL_AGE,
    TABLE,
    Kind,
    Row,
)
from powerd.snapshot import Snapshot

_HOST_LABELS = ("rack", "host")
# A rack has a handful of controllers; more names than this are somebody's invention.
MAX_SOURCES = 16
MAX_REASONS = 32
_OTHER = "other"


# The verdict on a message whose stamps are too far off.
_CLOCK_SKEW = "clock_skew"


class Metrics:
    """All metrics of one daemon.

    Args:
        rack: value of the label `rack` of every series.
        host: value of the label `host` of every series.
        clock: tells how old the latest snapshot is at a scrape.
        named: senders that the configuration names: their refusals are kept apart, as those of the believed.
        certificate_ends: gives the Unix time at which each file of certificates ends, by what it is for.
    """

    def __init__(
        self,
        rack: str,
        host: str,
        clock: Clock,
        named: Collection[str] = (),
        certificate_ends: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # untyped in prometheus-client
        self._host = (rack, host)
        self._clock = clock
        self._latest: Snapshot | None = None
        self._totals = {row.name: dict.fromkeys(row.start, 0.0) for row in TABLE if _is_counted(row)}
        self._histograms = {row.name: self._histogram(row) for row in TABLE if _is_own_histogram(row)}
        self._believed_boot_s: dict[str, float] = {}
        self._skew_s: dict[str, float] = {}
        self._certificate_ends = certificate_ends
        self._kept: dict[str, Callable[[Now], Samples]] = {
            SIGNAL_AGE: self._signal_ages,
            CLOCK_SKEW: lambda _: _by_name(self._skew_s),
            CERTIFICATE_EXPIRY: self._certificates,
            CONFIG_USABLE: lambda _: one(self._config_usable),
            CONFIG_READ: lambda _: one(self._config_read_wall_s),
        }
        self._config_usable, self._config_read_wall_s = True, clock.now().wall_s
        self._named = frozenset(named)
        self._reasons: set[str] = set()
        self.registry = CollectorRegistry()
        self.registry.register(_Exposition(self))
        ProcessCollector(registry=self.registry)

    def observe(self, snapshot: Snapshot) -> None:
        """Take in one finished iteration; called once for each."""
        change = Change(self._latest, snapshot)
        self._latest = snapshot
        self._note_sources(snapshot)
        for row in TABLE:
            if row.grow is not None:
                self._grow(row, row.grow(change))
        self._forget_lost_gpus(snapshot)

    def signal_rejected(self, source: str, reason: str) -> None:
        """Count a message that was refused before it reached the core, whose verdicts `observe` counts."""
        self._grow_counter(REJECTED, (source, reason), 1.0)

    def ledger_dropped(self, entries: int) -> None:
        """Count entries of the ledger that are lost."""
        self._grow_counter(LEDGER_DROPPED, (), entries)

    def name(self, named: Collection[str]) -> None:
        """Keep the refusals of these senders apart from now on, as the configuration names them."""
        self._named = frozenset(named)

    def configuration_read(self, *, usable: bool) -> None:
        """Note that the configuration was read again, and whether it could be put in force."""
        self._config_usable = usable
        if usable:
            self._config_read_wall_s = self._clock.now().wall_s

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Return the body and content type that an Accept header asks for: Prometheus text or OpenMetrics."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def collect(self) -> Iterable[Metric]:
        """Yield one family for each row of the table, as of now."""
        now = self._clock.now()
        view = None if self._latest is None else View(self._latest, now)
        for row in TABLE:
            if row.name == NVML_CALLS:
                yield self._driver_calls(row)
            elif row.kind is Kind.HISTOGRAM:
                yield from self._histograms[row.name].collect()
            elif row.name in self._kept:
                yield self._family(row, self._kept[row.name](now))
            elif row.read is not None:
                yield self._family(row, row.read(view) if view is not None else ())
            else:
                yield self._family(row, self._totals[row.name].items())

    def _signal_ages(self, now: Now) -> Samples:
        return (((source,), now.boot_s - since) for source, since in self._believed_boot_s.items())

    def _certificates(self, _: Now) -> Samples:
        yield from _by_name(self._certificate_ends())
        broker_wall_s = self._latest.bus.certificate_end_wall_s if self._latest is not None else None
        if broker_wall_s is not None:
            yield ("broker",), broker_wall_s

    def _family(self, row: Row, samples: Samples) -> Metric:
        family_of = CounterMetricFamily if row.kind is Kind.COUNTER else GaugeMetricFamily
        family = family_of(row.name, row.help, labels=(*_HOST_LABELS, *row.labels))
        for labels, value in samples:
            family.add_metric((*self._host, *labels), value)
        return family

    def _driver_calls(self, row: Row) -> Metric:
        """Return the guard's own histograms: it counts where the calls are made."""
        family = HistogramMetricFamily(row.name, row.help, labels=(*_HOST_LABELS, *row.labels))
        calls = self._latest.guard.calls if self._latest is not None else {}
        for call, histogram in calls.items():
            bounds = [*map(str, histogram.bounds_s), "+Inf"]
            buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
            family.add_metric((*self._host, call), buckets, histogram.sum_s)
        return family

    def _histogram(self, row: Row) -> Histogram:
        labels = (*_HOST_LABELS, *row.labels)
        histogram = Histogram(row.name, row.help, labels, registry=None, buckets=row.buckets)
        for start in row.start:
            histogram.labels(*self._host, *start)
        return histogram

    def _grow(self, row: Row, samples: Samples) -> None:
        for labels, value in samples:
            if row.kind is Kind.HISTOGRAM:
                self._histograms[row.name].labels(*self._host, *labels).observe(value)
            else:
                self._grow_counter(row.name, labels, value)

    def _grow_counter(self, name: str, labels: Labels, value: float) -> None:
        if name == REJECTED:
            labels = self._folded(*labels)
        totals = self._totals[name]
        totals[labels] = totals.get(labels, 0.0) + value

    def _folded(self, source: str, reason: str) -> Labels:
        """Keep what anybody can put on the bus from making a series each."""
        if reason in self._reasons or len(self._reasons) < MAX_REASONS:
            self._reasons.add(reason)
        else:
            reason = _OTHER
        is_known = source in self._named or source in self._believed_boot_s
        return (source if is_known else "unknown", reason)

    def _note_sources(self, snapshot: Snapshot) -> None:
        for verdict in snapshot.decision.verdicts:
            known = verdict.source in self._believed_boot_s or len(self._believed_boot_s) < MAX_SOURCES
            if verdict.kind is VerdictKind.ACCEPTED and known:
                self._believed_boot_s[verdict.source] = snapshot.now.boot_s
            # What is said again, or late, tells nothing of a clock.
            tells = verdict.kind is VerdictKind.ACCEPTED or verdict.reason == _CLOCK_SKEW
            if tells and verdict.skew_s is not None and verdict.source in self._believed_boot_s:
                self._skew_s[verdict.source] = verdict.skew_s

    def _forget_lost_gpus(self, snapshot: Snapshot) -> None:
        present = {reading.uuid for reading in snapshot.readings}
        for row in TABLE:
            if _is_counted(row) and row.labels[: len(GPU_LABELS)] == GPU_LABELS:
                totals = self._totals[row.name]
                self._totals[row.name] = {
                    labels: total for labels, total in totals.items() if labels[0] in present
                }


class _Exposition(Collector):
    """Gives the registry what `Metrics` has, without making a collector's methods part of its face."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics.collect()

    def describe(self) -> Iterable[Metric]:
        """Name nothing in advance, so that registering reads no clock and no snapshot."""
        return ()


def _by_name(values: Mapping[str, float]) -> Samples:
    return (((name,), value) for name, value in values.items())


def _is_counted(row: Row) -> bool:
    return row.kind is Kind.COUNTER and row.read is None


def _is_own_histogram(row: Row) -> bool:
    return row.kind is Kind.HISTOGRAM and row.name != NVML_CALLS
