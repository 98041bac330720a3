"""What a peer says of the budget: believed as far as it lowers (docs/leases.md, R5)."""

from dataclasses import replace

from powerd.core.leases.host_state import HeardBudget
from powerd.core.rack.admission import AdmissionRules
from powerd.core.rack.timeline import HEARSAY, Ceiling, Timeline, governing


def adopt(timeline: Timeline, heard: HeardBudget, rules: AdmissionRules, boot_s: float) -> Timeline:
    """Obey a lower budget that a peer has received and this host has not: as a lid, without any lease.

    Only the source that governs here is believed from hearsay, and only when its message is newer.
    """
    seen, old = timeline.seen.get(heard.source), timeline.ceilings.get(heard.source)
    if heard.mw is None or seen is None or (heard.epoch, heard.seq) <= (seen.epoch, seen.seq):
        return timeline
    governs, _ = governing(timeline)
    if (
        governs is None
        or heard.source != governs.source
        or (governs.mw is not None and heard.mw >= governs.mw)
    ):
        return timeline
    mw, until_boot_s = heard.mw, boot_s + rules.max_lease_s
    if old is not None:
        if (heard.epoch, heard.seq) <= (old.epoch, old.seq):
            return timeline
        mw, until_boot_s = min(mw, old.mw), max(until_boot_s, old.until_boot_s)
    ceiling = Ceiling(heard.epoch, heard.seq, mw, until_boot_s, HEARSAY, seen.is_signed)
    return replace(timeline, ceilings={**timeline.ceilings, heard.source: ceiling})
