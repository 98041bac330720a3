"""What a grid is told that could be shed: never more than limits can bring about, and never a guess."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powerd.core.gpus.gpu_range import Range
from powerd.core.leases.host_state import HostState
from powerd.core.leases.leases import LeaseRules
from powerd.core.leases.place import Place
from powerd.core.metering.shed import HostPower, ShedRules, Sheds, host_shed, powers_heard, rack_shed
from powerd.core.topology import Host, Rack
from tests.core.make import W, gpu
from tests.core.make_leases import says

RULES = ShedRules()
LEASES = LeaseRules()
RACK = Rack("s", "r", (Host("h1", 1.0, 1000 * W), Host("h2", 1.0, 1000 * W)), 9000 * W, 4000 * W)


def floors(*indexes: int, watts: int = 200) -> dict[str, int]:
    return {gpu(index).uuid: watts * W for index in indexes}


def test_a_busy_gpu_sheds_its_draw_and_an_idle_one_only_its_limit() -> None:
    busy, idle = gpu(0, limit=700, draw=650), gpu(1, limit=700, draw=80)
    shed = host_shed((busy, idle), floors(0, 1), RULES)
    assert (shed.now_mw, shed.limit_mw) == (450 * W, 1000 * W)


def test_a_draw_above_the_limit_is_on_its_way_down_already() -> None:
    shed = host_shed((gpu(0, limit=400, draw=650),), floors(0), RULES)
    assert (shed.now_mw, shed.limit_mw) == (200 * W, 200 * W)


def test_a_gpu_that_cannot_be_limited_sheds_nothing() -> None:
    shed = host_shed((gpu(0, limit=700, draw=650), gpu(1, limit=700, draw=650)), floors(1), RULES)
    assert (shed.now_mw, shed.limit_mw) == (450 * W, 500 * W)


def test_a_draw_that_is_not_known_leaves_only_what_limits_allow() -> None:
    readings = (gpu(0, limit=700, draw=None), gpu(1, limit=700, draw=650))
    shed = host_shed(readings, floors(0, 1), RULES)
    assert (shed.now_mw, shed.limit_mw) == (None, 1000 * W)


def test_a_limit_that_is_not_known_leaves_nothing_known() -> None:
    shed = host_shed((gpu(0, limit=None, draw=300), gpu(1)), floors(0, 1), RULES)
    assert (shed.now_mw, shed.limit_mw) == (None, None)


def test_no_gpus_shed_nothing() -> None:
    assert (host_shed((), {}, RULES).now_mw, host_shed((), {}, RULES).limit_mw) == (0, 0)


def test_a_rack_sheds_what_its_hosts_draw_above_their_floors() -> None:
    powers = {"h1": HostPower(2500 * W, 3000 * W), "h2": HostPower(800 * W, 3000 * W)}
    shed = rack_shed(RACK, powers, RULES, LEASES)
    assert (shed.now_mw, shed.limit_mw) == (1500 * W, 4000 * W)


@pytest.mark.parametrize("powers", [{}, {"h1": HostPower(2500 * W, 3000 * W)}])
def test_a_host_that_is_not_heard_makes_the_rack_unknown_not_smaller(powers: dict[str, HostPower]) -> None:
    shed = rack_shed(RACK, powers, RULES, LEASES)
    assert (shed.now_mw, shed.limit_mw) == (None, None)


def test_a_host_without_a_measurement_leaves_what_limits_allow() -> None:
    powers = {"h1": HostPower(None, 3000 * W), "h2": HostPower(800 * W, 3000 * W)}
    shed = rack_shed(RACK, powers, RULES, LEASES)
    assert (shed.now_mw, shed.limit_mw) == (None, 4000 * W)


def test_only_hosts_that_were_heard_of_late_count() -> None:
    states = [_state("h1", heard_boot_s=96.0), _state("h2", heard_boot_s=97.0)]
    assert powers_heard(states, 3.5, 100.0) == {"h2": states[1]}


def test_a_rack_of_several_hosts_waits_for_leases_and_a_single_host_for_none() -> None:
    alone = Rack("s", "r", RACK.hosts[:1], 9000 * W, 4000 * W)
    assert host_shed((), {}, RULES).within_s == 5.0
    assert rack_shed(alone, {}, RULES, LEASES).within_s == 5.0
    assert rack_shed(RACK, {}, RULES, LEASES).within_s == 5.0 + LEASES.ttl_s


def test_a_host_speaks_for_itself_and_its_peers_by_their_last_word() -> None:
    place = Place(RACK, "h1", "r", True, True, None, 9000 * W, 0.0, 9000 * W, 1000 * W, 4000 * W)
    gpus = (gpu(0, limit=700, draw=650), gpu(1, limit=700, draw=250))
    states = {name: _state(name, heard_boot_s=99.0) for name in ("h1", "h2")}
    ranges = {gpu(index).uuid: Range(200 * W, 700 * W, "ceiling", "gpu") for index in range(3)}
    sheds = Sheds(gpus, ranges, 600 * W, place, states, RULES, LEASES, 100.0)
    assert (sheds.host.now_mw, sheds.host.limit_mw) == (500 * W, 1000 * W)
    # 650 + 250 + 600 W of overhead above a floor of 1000 W, and 1500 W of the other.
    assert (sheds.rack.now_mw, sheds.rack.limit_mw) == (500 * W + 1500 * W, 1000 * W + 2000 * W)
    assert sheds._replace(readings=(*gpus, gpu(2, draw=None))).rack.now_mw is None


@given(
    st.lists(
        st.tuples(st.integers(200, 700), st.one_of(st.none(), st.integers(0, 800)), st.integers(100, 300)),
        max_size=9,
    )
)
def test_what_a_meter_would_see_is_never_more_than_what_limits_allow(
    gpus: list[tuple[int, int | None, int]],
) -> None:
    readings = [gpu(index, limit=limit, draw=draw) for index, (limit, draw, _) in enumerate(gpus)]
    floors_mw = {gpu(index).uuid: floor * W for index, (_, _, floor) in enumerate(gpus)}
    shed = host_shed(readings, floors_mw, RULES)
    assert shed.limit_mw is not None
    assert shed.now_mw is None or 0 <= shed.now_mw <= shed.limit_mw


def _state(host: str, *, heard_boot_s: float) -> HostState:
    return replace(says(host, at=heard_boot_s), worst_case_mw=3000 * W, measured_mw=2500 * W)
