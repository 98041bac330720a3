"""What is wrong is told at once, then once a minute, and forgotten when it is over."""

from powerd.core.model import Notice, Severity
from powerd.daemon.problems import MAX_PROBLEMS, MAX_SUBJECTS, OTHERS, Problems, Waiting

WALL_S = 1_763_690_000.0


def hung(text: str = "GPU 3 hangs") -> Notice:
    return Notice("gpu_hung", Severity.CRITICAL, text, "GPU-3")


def take(problems: Problems, boot_s: float, *notices: Notice) -> list[str]:
    return [notice.text for notice in problems.take(notices, boot_s, WALL_S + boot_s)]


def test_a_repeat_is_counted_and_told_again_after_a_minute() -> None:
    problems = Problems()
    assert take(problems, 0, hung()) == ["GPU 3 hangs"]
    assert take(problems, 1, hung()) == []
    assert take(problems, 59, hung("GPU 3 still hangs")) == []
    assert take(problems, 60, hung("GPU 3 still hangs")) == ["GPU 3 still hangs"]
    (problem,) = problems.current()
    assert (problem.count, problem.first_wall_s, problem.last_wall_s) == (4, WALL_S, WALL_S + 60)


def test_each_change_of_how_things_stand_is_told_so_that_the_last_line_is_true() -> None:
    problems = Problems()
    entered = Notice("failsafe_entered", Severity.CRITICAL, "failsafe")
    left = Notice("failsafe_left", Severity.INFO, "a controller is back")
    cut = Notice("mqtt_disconnected", Severity.WARNING, "the connection ended")
    back = Notice("mqtt_connected", Severity.INFO, "MQTT 5")
    told = [take(problems, at_s, *notices) for at_s, notices in enumerate([(entered, cut), (left, back)] * 3)]
    assert told == [["failsafe", "the connection ended"], ["a controller is back", "MQTT 5"]] * 3


def test_what_has_not_recurred_for_a_minute_is_over_and_news_when_it_comes_back() -> None:
    problems = Problems()
    take(problems, 0, hung())
    take(problems, 60.5)
    assert problems.current() == ()
    assert take(problems, 61, hung()) == ["GPU 3 hangs"]


def test_the_most_urgent_comes_first_then_the_newest() -> None:
    problems = Problems()
    take(problems, 0, Notice("note", Severity.INFO, "c"), hung("a"), Notice("old", Severity.WARNING, "d"))
    take(problems, 5, Notice("new", Severity.WARNING, "b"))
    assert [problem.text for problem in problems.current()] == ["a", "b", "d", "c"]


def refused(name: str, event: str = "signal_rejected") -> Notice:
    return Notice(event, Severity.WARNING, name, name)


def test_a_sender_that_invents_names_cannot_fill_the_memory() -> None:
    problems = Problems()
    for number in range(2 * MAX_PROBLEMS):
        take(problems, 0, refused(f"source-{number}"))
    assert len(problems.current()) == MAX_SUBJECTS + 1


def test_no_number_of_invented_names_keeps_another_problem_from_being_told() -> None:
    problems = Problems()
    for event in range(MAX_PROBLEMS):
        take(problems, 0, *(refused(f"source-{number}", f"kind-{event}") for number in range(100)))
    assert len(problems.current()) == MAX_PROBLEMS
    assert take(problems, 1, hung()) == ["GPU 3 hangs"]


def test_what_is_told_of_invented_names_in_a_minute_is_bounded() -> None:
    problems, told = Problems(), 0
    for second in range(600):
        told += len(take(problems, second, *(refused(f"{second}-{number}") for number in range(100))))
    assert told <= 10 * 2 * (MAX_SUBJECTS + 1)
    assert OTHERS in [problem.subject for problem in problems.current()]


def test_when_the_invented_names_are_over_there_is_room_for_others() -> None:
    problems = Problems()
    take(problems, 0, *(refused(f"source-{number}") for number in range(100)))
    take(problems, 61)
    assert problems.current() == ()
    assert take(problems, 62, refused("facility-a")) == ["facility-a"]
    assert [problem.subject for problem in problems.current()] == ["facility-a"]


def test_a_storm_between_two_iterations_pushes_out_nothing_but_itself() -> None:
    waiting = Waiting()
    waiting.add(hung())
    for number in range(5000):
        waiting.add(refused(f"source-{number}"))
    taken = waiting.take()
    assert taken[0] == hung()
    assert [notice.subject for notice in taken[-2:]] == ["source-4998", "source-4999"]
    assert len(taken) == 1 + MAX_SUBJECTS
    assert waiting.take() == []


def test_what_lasts_is_over_at_once_and_news_when_it_is_back() -> None:
    problems = Problems()
    for boot_s in (0, 1):
        told = problems.take((), boot_s, WALL_S, lasting=(hung(),))
        assert [notice.text for notice in told] == (["GPU 3 hangs"] if boot_s == 0 else [])
    assert [problem.text for problem in problems.current()] == ["GPU 3 hangs"]
    assert take(problems, 2, Notice("note", Severity.INFO, "c")) == ["c"]
    assert [problem.text for problem in problems.current()] == ["c"]
    assert [notice.text for notice in problems.take((), 3, WALL_S, lasting=(hung(),))] == ["GPU 3 hangs"]
