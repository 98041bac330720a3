"""The judge of the chaos is judged: it sees what must not be, and excuses what nobody could help."""

import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from tests.chaos.health import Health
from tests.chaos.observer import SETTLES_WITHIN_S, Observer
from tests.chaos.stage import TIMES, Span, Stage
from tests.daemon.facility import Grant
from tests.daemon.rack import BUDGET_WATTS, GPUS, NAMES
from tests.daemon.waiting import boot_s
from tests.fake_nvml import BY_NVML

N1, N2 = NAMES[:2]
# Of 7056 W each host has 1764 W: 241 W for each GPU.
EACH_WATTS = 240
LONG_AGO_S = 1000.0


@pytest.fixture(scope="module")
def place(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Return a stage without processes: limits are moved by hand."""
    with Stage(tmp_path_factory.mktemp("o"), library) as stage:
        yield stage


@pytest.fixture
def stage(place: Stage) -> Stage:
    """Return the stage as if a rack on it were at its budget, with nothing wrong."""
    now_s = boot_s()
    place.rack.grants[:] = [Grant(now_s, BUDGET_WATTS, now_s + 60)]
    for followed in place.rack.followed.values():
        followed.clear()
    excuses = (place.stuck, place.troubled, place.cut_off, place.late)
    for spans in chain.from_iterable(each.values() for each in excuses):
        spans.clear()
    for name in NAMES:
        for index in range(GPUS):
            place.hosts[name].gpus.write_as_rival(index, EACH_WATTS)
    return place


def powerd_writes(stage: Stage, name: str, index: int, watts: int) -> None:
    """Set a limit through NVML."""
    gpus = stage.hosts[name].gpus
    with gpus.now() as all_of_them:
        all_of_them[index].requested_mw = watts * 1000
        gpus._log(index, BY_NVML)


def past(seconds: float) -> Span:
    """Return a time that is over, and was so long ago."""
    return Span(boot_s() - LONG_AGO_S, boot_s() - seconds)


def test_watts_that_move_from_host_to_host_are_no_violation(stage: Stage) -> None:
    observer = Observer(stage)
    powerd_writes(stage, N2, 0, 140)
    powerd_writes(stage, N1, 0, 340)
    assert observer.look() == []
    assert observer.somebody_borrows
    assert observer.found.closest_mw < 20_000


def test_watts_that_are_used_twice_are_seen(stage: Stage) -> None:
    observer = Observer(stage)
    powerd_writes(stage, N1, 0, 340)
    [violation, *_] = observer.look()
    assert "the rack is 84 W above its bound (r17-n1 1860 of 1764" in violation


def test_watts_that_are_used_twice_for_a_millisecond_are_seen(stage: Stage) -> None:
    observer = Observer(stage)
    powerd_writes(stage, N1, 0, 340)
    powerd_writes(stage, N1, 0, 240)
    assert len(observer.look()) == 1
    assert observer.look() == []


def test_limits_that_stay_when_a_budget_has_ended_are_seen_at_its_end(stage: Stage) -> None:
    ended_boot_s = boot_s() - TIMES.guard_bound_s - TIMES.memory_s
    stage.rack.grants[:] = [Grant(ended_boot_s - 60, BUDGET_WATTS, ended_boot_s + 0.2)]
    observer = Observer(stage)
    assert observer.look() == []
    time.sleep(0.3)  # nothing happens in it
    assert any("above its bound" in violation for violation in observer.look())


def test_a_limit_that_somebody_else_raised_counts_until_it_was_time_to_set_it_back(stage: Stage) -> None:
    stage.troubled[N1].append(Span())
    observer = Observer(stage)
    stage.hosts[N1].gpus.write_as_rival(0, 400)
    assert observer.look() == []
    stage.troubled[N1][:] = [past(SETTLES_WITHIN_S - 5)]
    assert observer.look() == []
    stage.hosts[N1].gpus.write_as_rival(0, 200)
    powerd_writes(stage, N2, 0, 280)
    assert observer.look() == []
    powerd_writes(stage, N2, 0, 240)
    stage.hosts[N1].gpus.write_as_rival(0, 400)
    stage.troubled[N1][:] = [past(SETTLES_WITHIN_S + 1)]
    assert observer.look() != []


def test_what_powerd_itself_raises_on_a_troubled_host_is_seen(stage: Stage) -> None:
    stage.troubled[N1].append(Span())
    observer = Observer(stage)
    stage.hosts[N1].gpus.write_as_rival(0, 400)
    powerd_writes(stage, N1, 0, 399)
    assert observer.look() != []


def test_a_gpu_that_takes_no_limit_excuses_its_host_once_all_others_are_at_minimum(
    stage: Stage,
) -> None:
    gpus = stage.hosts[N1].gpus
    gpus.write_as_rival(0, 400)
    stage.stuck[N1, 0].append(Span())
    stage.rack.grants[:] = []  # failsafe: 1274 W each
    for name in NAMES:
        for index in range(GPUS):
            if (name, index) != (N1, 0):
                powerd_writes(stage, name, index, 100)
    observer = Observer(stage)
    powerd_writes(stage, N2, 0, 174)
    powerd_writes(stage, NAMES[2], 0, 174)
    powerd_writes(stage, NAMES[3], 0, 174)
    assert observer.look() == []
    assert observer.found.excused > 0
    powerd_writes(stage, N1, 1, 110)
    assert observer.look() != []


def test_a_host_that_hears_nobody_is_at_its_failsafe_after_its_leases(stage: Stage) -> None:
    """Its peers hold back, so that the sum alone would show nothing."""
    begun_boot_s = boot_s() - LONG_AGO_S
    stage.rack.grants[:] = [
        Grant(begun_boot_s - 1, 7200, begun_boot_s + 60),
        Grant(boot_s(), 9000, boot_s() + 60),
    ]
    stage.cut_off[N1].append(Span(begun_boot_s))
    observer = Observer(stage)
    assert any("hears nobody" in violation for violation in observer.look())
    for index in range(GPUS):
        powerd_writes(stage, N1, index, 110)
    observer.look()
    assert observer.look() == []


def test_a_limit_outside_of_its_gpus_range_is_seen(stage: Stage) -> None:
    observer = Observer(stage)
    powerd_writes(stage, N1, 0, 99)
    assert any("99 W on a GPU" in violation for violation in observer.look())


def test_a_process_that_ends_and_a_traceback_are_seen(stage: Stage) -> None:
    daemon = stage.hosts[N1].daemon
    stage.down |= {(name, part) for name in NAMES for part in ("daemon", "guard")} - {(N1, "daemon")}
    health = Health(stage)
    daemon.command = ("sh", "-c", "echo Traceback '(most recent call last)'; exit 3")
    daemon.start()
    daemon.wait()
    first, second = health.look()
    assert "the daemon of r17-n1 has ended with 3" in first
    assert "Traceback" in second
    assert health.crashes == 1
    assert health.look() == []


def test_a_host_whose_guard_the_machine_let_wait_is_not_judged_and_the_others_are(stage: Stage) -> None:
    observer = Observer(stage)
    stage.late[N1].append(Span())
    powerd_writes(stage, N1, 0, 340)
    assert observer.look() == []
    stage.rack.grants[:] = [Grant(boot_s() - LONG_AGO_S, 5200, boot_s() - LONG_AGO_S / 2)]
    for name in NAMES[1:]:
        for index in range(GPUS):
            powerd_writes(stage, name, index, 400)
    assert observer.look() != []
