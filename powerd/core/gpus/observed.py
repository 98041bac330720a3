"""What read-back taught about each GPU: refused writes, other writers, limiters out of band.

NVML never says who else writes. The lower value wins: it becomes a ceiling for a while; a higher one is cut
again by the next plan. A GPU that refuses a cut is counted at what it has, and its watts are taken from the
others in the same iteration.
"""

from dataclasses import dataclass
from typing import NamedTuple

from powerd.core.model import GpuReading, GpuState, Notice, Outcome, Result, Severity
from powerd.core.units import MilliWatts, watts

# Drivers may keep whole watts only: a difference below that is rounding, not a rival.
ROUNDING_MW = 1000
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0


@dataclass(frozen=True, slots=True)
class ObservedRules:
    """How long a lesson holds, in seconds.

    Attributes:
        ceiling_hold_s: how long another writer's lower limit is respected before it is tried again.
        out_of_band_after_s: how long an out-of-band limit must persist before its watts are given away.
    """

    ceiling_hold_s: float = 600.0
    out_of_band_after_s: float = 30.0


class Observed(NamedTuple):
    """What is known of one GPU beyond its reading.

    Attributes:
        refusals: writes in a row that failed; 0 after one that worked.
        retry_boot_s: not written before this moment, but counted at what it has.
        ceiling_mw: the lower limit of someone else; None if there is none.
        ceiling_source: "other_writer" or "out_of_band".
        ceiling_until_boot_s: until when it is respected.
        out_of_band_since_boot_s: since when less is enforced than was requested.
        rival_mw: the foreign request last learned from, until it is gone or overwritten: each counts once,
            so that the ceiling it laid can end.
    """

    refusals: int = 0
    retry_boot_s: float = 0.0
    ceiling_mw: MilliWatts | None = None
    ceiling_source: str = ""
    ceiling_until_boot_s: float = 0.0
    out_of_band_since_boot_s: float | None = None
    rival_mw: MilliWatts | None = None

    def is_stuck(self, boot_s: float) -> bool:
        """Say whether the GPU refused a write and is not to be tried again yet."""
        return boot_s < self.retry_boot_s


# Of a GPU of which nothing was seen yet.
UNKNOWN = Observed()


def learn_from_outcome(observed: Observed, outcome: Outcome, boot_s: float) -> Observed:
    """Take in how a write ended."""
    if outcome.result is Result.SKIPPED:
        return observed
    if outcome.result is not Result.FAILED:
        return observed._replace(refusals=0, retry_boot_s=0.0, rival_mw=None)
    wait_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0**observed.refusals)
    return observed._replace(
        refusals=min(observed.refusals + 1, 10),
        retry_boot_s=boot_s + wait_s,
        # What our own write left behind is nobody's else.
        rival_mw=observed.rival_mw if outcome.requested_mw is None else outcome.requested_mw,
    )


def learn_from_reading(
    observed: Observed, reading: GpuReading, boot_s: float, rules: ObservedRules
) -> tuple[Observed, tuple[Notice, ...]]:
    """Compare what is requested and enforced with what was written."""
    if observed.ceiling_mw is not None and boot_s >= observed.ceiling_until_boot_s:
        observed = observed._replace(ceiling_mw=None, ceiling_source="")
    if reading.state is not GpuState.OK:
        return observed, ()
    if observed == UNKNOWN and reading.written_mw == reading.requested_mw == reading.enforced_mw:
        return observed, ()  # as it mostly is: nobody else has a say
    observed, rival = _other_writer(observed, reading, boot_s, rules)
    observed, out_of_band = _out_of_band(observed, reading, boot_s, rules)
    return observed, rival + out_of_band


def _lower_ceiling(observed: Observed, mw: MilliWatts, source: str, until_boot_s: float) -> Observed:
    if observed.ceiling_mw is not None and observed.ceiling_mw <= mw:
        return observed
    return observed._replace(ceiling_mw=mw, ceiling_source=source, ceiling_until_boot_s=until_boot_s)


def _other_writer(
    observed: Observed, reading: GpuReading, boot_s: float, rules: ObservedRules
) -> tuple[Observed, tuple[Notice, ...]]:
    written, requested = reading.written_mw, reading.requested_mw
    if written is None or requested is None or abs(requested - written) <= ROUNDING_MW:
        # While writes fail, the reading may be older than the last of them.
        unchanged = observed.rival_mw is None or observed.refusals
        return observed if unchanged else observed._replace(rival_mw=None), ()
    if requested == observed.rival_mw:
        return observed, ()
    if requested < written:
        observed = _lower_ceiling(observed, requested, "other_writer", boot_s + rules.ceiling_hold_s)
        what = f"kept as a ceiling for {rules.ceiling_hold_s:.0f} s"
    else:
        what = "set back by the next plan"
    text = f"another writer set {watts(requested):g} W where powerd wrote {watts(written):g} W: {what}"
    notice = Notice("other_writer", Severity.WARNING, text, reading.uuid)
    return observed._replace(rival_mw=requested), (notice,)


def _out_of_band(
    observed: Observed, reading: GpuReading, boot_s: float, rules: ObservedRules
) -> tuple[Observed, tuple[Notice, ...]]:
    requested, enforced = reading.requested_mw, reading.enforced_mw
    since = observed.out_of_band_since_boot_s
    if requested is None or enforced is None or enforced >= requested - ROUNDING_MW:
        return observed if since is None else observed._replace(out_of_band_since_boot_s=None), ()
    if since is None:
        text = f"{watts(enforced):g} W enforced of {watts(requested):g} W requested: limited out of band"
        notice = Notice("out_of_band_limit", Severity.WARNING, text, reading.uuid)
        return observed._replace(out_of_band_since_boot_s=boot_s), (notice,)
    if boot_s - since >= rules.out_of_band_after_s:
        observed = _lower_ceiling(observed, enforced, "out_of_band", boot_s + rules.ceiling_hold_s)
    return observed, ()
