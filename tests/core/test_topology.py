"""The rack's tree: feasible by construction, shares exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.topology import GpuPolicies, GpuPolicy, Host, Rack
from tests.core.make import W, rack


def test_a_gpu_without_a_policy_of_its_own_has_the_default_one() -> None:
    own, default = GpuPolicy(priority=1), GpuPolicy(priority=2)
    policies = GpuPolicies(default, {"GPU-0": own})
    assert policies.of("GPU-0") == own
    assert policies.of("GPU-1") == default


def test_a_rack_without_hosts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^rack\.hosts is empty: list every host"):
        rack(hosts=())


def test_a_failsafe_above_the_hard_limit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rack\.failsafe_watts 7000 is above rack\.hard_limit_watts 6000"):
        rack(failsafe=7000)


def test_an_infeasible_failsafe_is_refused_with_the_missing_watts() -> None:
    """I7: floors 2000, rack overhead 100 and 2 % of 2100 = 42 need 2142."""
    with pytest.raises(ValueError, match=r"need 42 watts more"):
        rack(failsafe=2100, overhead=100, guard_band_pct=2.0)
    assert rack(failsafe=2143, overhead=100, guard_band_pct=2.0)


def test_a_host_outside_the_roster_is_named_with_the_roster() -> None:
    assert rack().host("h2").name == "h2"
    with pytest.raises(ValueError, match=r'host\.name "h9" is not in rack\.hosts \(h1, h2\)'):
        rack().host("h9")


@pytest.mark.parametrize(
    ("usable_watts", "entitlements"),
    [
        (6000, [3000, 3000]),
        (2001, [1000.5, 1000.5]),
        (2000, [1000, 1000]),
        (0, [1000, 1000]),
        (-50, [1000, 1000]),
    ],
)
def test_a_share_is_the_floor_and_a_part_of_what_is_above_all_floors(
    usable_watts: int, entitlements: list[float]
) -> None:
    example = rack()
    assert [example.entitlement_mw(h, usable_watts * W) / W for h in ("h1", "h2")] == entitlements


def test_unequal_floors_are_met_before_shares_count() -> None:
    """Counterexample 23 of the lease rules: equal shares of 10 with floors 1 and 9 must not be 5 and 9."""
    uneven = rack(hosts=(Host("h1", 1.0, 1 * W), Host("h2", 1.0, 9 * W)), hard_limit=10, failsafe=10)
    assert [uneven.entitlement_mw(h, 10 * W) for h in ("h1", "h2")] == [1 * W, 9 * W]


@st.composite
def racks(draw: st.DrawFn) -> Rack:
    """Draw any feasible rack."""
    floors = draw(st.lists(st.integers(0, 5_000_000), min_size=1, max_size=8))
    shares = st.floats(1e-7, 1000, allow_nan=False)
    hosts = tuple(Host(f"h{i}", draw(shares), mw) for i, mw in enumerate(floors))
    overhead = draw(st.integers(0, 3_000_000))
    band = draw(st.integers(0, 200)) / 10
    failsafe = int((sum(floors) + overhead) / (1 - band / 100)) + draw(st.integers(2, 10_000_000))
    hard = failsafe + draw(st.integers(0, 50_000_000))
    return Rack("s", "r", hosts, hard, failsafe, overhead, band)


@given(racks(), st.integers(0, 200_000_000))
def test_entitlements_sum_to_at_most_what_is_usable_or_the_floors(example: Rack, cap_mw: int) -> None:
    usable = example.usable_mw(cap_mw)
    entitlements = [example.entitlement_mw(host.name, usable) for host in example.hosts]
    assert sum(entitlements) <= max(usable, example.floors_mw)
    assert all(e >= host.floor_mw for e, host in zip(entitlements, example.hosts, strict=True))


@given(racks(), st.integers(0, 200_000_000))
def test_what_one_host_works_out_for_itself_the_others_work_out_for_it(example: Rack, cap_mw: int) -> None:
    usable = example.usable_mw(cap_mw)
    own = {host.name: example.entitlement_mw(host.name, usable) for host in example.hosts}
    assert example.entitlements_mw(usable) == own


@given(racks(), st.integers(0, 200_000_000), st.integers(0, 10_000_000))
def test_a_smaller_cap_never_gives_any_host_more(example: Rack, cap_mw: int, less_mw: int) -> None:
    smaller, larger = example.usable_mw(cap_mw), example.usable_mw(cap_mw + less_mw)
    assert smaller <= larger
    for host in example.hosts:
        assert example.entitlement_mw(host.name, smaller) <= example.entitlement_mw(host.name, larger)


@given(racks())
def test_the_least_cap_is_just_enough_for_the_floors(example: Rack) -> None:
    assert example.usable_mw(example.least_mw) >= example.floors_mw
    assert example.least_mw <= example.failsafe_mw
    assert example.usable_mw(example.least_mw - 1) < example.floors_mw


@pytest.mark.parametrize(
    ("host_watts", "rack_watts"), [(3000, 6000), (1500, 3000), (1000, 2000), (900, 1900), (0, 1000)]
)
def test_a_host_is_held_to_watts_by_a_cap_on_its_rack(host_watts: int, rack_watts: int) -> None:
    """Below its floor no cap is low enough: then the cap is as far below."""
    assert rack().cap_for_mw("h1", host_watts * W) == rack_watts * W


@given(racks(), st.integers(0, 50_000_000))
def test_under_that_cap_its_share_is_worth_at_most_so_much_and_hardly_less(example: Rack, mw: int) -> None:
    for host in example.hosts:
        cap_mw = example.cap_for_mw(host.name, mw)
        share_mw = example.entitlement_mw(host.name, example.usable_mw(cap_mw))
        assert share_mw <= max(mw, host.floor_mw)
        if mw > host.floor_mw:
            assert share_mw >= mw - 3
