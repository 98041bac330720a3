"""Durations of ISO 8601 as OpenADR writes them, and where they lead on the calendar.

Months and years have no fixed length, so they are added to a date, never turned into seconds. "P9999Y" means
without end, and is mapped before any arithmetic: no clock reaches that far.
"""

import calendar
import re
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta

# As in the OpenAPI document of OpenADR 3.1, with named parts.
_DURATION = re.compile(
    r"(?P<sign>-?)P(?=\d|T\d)(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<days>\d+)(?P<unit>[DW]))?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)
_MAX_CHARACTERS = 64
_DAY_S, _WEEK_S, _HOUR_S, _MINUTE_S = 86400.0, 604800.0, 3600.0, 60.0
_MONTHS_A_YEAR = 12
# Nobody schedules power a thousand years ahead: longer means without end.
_ENDLESS_MONTHS = 1000 * _MONTHS_A_YEAR
_ENDLESS_S = 1000 * 365 * _DAY_S
# The years 1 to 9999; a stamp with an offset reaches a day further.
_FIRST_S, _LAST_S = -62135596800.0, 253402300799.0


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time.

    Attributes:
        months: the calendar part.
        seconds: the rest. Both are negative in a negative duration.
    """

    months: int = 0
    seconds: float = 0.0

    @property
    def is_endless(self) -> bool:
        """Say whether it stands for "without end", as P9999Y does."""
        return self.months >= _ENDLESS_MONTHS or self.seconds >= _ENDLESS_S

    @property
    def is_negative(self) -> bool:
        """Say whether it leads back in time."""
        return self.months < 0 or self.seconds < 0

    def __bool__(self) -> bool:
        return bool(self.months or self.seconds)


def parse(text: str) -> Duration:
    """Read one duration.

    Raises:
        ValueError: it is none, by the pattern of OpenADR.
    """
    found = _DURATION.fullmatch(text) if len(text) <= _MAX_CHARACTERS else None
    if found is None:
        raise ValueError("not a duration like PT1H30M or P1D")

    def number(name: str) -> float:
        return float(found[name] or 0)

    sign = -1 if found["sign"] else 1
    days_s = number("days") * (_WEEK_S if found["unit"] == "W" else _DAY_S)
    time_s = number("hours") * _HOUR_S + number("minutes") * _MINUTE_S + number("seconds")
    months = int(found["years"] or 0) * _MONTHS_A_YEAR + int(found["months"] or 0)
    return Duration(sign * months, sign * (days_s + time_s))


def after(start_s: float, duration: Duration) -> float | None:
    """Return the moment that is `duration` after another one, in Unix seconds; None = never.

    The 31st becomes the last day of a shorter month. Months from a moment that no calendar has count from the
    nearest that one has; months back end at the first.
    """
    if duration.is_endless:
        return None
    if not duration.months:
        return start_s + duration.seconds
    dated_s = min(max(start_s, _FIRST_S), _LAST_S)
    start = datetime.fromtimestamp(dated_s, UTC)
    years, month = divmod(start.month - 1 + duration.months, _MONTHS_A_YEAR)
    year, month = start.year + years, month + 1
    if year > MAXYEAR:
        return None
    if year < MINYEAR:
        year, month, start = MINYEAR, 1, start.replace(day=1)
    day = min(start.day, calendar.monthrange(year, month)[1])
    # Seconds apart: a day of `datetime` more than there are must not overflow.
    moved = start.replace(year=year, month=month, day=day) - datetime.fromtimestamp(0, UTC)
    return start_s - dated_s + moved / timedelta(seconds=1) + duration.seconds
