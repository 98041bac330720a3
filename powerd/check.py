"""What `powerd check-config FILE` finds out: problems, the feasibility sum, and where each value came from.

Invariant: the verdict is made by the functions that `powerd.settings.load` uses; nothing passes here that the
daemon refuses. The sum is shown for an infeasible rack too, since that is when it is needed.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from powerd.core.leases.memory import has_peers, roster_digest
from powerd.core.topology import Rack
from powerd.core.units import watts
from powerd.errors import ConfigError, printable_lines
from powerd.settings.loading import Loaded, leaves, prove, read
from powerd.settings.model import Settings
from powerd.settings.rules import lease_rules, rack

# By then after the end of a plan the units in systemd/ have the GPUs at the fallback, whatever dies; the sum
# is written down in powerd-guard.service.
UNITS_GUARD_BOUND_S = 10.0


@dataclass(frozen=True, slots=True)
class Feasibility:
    """The sum that makes a failsafe feasible: needed <= failsafe <= hard limit. In watts.

    Attributes:
        floors_watts: sum over the roster.
        rack_overhead_watts: drawn by the rack and by no host.
        guard_band_watts: kept unused of the failsafe.
        needed_watts: the three together, what the failsafe must be at least.
    """

    hosts: int
    floors_watts: float
    rack_overhead_watts: float
    guard_band_watts: float
    needed_watts: float
    failsafe_watts: float
    hard_limit_watts: float

    @property
    def spare_watts(self) -> float:
        """Return what the failsafe leaves above the floors; negative if it is infeasible."""
        return self.failsafe_watts - self.needed_watts


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What this host's share is worth, in watts."""

    at_hard_limit_watts: float
    in_failsafe_watts: float


@dataclass(frozen=True, slots=True)
class Leasing:
    """How the rack's hosts lend each other watts, in seconds.

    Attributes:
        roster: digest of all that the hosts must agree on to deal with each other.
        guard_bound_s: by when after the end of a plan its GPUs are at the fallback, whatever dies.
        guard_time_s: what a donor adds to `ttl_s` before it lends the same watts anew.
        silence_s: after it fell silent, what a borrower had is back at its owner.
        forget_s: a host that has lost its memory stays at its floor for so long after its start.
    """

    enabled: bool
    roster: str
    ttl_s: float
    guard_bound_s: float
    guard_time_s: float
    silence_s: float
    forget_s: float


@dataclass(frozen=True, slots=True)
class Signatures:
    """Whose word raises limits.

    Attributes:
        budgets_signed_by: sources with a key.
        unsigned_budgets: what becomes of those without a signature: accept, lower_only or refuse.
        states_sealed: what others say in the name of a host is not believed.
    """

    budgets_signed_by: tuple[str, ...]
    unsigned_budgets: str
    states_sealed: bool


@dataclass(frozen=True, slots=True)
class Value:
    """One setting in force, and where it stands."""

    key: str
    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything about one configuration.

    Attributes:
        problems: one line each; empty if the daemon would start with this configuration.
        feasibility: None when the values themselves cannot be used.
        entitlement, leasing, signatures: None when there are problems.
    """

    file: str
    problems: tuple[str, ...]
    site: str = ""
    rack: str = ""
    host: str = ""
    mode: str = ""
    feasibility: Feasibility | None = None
    entitlement: Entitlement | None = None
    leasing: Leasing | None = None
    signatures: Signatures | None = None
    values: tuple[Value, ...] = ()

    @property
    def ok(self) -> bool:
        """Return whether the daemon would start with this configuration."""
        return not self.problems


def check(
    path: Path, overrides: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Report:
    """Examine a configuration; arguments as for `powerd.settings.load`. Raises nothing for a bad one."""
    try:
        loaded = read(path, overrides, environment)
    except ConfigError as error:
        return Report(str(path), tuple(str(error).splitlines()))
    try:
        prove(path, loaded.settings)
    except ConfigError as error:
        return _report(path, loaded, tuple(str(error).splitlines()))
    return replace(
        _report(path, loaded, ()),
        entitlement=_entitlement(loaded.settings),
        leasing=_leasing(loaded.settings),
        signatures=_signatures(loaded.settings),
    )


def as_dict(report: Report) -> dict[str, Any]:
    """Return the report for `--json`."""
    return {"ok": report.ok, **asdict(report)}


def render(report: Report) -> str:
    """Return the report as text for a terminal."""
    return printable_lines("\n".join(_text(report)))


def _report(path: Path, loaded: Loaded, problems: tuple[str, ...]) -> Report:
    settings = loaded.settings
    values = {".".join(key): value for key, value in leaves(settings.model_dump(mode="json"))}
    return Report(
        file=str(path),
        problems=problems,
        site=settings.host.site,
        rack=settings.host.rack,
        host=settings.host.name,
        mode=settings.host.mode,
        feasibility=_feasibility(settings),
        values=tuple(Value(key, value, loaded.origins[key]) for key, value in values.items()),
    )


def _feasibility(settings: Settings) -> Feasibility:
    table = settings.rack
    floors = sum(entry.floor_watts for entry in table.hosts.values())
    guard_band = table.failsafe_watts * table.guard_band_pct / 100
    return Feasibility(
        hosts=len(table.hosts),
        floors_watts=floors,
        rack_overhead_watts=table.overhead_watts,
        guard_band_watts=guard_band,
        needed_watts=floors + table.overhead_watts + guard_band,
        failsafe_watts=table.failsafe_watts,
        hard_limit_watts=table.hard_limit_watts,
    )


def _entitlement(settings: Settings) -> Entitlement:
    record = rack(settings)
    name = settings.host.name
    return Entitlement(
        at_hard_limit_watts=_entitled_watts(record, name, record.hard_limit_mw),
        in_failsafe_watts=_entitled_watts(record, name, record.failsafe_mw),
    )


def _entitled_watts(record: Rack, name: str, cap_mw: int) -> float:
    return watts(record.entitlement_mw(name, record.usable_mw(cap_mw)))


def _leasing(settings: Settings) -> Leasing:
    record, rules = rack(settings), lease_rules(settings)
    return Leasing(
        enabled=has_peers(record, rules),
        roster=roster_digest(record, rules),
        ttl_s=rules.ttl_s,
        guard_bound_s=rules.guard_bound_s,
        guard_time_s=rules.guard_time_s,
        silence_s=rules.silent_s + rules.count_s,
        forget_s=rules.forget_s,
    )


def _signatures(settings: Settings) -> Signatures:
    native = settings.signals.native
    return Signatures(
        budgets_signed_by=tuple(sorted({key.source for key in native.keys.values()})),
        unsigned_budgets=native.unsigned_may,
        states_sealed=bool(settings.rack.leases.key_file),
    )


def _text(report: Report) -> Iterator[str]:
    yield from report.problems
    yield f"{report.file}: {'OK' if report.ok else f'NOT usable, {len(report.problems)} problem(s)'}"
    if report.feasibility:
        yield f"host {report.host} of rack {report.rack}, site {report.site}, mode {report.mode}"
        yield from _feasibility_text(report.feasibility)
    if report.entitlement:
        yield "\nThis host is entitled to (watts)"
        yield _row("at the hard limit", report.entitlement.at_hard_limit_watts)
        yield _row("in failsafe", report.entitlement.in_failsafe_watts)
    if report.leasing:
        yield from _leasing_text(report.leasing)
    if report.signatures:
        yield from _signatures_text(report.signatures)
    if report.values:
        yield "\nValues, and where each came from"
        width = max(len(value.key) for value in report.values)
        for value in report.values:
            yield f"  {value.key:{width}}  {_shown(value.value):36}  {value.origin}"


def _shown(value: object) -> str:
    return "not set" if value is None else json.dumps(value)


def _feasibility_text(sums: Feasibility) -> Iterator[str]:
    verdict = f"spare {sums.spare_watts:g}" if sums.spare_watts >= 0 else f"MISSING {-sums.spare_watts:g}"
    below = sums.failsafe_watts <= sums.hard_limit_watts
    yield "\nFeasibility (watts): needed <= failsafe <= hard limit"
    yield _row(f"floors of {sums.hosts} hosts", sums.floors_watts)
    yield _row("rack overhead", sums.rack_overhead_watts)
    yield _row("guard band of the failsafe", sums.guard_band_watts)
    yield _row("needed", sums.needed_watts)
    yield _row("failsafe, without a controller", sums.failsafe_watts, verdict)
    yield _row("hard limit", sums.hard_limit_watts, "" if below else "BELOW the failsafe")


def _leasing_text(leasing: Leasing) -> Iterator[str]:
    yield f"\nRoster digest {leasing.roster}: hosts where it differs neither lend nor borrow"
    if not leasing.enabled:
        yield "No watts are lent: the rack has one host, or rack.leases.enabled = false"
        return
    is_short = leasing.guard_bound_s < UNITS_GUARD_BOUND_S
    note = f"BELOW the {UNITS_GUARD_BOUND_S:g} that powerd-guard.service may need" if is_short else ""
    yield "Watts between hosts (seconds)"
    yield _row("a lease is used for", leasing.ttl_s, digits=2)
    yield _row("guard bound", leasing.guard_bound_s, note, digits=2)
    yield _row("guard time, added by the donor", leasing.guard_time_s, digits=2)
    yield _row("back from a silent borrower within", leasing.silence_s, digits=2)
    yield _row("at the floor after lost memory", leasing.forget_s, digits=2)


def _signatures_text(signatures: Signatures) -> Iterator[str]:
    anybody, signers = "whoever the broker lets write", ", ".join(signatures.budgets_signed_by)
    rest = {"lower_only": "may only lower", "refuse": "is refused"}.get(signatures.unsigned_budgets, "counts")
    budgets = f"signed by {signers}; what is not signed {rest}" if signers else anybody
    states = "sealed with the rack's secret" if signatures.states_sealed else anybody
    yield "\nWhose word raises limits"
    yield from (f"  {label:35}{text}" for label, text in (("budgets", budgets), ("states of hosts", states)))


def _row(label: str, number: float, note: str = "", *, digits: int = 1) -> str:
    return f"  {label:35}{number:>12.{digits}f}  {note}".rstrip()
