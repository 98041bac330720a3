"""The last day, kept: what is told of it is what was, in bounded memory."""

from dataclasses import replace

import pytest

from powerd.core.model import GpuReading, Notice, Now, Severity
from powerd.core.rack.failsafe import Phase
from powerd.daemon.problems import Problems
from powerd.history.happenings import MAX_HAPPENINGS, Happening
from powerd.history.history import Extract, History
from powerd.history.tiers import UNKNOWN
from powerd.snapshot import Snapshot
from tests.web import host

DAY_S = 86_400


class Told:
    """A history that a host's iterations are told to, one a second."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.history = History()
        self.snapshot = snapshot or host.snapshot(host.decided())
        self.now = self.snapshot.now
        self._problems = Problems()

    def tell(
        self, *notices: Notice, after_s: float = 1.0, is_sampled: bool = True, **changes: object
    ) -> None:
        """Tell of the next iteration.

        Args:
            changes: to the decision, or `readings`; they stay.
        """
        self.now = replace(self.now, boot_s=self.now.boot_s + after_s, wall_s=self.now.wall_s + after_s)
        readings = changes.pop("readings", self.snapshot.readings)
        assert isinstance(readings, tuple)
        due = self._problems.take(notices, self.now.boot_s, self.now.wall_s)
        self.snapshot = replace(
            self.snapshot,
            now=self.now,
            readings=tuple(replace(each, sampled_boot_s=self.now.boot_s) for each in readings),
            decision=self.snapshot.decision._replace(**changes),  # type: ignore[arg-type] # fields by name
            problems=self._problems.current(),
        )
        self.history.take(self.snapshot, due, is_sampled=is_sampled)

    def last(self, seconds: float) -> Extract:
        return self.history.since(self.now.boot_s - seconds, self.now)

    def events(self) -> list[str]:
        return [happening.event for happening in self.last(DAY_S).happenings]


def drawing(readings: tuple[GpuReading, ...], mw: int | None) -> tuple[GpuReading, ...]:
    """Return the GPUs that answer, each drawing so much."""
    return tuple(replace(each, draw_mw=mw) for each in readings if each.state == "ok")


def test_every_sample_of_the_last_minutes_comes_back_as_it_was() -> None:
    told = Told()
    for watts in (300, 310, 320):
        told.tell(readings=drawing(told.snapshot.readings, watts * 1000 + 50), rack_cap_mw=watts * 100_000)
    extract = told.last(900)
    assert extract.step_s == 1.0
    assert extract.times_boot_s == [host.BOOT_S + second for second in (1, 2, 3)]
    assert extract.columns["rack_watts"] == [300_000, 310_000, 320_000]
    assert extract.columns["draw_watts"] == [18_000, 18_600, 19_200]
    assert extract.gpus["GPU-00aa-0"]["draw_watts"] == [3000, 3100, 3200]
    assert extract.gpus["GPU-00aa-0"]["limit_watts"] == [4000, 4000, 4000]
    assert extract.phases == [Phase.LIMITED] * 3


def test_what_is_not_known_is_not_made_up() -> None:
    told = Told()
    one, *others = drawing(told.snapshot.readings, 300_000)
    told.tell(readings=(replace(one, draw_mw=None), *others))
    extract = told.last(900)
    assert extract.columns["draw_watts"] == [UNKNOWN]
    assert extract.gpus[one.uuid]["draw_watts"] == [UNKNOWN]
    assert extract.gpus["GPU-55aa-5"]["limit_watts"] == [UNKNOWN]


def test_a_gpu_that_comes_or_goes_leaves_the_others_in_step() -> None:
    told = Told()
    first, second, *_ = told.snapshot.readings
    told.tell(readings=(first,))
    told.tell(readings=(first, second))
    told.tell(readings=(second,))
    extract = told.last(900)
    assert extract.gpus[first.uuid]["draw_watts"] == [3000, 3000, UNKNOWN]
    assert extract.gpus[second.uuid]["draw_watts"] == [UNKNOWN, 3100, 3100]
    assert extract.indices == {first.uuid: 0, second.uuid: 1}


def test_ten_iterations_a_second_leave_one_point_a_second() -> None:
    told = Told()
    for number in range(100):
        told.tell(after_s=0.1, is_sampled=number % 2 == 0)
    assert 9 <= len(told.last(900).times_boot_s) <= 11


def test_a_slow_loop_says_how_far_its_points_are_apart() -> None:
    told = Told(replace(host.snapshot(host.decided()), period_s=30.0))
    told.tell(after_s=30.0)
    assert told.last(900).step_s == 30.0


def test_a_mean_comes_with_the_peak_and_the_dip_that_it_hides() -> None:
    told = Told()
    readings = drawing(told.snapshot.readings, 100_000)
    told.tell(after_s=60.0, readings=readings)
    for second in range(1, 120):
        is_odd_one = second == 50
        told.tell(
            readings=drawing(readings, 700_000 if is_odd_one else 100_000),
            rack_cap_mw=9_000_000 if is_odd_one else 30_000_000,
        )
    extract = told.last(3600)
    assert extract.step_s == 10.0
    high = extract.columns["draw_max_watts"].index(6 * 7000)
    assert extract.columns["draw_watts"][high] == 6 * 1600
    assert extract.columns["rack_min_watts"][high] == 90_000
    assert extract.columns["rack_watts"][high] == 279_000
    assert extract.gpus["GPU-00aa-0"]["draw_max_watts"].count(7000) == 1


def test_a_mean_is_of_what_is_known() -> None:
    told = Told()
    readings = drawing(told.snapshot.readings, 200_000)
    for second in range(31):
        told.tell(readings=drawing(readings, None if second % 2 else 200_000))
    assert set(told.last(3600).columns["draw_watts"]) == {12_000}


def test_a_moment_of_failsafe_is_seen_in_its_step() -> None:
    told = Told()
    for second in range(300):
        told.tell(phase=Phase.FAILSAFE if second == 100 else Phase.LIMITED)
    assert told.last(DAY_S).phases.count(Phase.FAILSAFE) == 1


def test_a_failsafe_between_two_samples_is_seen_in_the_second() -> None:
    told = Told()
    for phase in (Phase.LIMITED, Phase.FAILSAFE, Phase.LIMITED, Phase.LIMITED):
        told.tell(after_s=0.5, phase=phase)
    told.tell()
    assert told.last(900).phases == [Phase.LIMITED, Phase.FAILSAFE, Phase.LIMITED]


@pytest.mark.parametrize(
    ("seconds", "step_s", "points"), [(900, 1, 900), (7200, 10, 721), (DAY_S, 120, 721), (9e9, 120, 721)]
)
def test_a_day_is_kept_in_steps_that_fit_what_was_asked_for(
    day: Told, seconds: float, step_s: float, points: int
) -> None:
    extract = day.last(seconds)
    assert extract.step_s == step_s
    assert len(extract.times_boot_s) in (points, points - 1)
    assert extract.times_boot_s == sorted(extract.times_boot_s)
    assert extract.from_boot_s == day.now.boot_s - min(seconds, DAY_S)
    assert extract.from_boot_s - step_s < extract.times_boot_s[0] <= extract.from_boot_s + step_s
    assert {len(column) for column in extract.columns.values()} == {len(extract.times_boot_s)}


@pytest.fixture(scope="module")
def day() -> Told:
    """Return a history of a day and a little more."""
    told = Told()
    for _ in range((DAY_S - 7200) // 20):
        told.tell(after_s=20.0)
    for _ in range(7200 // 10):
        told.tell(after_s=10.0)
    for _ in range(1000):
        told.tell()
    return told


@pytest.mark.parametrize(("gpus", "most_bytes"), [(8, 400_000), (16, 700_000)])
def test_its_memory_is_bounded_and_does_not_grow(gpus: int, most_bytes: int) -> None:
    told = Told()
    told.tell(readings=tuple(host.gpu(index) for index in range(gpus)))
    for _ in range(25):
        told.tell(after_s=20.0)
    full = told.history.size_bytes
    assert full <= most_bytes
    for _ in range(2000):
        told.tell(after_s=20.0)
    assert told.history.size_bytes == full


def test_gpus_that_are_swapped_without_end_do_not_fill_the_memory() -> None:
    told = Told()
    for number in range(200):
        told.tell(readings=(host.gpu(number),))
    assert told.history.size_bytes < 5_000_000
    assert told.last(900).gpus["GPU-199199aa-199"]["draw_watts"][-1] > 0


def test_setting_the_wall_clock_does_not_shuffle_the_past() -> None:
    told = Told()
    told.tell()
    told.now = Now(told.now.boot_s, told.now.wall_s - 3600.0)
    told.tell()
    times = told.last(900).times_boot_s
    assert times == sorted(times)
    assert times[1] - times[0] == 1.0


def test_what_lasts_has_happened_once() -> None:
    told = Told()
    hung = Notice("gpu_hung", Severity.CRITICAL, "GPU 6 does not answer", "GPU-66aa-6")
    for _ in range(300):
        told.tell(hung)
    assert told.events().count("gpu_hung") == 1
    for _ in range(120):
        told.tell()
    told.tell(hung)
    assert told.events().count("gpu_hung") == 2


def test_a_change_of_budget_happened_and_its_renewal_did_not() -> None:
    told = Told()
    statement = told.snapshot.decision.statement
    assert statement is not None
    for renewal in range(20):
        told.tell(statement=replace(statement, seq=statement.seq + renewal))
    assert told.events().count("budget_changed") == 1
    told.tell(statement=replace(statement, mw=25_000_000, reason="peak"))
    last = told.last(900).happenings[-1]
    assert (last.event, last.by) == ("budget_changed", "facility-a")
    assert last.text == "facility-a gives 25,000 W for the rack: peak"
    told.tell(statement=replace(statement, mw=None))
    assert told.last(900).happenings[-1].text == "facility-a gives no limit"


def test_control_that_is_lost_twice_within_a_minute_is_told_twice() -> None:
    told = Told()
    for phase in (Phase.LIMITED, Phase.FAILSAFE, Phase.LIMITED, Phase.FAILSAFE):
        told.tell(phase=phase)
    changes = [event for event in told.events() if event != "budget_changed"]
    assert changes == ["phase_changed", "failsafe_entered", "failsafe_left", "failsafe_entered"]


def test_what_happens_all_the_time_does_not_push_out_what_happens_once() -> None:
    told = Told()
    statement = told.snapshot.decision.statement
    assert statement is not None
    order = Happening(told.now.boot_s, "order", Severity.INFO, "override\nGPU 3", by="ada (uid 1000)")
    told.history.add(order)
    for change in range(3 * MAX_HAPPENINGS):
        told.tell(statement=replace(statement, mw=20_000_000 + change))
    happenings = told.last(DAY_S).happenings
    assert len(happenings) == MAX_HAPPENINGS
    assert happenings[0].text == "override GPU 3"
    assert happenings[-1].text.startswith("facility-a gives 20,00")


def test_only_what_happened_since_is_told() -> None:
    told = Told()
    told.tell()
    told.tell(after_s=1000.0)
    assert told.last(900).happenings == []
