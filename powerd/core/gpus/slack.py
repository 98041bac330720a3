"""Whether a GPU that its limit holds down for a part of the time can do with less: tried, and judged.

A service with slack works longer when it works slower: less power holds it down for more of the time. A job
of phases too short to be seen does not: its pauses stay as long as they are, and every watt taken costs work.
So the limit goes down a step, and the time held down tells after a while which of the two it is:

    share after >= share before x (limit before / limit after) ^ 1/4: it has slack, the next step may come
    otherwise it wants all it can have, and is left alone for a while: twice as long after every failure
"""

from typing import NamedTuple

from powerd.core.units import MilliWatts

STEP = 0.9
# A step that gains less is not worth a try, and a limit that fell by less tells nothing.
LEAST_FALL = 0.95
RISE_EXPONENT = 0.25
SMOOTH_S = 3.0
JUDGE_AFTER_S = 6.0
FIRST_REST_S = 60.0
LONGEST_REST_S = 3600.0


class Slack(NamedTuple):
    """What is known of one GPU's slack.

    Attributes:
        share: for which part of the time its limit held it down, of late.
        from_mw, from_share: limit and share before the step that is being tried; 0: none is.
        fell_boot_s: since when the limit is down by that step; None while it is not.
        rest_until_boot_s: nothing is tried before.
        rest_s: how long it is left alone after the next failure.
    """

    share: float = 0.0
    from_mw: MilliWatts = 0
    from_share: float = 0.0
    fell_boot_s: float | None = None
    rest_until_boot_s: float = 0.0
    rest_s: float = FIRST_REST_S

    def seen(self, share: float, elapsed_s: float) -> "Slack":
        """Take in the share of the time since the last reading."""
        if share == self.share:
            return self
        return Slack(self.share + (share - self.share) * min(1.0, elapsed_s / SMOOTH_S), *self[1:])

    def without_step(self) -> "Slack":
        """Forget the step that is being tried."""
        return self if not self.from_mw else self._replace(from_mw=0, fell_boot_s=None)


def try_less(
    slack: Slack, boot_s: float, limit_mw: MilliWatts, need_mw: MilliWatts
) -> tuple[Slack, MilliWatts | None]:
    """Return what a GPU that is held down for a part of the time shall want; None: all it can have.

    Args:
        limit_mw: what is enforced now.
        need_mw: what would do if it has slack.
    """
    if boot_s < slack.rest_until_boot_s:
        return slack, None
    if slack.from_mw and _is_down(slack, limit_mw):
        if slack.fell_boot_s is None:
            slack = slack._replace(fell_boot_s=boot_s)
        elif boot_s - slack.fell_boot_s >= JUDGE_AFTER_S:
            if slack.share < slack.from_share * (slack.from_mw / limit_mw) ** RISE_EXPONENT:
                rest_s = min(LONGEST_REST_S, 2 * slack.rest_s)
                return Slack(slack.share, rest_until_boot_s=boot_s + slack.rest_s, rest_s=rest_s), None
            slack = Slack(slack.share)
    if not slack.from_mw:
        if need_mw >= limit_mw * LEAST_FALL:
            return slack, need_mw
        slack = slack._replace(from_mw=limit_mw, from_share=slack.share)
    return slack, max(need_mw, round(slack.from_mw * STEP))


def _is_down(slack: Slack, limit_mw: MilliWatts) -> bool:
    return limit_mw <= slack.from_mw * LEAST_FALL
