"""A daemon that starts again inside a lease: what it remembers may have been lowered while it was away."""

from tests.core.bench import Bench
from tests.core.make import W, at, budget, config

FALLBACK_WATTS = 250


def restarted(*, fallen: bool) -> Bench:
    """Return a host under 4000 W that was started again, after the guard has fallen back or before."""
    host = Bench(config())
    host.tick(at(99.0))
    host.tick(at(100.0), budget(4000, 1, at(100.0)))
    host.tick(at(100.1))
    for gpu in host.gpus if fallen else ():
        gpu.limit_mw = gpu.written_mw = FALLBACK_WATTS * W
    host.restart(at(110.0))
    host.tick(at(110.0))
    host.tick(at(110.2))
    return host


def test_limits_that_still_stand_are_kept() -> None:
    assert restarted(fallen=False).limits == [450] * 4


def test_limits_that_have_fallen_stay_down_until_the_controller_is_heard() -> None:
    host = restarted(fallen=True)
    assert host.limits == [FALLBACK_WATTS] * 4
    host.tick(at(111.0), budget(4000, 2, at(111.0)))
    assert host.limits == [450] * 4


def test_the_remembered_budget_delivered_again_is_a_controller_that_has_said_nothing_lower() -> None:
    host = restarted(fallen=True)
    host.tick(at(111.0), budget(4000, 1, at(100.0)))
    assert host.limits == [450] * 4


def test_an_older_budget_delivered_again_frees_nothing() -> None:
    host = restarted(fallen=True)
    host.tick(at(111.0), budget(4000, 0, at(99.5)))
    assert host.limits == [FALLBACK_WATTS] * 4
