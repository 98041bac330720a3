"""The configuration as the core reads it."""

from powerd import settings as configuration
from powerd.core.admission import AdmissionRules
from powerd.core.demand import DemandRules
from powerd.core.failsafe import FailsafeRules
from powerd.core.observed import ObservedRules
from powerd.core.plan import DeadBand
from powerd.core.ramp import RampRules
from powerd.core.state import Config
from powerd.core.topology import Rack
from powerd.core.units import milliwatts
from powerd.settings import Settings


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
            jitter_s=control.raise_jitter_s * configuration.own_fraction(host.name),
        ),
        policies=configuration.gpu_policies(settings),
        overhead_mw=None if host.overhead_watts is None else milliwatts(host.overhead_watts),
        standing_mw=None if table.default_watts is None else milliwatts(table.default_watts),
        failsafe=FailsafeRules(control.failsafe_hold_s, control.raise_dwell_s),
        demand=DemandRules(control.idle_after_s, control.warmup_s),
        observed=ObservedRules(ceiling_hold_s=control.other_writer_hold_s),
        dead_band=DeadBand(milliwatts(control.deadband_watts), control.deadband_pct),
        leases=configuration.lease_rules(settings),
        events=configuration.event_rules(settings),
        hold_s=control.hold_s,
        brake_hold_s=control.brake_hold_s,
    )
