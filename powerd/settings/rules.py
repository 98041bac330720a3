"""The configuration as the core, and what listens, read it: records made of settings, and proved.

What no single key shows is found here: whether the rack is feasible, whether times fit together.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from hashlib import blake2b

from powerd.core.events.schedule import EventRules
from powerd.core.gpus.charge import Accounting, AccountingRules
from powerd.core.gpus.demand import DemandRules
from powerd.core.gpus.observed import ObservedRules
from powerd.core.gpus.plan import DeadBand
from powerd.core.gpus.value import Objective
from powerd.core.leases.leases import LeaseRules
from powerd.core.metering.meter import MeterRules
from powerd.core.rack.admission import AdmissionRules
from powerd.core.rack.advisory import AdvisoryRules, SignalKind
from powerd.core.rack.failsafe import FailsafeRules
from powerd.core.rack.ramp import RampRules
from powerd.core.state import Config
from powerd.core.topology import GpuPolicies, GpuPolicy, Host, Rack
from powerd.core.units import milliwatts
from powerd.errors import ConfigError
from powerd.files.secret_file import is_credential
from powerd.meters.options import DsxOptions, DsxPart, GenericPart, MeterOptions, NativePart, Part
from powerd.settings.model import Settings
from powerd.settings.signals import MeterPartSettings
from powerd.signatures.envelope import KeyEntry
from powerd.signatures.rack_secret import read_rack_secret

# Sums of decimal fractions are off by less.
_ROUNDING_S = 1e-6
# The keys that each kind of meter knows, besides `adapter`.
_PARTS: dict[str, type[Part]] = {"native": NativePart, "dsx-bms": DsxPart, "generic": GenericPart}


def core_config(settings: Settings, rack: Rack) -> Config:
    """Return the configuration as the core reads it."""
    control, host, table = settings.control, settings.host, settings.rack
    return Config(
        rack=rack,
        host=host.name,
        admission=AdmissionRules(
            hard_limit_mw=rack.hard_limit_mw,
            max_skew_s=settings.signals.native.max_skew_s,
            lower_only_hold_s=control.failsafe_hold_s,
        ),
        ramp=RampRules(
            mw_per_s=rack.hard_limit_mw * control.raise_ramp_pct_per_min / 100 / 60,
            jitter_s=control.raise_jitter_s * own_fraction(host.name),
        ),
        policies=gpu_policies(settings),
        overhead_mw=None if host.overhead_watts is None else milliwatts(host.overhead_watts),
        standing_mw=None if table.default_watts is None else milliwatts(table.default_watts),
        failsafe=FailsafeRules(control.failsafe_hold_s, control.raise_dwell_s),
        demand=DemandRules(control.idle_after_s, control.warmup_s),
        observed=ObservedRules(ceiling_hold_s=control.other_writer_hold_s),
        dead_band=DeadBand(milliwatts(control.deadband_watts), control.deadband_pct),
        leases=lease_rules(settings),
        events=event_rules(settings),
        meter=meter_rules(settings),
        advisory=advisory_rules(settings),
        hold_s=control.hold_s,
        brake_hold_s=control.brake_hold_s,
        objective=Objective(control.objective),
        accounting=AccountingRules(
            mode=Accounting(host.accounting),
            most_mw=milliwatts(host.measured_excess_watts),
            period_s=control.period_s,
            idle_after_s=control.idle_after_s,
            hold_s=control.hold_s,
            driver_s=settings.guard.call_deadline_s,
        ),
    )


def rack(settings: Settings) -> Rack:
    """Return the core's record of the rack.

    Raises:
        ConfigError: it is infeasible, or this host is not in its roster.
    """
    table = settings.rack
    try:
        record = Rack(
            site=settings.host.site,
            name=settings.host.rack,
            hosts=tuple(
                Host(name, entry.share, milliwatts(entry.floor_watts)) for name, entry in table.hosts.items()
            ),
            hard_limit_mw=milliwatts(table.hard_limit_watts),
            failsafe_mw=milliwatts(table.failsafe_watts),
            overhead_mw=milliwatts(table.overhead_watts),
            guard_band_pct=table.guard_band_pct,
        )
        record.host(settings.host.name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return record


def event_rules(settings: Settings) -> EventRules:
    """Return the core's record of what grid events mean to the rack."""
    events, table = settings.signals.events, settings.rack
    return EventRules(
        site_fraction=table.site_fraction,
        feeds=dict(table.feeds),
        levels_pct=events.levels_pct,
        obeys_voluntary=events.obey_voluntary,
        own_fraction=own_fraction(settings.host.name),
        max_skew_s=settings.signals.native.max_skew_s,
        unsynced_s=events.unsynced_s,
    )


def own_fraction(name: str) -> float:
    """Return a number in 0..1 that is this host's own and always the same."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) / 2**64


def lease_rules(settings: Settings) -> LeaseRules:
    """Return the core's record of the rack's lease parameters.

    Raises:
        ConfigError: hosts would lend each other watts by times that do not fit together; one line each.
    """
    table = settings.rack.leases
    if table.enabled and len(settings.rack.hosts) > 1:
        problems = list(_lease_problems(settings))
        if problems:
            raise ConfigError("\n".join(problems))
    return LeaseRules(
        enabled=table.enabled,
        ttl_s=table.ttl_s,
        max_ttl_s=table.max_ttl_s,
        guard_bound_s=table.guard_bound_s,
        publish_s=table.publish_s,
        lead_s=table.lead_s,
        silent_s=table.silent_s,
        least_mw=milliwatts(table.least_watts),
    )


def _lease_problems(settings: Settings) -> Iterator[str]:
    """Yield which lease times are too short; docs/leases.md says what they mean.

    The loop steps down by a timer, `lead_s` before a lease ends, so it is late by one iteration at most. One
    that takes longer than a period, because a GPU does not answer, costs a fallback of the guard.
    """
    leases, period_s = settings.rack.leases, settings.control.period_s
    # One message is lost, the next is answered within a period.
    patience_s = 2 * leases.publish_s + period_s
    patience = "2 publish_s + control.period_s"
    calls_s = 2 * settings.guard.call_deadline_s
    at_least = (
        ("publish_s", period_s, "control.period_s", "a state is made once per period"),
        ("lead_s", period_s, "control.period_s", "the guard would lower before a loop that is late"),
        ("silent_s", patience_s, patience, "one lost message would end all lending"),
        ("ttl_s", leases.lead_s + patience_s, f"lead_s + {patience}", "one lost message would end a lease"),
        ("ttl_s", leases.silent_s, "silent_s", "a host that is gone would be lent to; or lower silent_s"),
        ("max_ttl_s", leases.ttl_s, "ttl_s", "a host that lost its memory would not wait for all leases"),
        ("guard_bound_s", calls_s, "2 guard.call_deadline_s", "a call under way and the fallback take that"),
    )
    for key, least_s, bound, why in at_least:
        value_s = getattr(leases, key)
        if value_s < least_s - _ROUNDING_S:
            problem = f"rack.leases.{key} {value_s:g} is less than {bound} = {least_s:g}"
            yield f"{problem}: {why}; set at least {least_s:g}"


def gpu_policies(settings: Settings) -> GpuPolicies:
    """Return the core's record of what the configuration says of each GPU.

    Raises:
        ConfigError: a floor lies above its ceiling.
    """
    gpu = settings.gpu
    return GpuPolicies(
        default=_policy("gpu", GpuPolicy(_optional_mw(gpu.floor_watts), _optional_mw(gpu.ceiling_watts))),
        by_uuid={
            uuid: _policy(
                f"gpu.overrides.{uuid}",
                GpuPolicy(
                    floor_mw=_optional_mw(own.floor_watts),
                    ceiling_mw=_optional_mw(own.ceiling_watts),
                    priority=own.priority,
                    weight=own.weight,
                    job=own.job,
                ),
            )
            for uuid, own in gpu.overrides.items()
        },
    )


def _optional_mw(watts: float | None) -> int | None:
    return None if watts is None else milliwatts(watts)


def _policy(key: str, policy: GpuPolicy) -> GpuPolicy:
    if policy.floor_mw is not None and policy.ceiling_mw is not None and policy.floor_mw > policy.ceiling_mw:
        raise ConfigError(f"{key}.floor_watts is above {key}.ceiling_watts; lower the one or raise the other")
    return policy


def meter_rules(settings: Settings) -> MeterRules:
    """Return the core's record of the rack's meters."""
    table = settings.signals.meters
    return MeterRules(tuple(table.parts), table.fresh_s, table.alive_s, table.value_s, table.max_trim_pct)


def meter_options(settings: Settings) -> MeterOptions:
    """Return what listens to the rack's meters.

    Raises:
        ConfigError: a part lacks a key, or has one of another adapter; one line each.
    """
    table = settings.signals.meters
    parts, problems = [], []
    for name, entry in table.parts.items():
        try:
            parts.append(_part(name, entry))
        except ValueError as error:
            problems.append(f"signals.meters.parts.{name}: {error}")
    try:
        dsx = DsxOptions(**table.dsx.model_dump())
    except ValueError as error:
        problems.append(f"signals.meters.dsx: {error}")
    if problems:
        raise ConfigError("\n".join(problems))
    return MeterOptions(tuple(parts), dsx, _optional_mw(table.least_watts))


def secrets_and_keys(settings: Settings) -> None:
    """Prove that the files of keys and secrets can be used.

    Raises:
        ConfigError: some cannot; one line each.
    """
    problems = []
    for key, file, read in _key_files(settings):
        try:
            read(file)
        except ConfigError as error:
            problems.append(f"{key}: {error}")
    if problems:
        raise ConfigError("\n".join(problems))


def _key_files(settings: Settings) -> Iterator[tuple[str, str, Callable[[str], object]]]:
    """Yield each file in use: its key, its path, and what reads it."""
    signals, secret_file = settings.signals, settings.rack.leases.key_file
    # From a shell a credential could never be read.
    if secret_file and not is_credential(secret_file):
        yield "rack.leases.key_file", secret_file, read_rack_secret
    tables: Mapping[str, Mapping[str, KeyEntry]] = {
        "native": signals.native.keys if signals.native.enabled else {},
        "events": signals.events.keys if signals.events.enabled else {},
        "dsx": signals.dsx.keys if signals.dsx.enabled else {},
    }
    keys = [
        (f"signals.{name}.keys.{kid}", entry.file)
        for name, table in tables.items()
        for kid, entry in table.items()
    ]
    signing_file = signals.dsx.signing_key_file if signals.dsx.enabled else ""
    if not keys and not signing_file:
        return
    from powerd.signatures.keys import private_key, public_key  # noqa: PLC0415 - large

    yield from ((key, file, public_key) for key, file in keys)
    if signing_file and not is_credential(signing_file):
        yield "signals.dsx.signing_key_file", signing_file, private_key


def advisory_rules(settings: Settings) -> AdvisoryRules:
    """Return the core's record of how far prices and emissions may lower the cap."""
    table = settings.signals.advisory
    return AdvisoryRules(
        band_pct=table.band_pct,
        price_above=table.price_above,
        ghg_above=table.ghg_above_g_per_kwh,
        price_kind=SignalKind(f"price_{table.price_kind}"),
        ghg_kind=SignalKind(f"ghg_{table.ghg_kind}"),
        currency=table.currency,
        zone=table.zone,
    )


def _part(name: str, entry: MeterPartSettings) -> Part:
    kind = _PARTS[entry.adapter]
    known = {field.name for field in fields(kind)} - {"part"}
    if odd := ", ".join(sorted(entry.model_fields_set - {"adapter"} - known)):
        raise ValueError(f'adapter "{entry.adapter}" knows no {odd}; known: {", ".join(sorted(known))}')
    if entry.adapter == "generic" and not entry.topic:
        raise ValueError("topic is missing; add it")
    return kind(part=name, **{key: getattr(entry, key) for key in known})
