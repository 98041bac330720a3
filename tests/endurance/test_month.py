"""An evening of the rack whose month `python -m tests.endurance` runs."""

from tests.endurance.month import month

WRAPS_S = 2**31 / 1000


def test_an_event_while_boot_clocks_pass_31_bits_leaves_no_trace_but_in_the_ledger() -> None:
    with month(seed=1, boot_s=WRAPS_S - 3600) as rack:
        sizes = [rack.sizes() for _ in rack.hours(16.5, 19.5)]
        assert rack.rack.hosts[0].clock.boot_s > WRAPS_S
        assert [error for host in rack.rack.hosts for error in host.errors()] == []
        assert rack.over_w <= 0.0
        rack.close()
        error_pct, unknown_pct = rack.energy_error_pct()
        assert abs(error_pct) < 1.0
        assert unknown_pct < 1.0
    for what in ("controller", "state", "metrics"):
        assert sizes[-1][what] < 1.2 * sizes[0][what], what


def test_the_same_seed_is_the_same_evening() -> None:
    digests = []
    for _ in range(2):
        with month(seed=2) as rack:
            rack.rack.world.history.on = True
            list(rack.hours(16.9, 17.1))
            digests.append(rack.rack.world.history.digest)
    assert digests[0] == digests[1]
