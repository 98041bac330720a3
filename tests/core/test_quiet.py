"""Which GPUs idle, where what they are charged matters."""

from powerd.core.gpus.demand import Demand, GpuDemand
from powerd.core.gpus.quiet import NONE_QUIET, QuietGpus, watch
from powerd.core.gpus.slack import Slack
from tests.core.make import W, gpu, uuid


def known(
    mean: float, *, demand: Demand = Demand.BUSY, low_since: float | None = None, held: float = 0.0
) -> GpuDemand:
    """Return what demand knows of a GPU."""
    return GpuDemand(
        demand, 0, 0.0, mean_mw=round(mean * W), low_since_boot_s=low_since, slack=Slack(share=held)
    )


def watched(*seconds: GpuDemand) -> QuietGpus:
    """Return what is known after readings a second apart, from second 100 on."""
    quiet = NONE_QUIET
    for second, demand in enumerate(seconds):
        quiet = watch(quiet, [gpu(0, sampled=100.0 + second)], {uuid(0): demand})
    return quiet


def test_a_gpu_that_draws_little_for_its_limit_is_quiet_since_then_and_idle_after_a_while() -> None:
    quiet = watched(known(60, low_since=95.0))[uuid(0)]
    assert (quiet.since_boot_s, quiet.lowest_mw, quiet.charge_mw) == (95.0, 60 * W, 69_600)
    assert not quiet.is_idle(6.0)
    assert quiet.is_idle(5.0)


def test_it_stays_quiet_when_its_limit_sinks_to_what_it_draws() -> None:
    quiet = watched(known(60, low_since=100.0), known(60), known(60))[uuid(0)]
    assert (quiet.since_boot_s, quiet.sampled_boot_s) == (100.0, 102.0)


def test_what_draws_much_for_its_limit_never_becomes_quiet() -> None:
    assert not watched(known(60), known(60))


def test_a_rise_ends_it_and_a_flicker_does_not() -> None:
    begun = known(60, low_since=100.0)
    assert not watched(begun, known(91))
    flickered = watched(begun, known(62), known(59))[uuid(0)]
    assert (flickered.lowest_mw, flickered.charge_mw) == (59 * W, 69_600)
    assert watched(begun, known(80))[uuid(0)].charge_mw == 80 * W * 106 // 100 + 6 * W


def test_whoever_wants_more_or_is_held_back_is_not_quiet() -> None:
    begun = known(60, low_since=100.0)
    for demand in (Demand.CAPPED, Demand.WAKING, Demand.HELD, Demand.UNKNOWN):
        assert not watched(begun, known(60, low_since=100.0, demand=demand))
    assert watched(begun, known(60, low_since=100.0, demand=Demand.IDLE))


def test_a_gpu_that_its_limit_held_down_of_late_is_not_idle() -> None:
    assert not watched(known(60, low_since=10.0, held=0.06))[uuid(0)].is_idle(30.0)
    assert watched(known(60, low_since=10.0, held=0.05))[uuid(0)].is_idle(30.0)


def test_a_counter_at_rest_tells_nothing() -> None:
    assert not watched(known(0, low_since=100.0))


def test_a_reading_that_was_taken_in_changes_nothing() -> None:
    quiet = watched(known(60, low_since=100.0))
    again = watch(quiet, [gpu(0, sampled=100.0)], {uuid(0): known(70)})
    assert again == quiet
