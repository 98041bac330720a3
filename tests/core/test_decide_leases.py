"""Leases in what a host decides, writes and says: from peers' messages to limits, fallback and own word."""

from dataclasses import replace

import pytest

from powerd.core.confirm import confirm
from powerd.core.decide import Decision, decide
from powerd.core.leases.host_state import HostState, Key
from powerd.core.leases.leases import Leases, counted_mw
from powerd.core.model import Capability, GpuReading
from powerd.core.rack.failsafe import Phase
from powerd.core.state import Config, Inputs, initial_state
from powerd.core.topology import GpuPolicy
from tests.core.bench import Bench
from tests.core.make import W, at, budget, config, gpu, rules, uuid
from tests.core.make_leases import EPOCH, RACK, RULES, heard_budget, hold, lent_to_us, says

# Four GPUs of 200 to 700 W and 200 W of overhead: 1000 to 3000 W.
CONFIG = config(of=RACK, leases=RULES)
DEAD = says("h3", cap=9000, at=1.0)


def host(*, load: int = 700, watts: int = 6000, boot_s: float = 100.0, of: Config = CONFIG) -> Bench:
    """Return h1 under a budget, whose GPUs have had time to be what they are."""
    bench = Bench(of, state=initial_state(at(0.0), leases=Leases(epoch=EPOCH)))
    for each in bench.gpus:
        each.load_mw = load * W
    bench.tick(at(boot_s - 40.0))
    bench.tick(at(boot_s - 39.5), budget(watts, 1, at(boot_s - 39.5), lease_s=300))
    bench.until(at(boot_s))
    return bench


def peer(name: str = "h2", *, boot_s: float, cap: float = 6000, **options: object) -> HostState:
    """Return what a peer of the same budget says."""
    own = {"entitlement": 2000, "want": 2000, "roster": CONFIG.roster, **options}
    return says(name, int(boot_s * 10), at=boot_s, cap=cap, **own)  # type: ignore[arg-type] # of `says`


def answer(bench: Bench, watts: float, boot_s: float) -> HostState:
    """Return a peer's lease in answer to the host's last message."""
    leases = bench.state.leases
    return peer(boot_s=boot_s, lends=(lent_to_us(watts, leases.seq, epoch=leases.epoch),))


def chain(decision: Decision) -> list[tuple[str, int]]:
    return [(step.rule, step.mw // W) for step in decision.host_steps]


# Borrowing


def test_borrowed_watts_are_in_the_limits_at_once_and_in_no_plan_beyond_their_end() -> None:
    bench = host()
    assert bench.limits == [450] * 4
    sent_s = bench.state.leases.sent_boot_s[bench.state.leases.seq]
    decision = bench.tick(at(100.2), states=(answer(bench, 400, 100.2),))
    assert bench.limits == [550] * 4
    assert decision.plan.end_boot_s == sent_s + RULES.ttl_s
    assert decision.wake_boot_s == sent_s + RULES.ttl_s - RULES.lead_s
    assert chain(decision) == [("entitlement", 2000), ("borrowed", 2400), ("host_overhead", 2200)]
    assert decision.host_steps[1].source == "h2"
    assert decision.host_steps[1].until_boot_s == sent_s + RULES.ttl_s
    assert bench.message is not None
    assert [(each.donor, each.mw) for each in bench.message.holds] == [("h2", 400 * W)]


def test_the_guard_is_told_to_fall_back_to_what_is_not_borrowed() -> None:
    bench = host()
    decision = bench.tick(at(100.2), states=(answer(bench, 400, 100.2),))
    assert [write.mw // W for write in decision.plan.fallback] == [325] * 4  # 1500 W of the failsafe


def test_a_lease_that_is_not_renewed_is_out_of_use_before_its_end() -> None:
    bench = host()
    decision = bench.tick(at(100.2), states=(answer(bench, 400, 100.2),))
    assert decision.wake_boot_s is not None
    bench.tick(at(decision.wake_boot_s - 0.01))
    assert bench.limits == [550] * 4
    bench.tick(at(decision.wake_boot_s))
    assert bench.limits == [450] * 4


def test_a_recalled_lease_is_let_go_and_that_is_said_in_the_same_breath() -> None:
    bench = host()
    bench.tick(at(100.2), states=(answer(bench, 400, 100.2),))
    recall = answer(bench, 0, 100.4)
    bench.tick(at(100.4), states=(recall,))
    assert bench.limits == [450] * 4
    assert bench.message is not None
    assert [(each.mw, each.key) for each in bench.message.holds] == [(0, recall.key)]


def test_a_gpu_that_will_not_be_lowered_keeps_the_host_from_saying_that_it_has_let_go() -> None:
    bench = host()
    bench.tick(at(100.2), states=(answer(bench, 400, 100.2),))
    for each in bench.gpus:
        each.refuses = True
    bench.tick(at(100.4), states=(answer(bench, 0, 100.4),))
    assert bench.message is not None
    assert [each.mw for each in bench.message.holds] == [400 * W]
    assert bench.message.over_mw == 400 * W


# Lending


def test_what_the_gpus_do_not_want_is_lent_with_own_limits_and_fallback_lowered_first() -> None:
    bench = host(load=100)
    decision = bench.tick(at(100.2), states=(peer(boot_s=100.2, want=2500),))
    assert bench.limits == [325] * 4
    # Failsafe 1500 W, less 500 W lent, less 200 W of overhead: 200 W for each GPU.
    assert [write.mw // W for write in decision.plan.fallback] == [200] * 4
    assert chain(decision) == [("entitlement", 2000), ("lending", 1500), ("host_overhead", 1300)]
    assert decision.host_steps[1].note == "about to lend 500 W"
    assert bench.message is not None
    assert [(each.to, each.mw) for each in bench.message.lends] == [("h2", 500 * W)]
    assert counted_mw(bench.state.leases) == {"h2": 500 * W}


def test_what_peers_hear_is_of_the_whole_host() -> None:
    """Idle GPUs want their minimum; the overhead is wanted, too."""
    bench = host(load=100)
    bench.tick(at(100.2), states=(peer(boot_s=100.2, want=2500),))
    message = bench.message
    assert message is not None
    assert message.budget is not None
    assert (message.want_mw, message.spare_mw, message.worst_case_mw) == (1000 * W, 1000 * W, 1500 * W)
    assert message.budget.lease_s == pytest.approx(60.5 + 300.0 - 100.2)


def test_what_the_gpus_cannot_be_limited_below_is_not_lent() -> None:
    policies = {uuid(i): GpuPolicy(floor_mw=325 * W) for i in range(4)}
    bench = host(load=100, of=config(of=RACK, leases=RULES, by_uuid=policies))
    bench.tick(at(100.2), states=(peer(boot_s=100.2, want=4000),))
    assert bench.message is not None
    assert [each.mw for each in bench.message.lends] == [500 * W]


def test_what_was_lent_is_shown_with_its_end_and_whether_it_was_recalled() -> None:
    bench = host(load=100)
    bench.tick(at(100.2), states=(peer(boot_s=100.2, want=2500),))
    step = bench.tick(at(100.3)).host_steps[1]
    assert (step.rule, step.mw, step.source) == ("lent", 1500 * W, "h2")
    assert step.until_boot_s == pytest.approx(100.2 + RULES.count_s)
    assert "recalled" not in step.note
    bench.tick(at(100.4), states=(peer(boot_s=100.4, want=2000),))
    assert bench.message is not None
    assert [each.mw for each in bench.message.lends] == [0]
    assert "recalled" in bench.tick(at(100.5)).host_steps[1].note


def test_watts_come_back_when_the_borrower_has_let_go() -> None:
    bench = host(load=100)
    bench.tick(at(100.2), states=(peer(boot_s=100.2, want=2500),))
    bench.tick(at(100.4), states=(peer(boot_s=100.4),))
    assert bench.message is not None
    bench.tick(at(100.6), states=(peer(boot_s=100.6, holds=(hold(0, bench.message.key.seq),)),))
    assert bench.limits == [450] * 4


def test_watts_come_back_from_a_borrower_that_has_died() -> None:
    bench = host(load=100)
    bench.tick(at(100.2), states=(peer(boot_s=100.2, want=2500),))
    end_s = 100.2 + RULES.count_s
    bench.until(at(end_s))
    assert bench.limits == [325] * 4
    bench.tick(at(end_s + 0.1))
    assert bench.limits == [450] * 4


def test_after_a_restart_what_was_lent_is_not_drawn() -> None:
    bench = host(load=100)
    bench.tick(at(100.2), states=(peer(boot_s=100.2, want=2500),))
    bench.restart(at(101.0))
    bench.tick(at(101.0))
    assert bench.limits == [325] * 4


@pytest.mark.parametrize("reason", ["not writing", "operator"])
def test_a_host_that_goes_its_own_way_takes_no_part(reason: str) -> None:
    """An operator's cap on this host is meant for it: neither others' watts nor others' needs count there."""
    bench = host(load=100)
    states = (peer(boot_s=100.2, want=2500), DEAD)
    bench.tick(
        at(100.2),
        states=states,
        may_lease=reason != "not writing",
        operator_mw=5000 * W if reason == "operator" else None,
    )
    assert bench.message is not None
    assert not bench.message.is_leasing
    assert bench.message.rack_cap_mw == 6000 * W
    assert bench.message.lends == ()


# Lost memory


def test_a_host_that_has_forgotten_what_it_lent_waits_at_its_floor() -> None:
    bench = host(load=700)
    bench.restart(at(101.0), forget=True)
    decision = bench.tick(at(101.0), budget(6000, 2, at(101.0), lease_s=300))
    assert bench.limits == [200] * 4
    assert chain(decision) == [("entitlement", 2000), ("memory_lost", 1000), ("host_overhead", 800)]
    assert decision.host_steps[1].until_boot_s == 101.0 + RULES.forget_s
    assert [write.mw // W for write in decision.plan.fallback] == [200] * 4
    bench.until(at(101.0 + RULES.forget_s))
    assert bench.limits == [200] * 4
    bench.tick(at(101.1 + RULES.forget_s))
    assert bench.limits == [450] * 4


def test_without_any_budget_it_waits_until_none_can_be_in_force() -> None:
    """The failsafe may be above what held before."""
    bench = host(load=700)
    bench.restart(at(101.0), forget=True)
    longest_s = CONFIG.admission.max_lease_s
    bench.until(at(101.0 + longest_s - 0.1), every_s=10.0)
    assert bench.limits == [200] * 4
    bench.tick(at(101.0 + longest_s))
    assert bench.limits == [325] * 4


def test_a_second_restart_does_not_take_the_failsafe_for_a_budget_that_is_known() -> None:
    bench = host(load=700)
    bench.restart(at(101.0), forget=True)
    bench.tick(at(101.0))
    bench.restart(at(110.0))
    bench.until(at(111.0 + RULES.forget_s))
    assert bench.limits == [200] * 4


def test_a_cap_that_is_remembered_is_a_budget_that_is_known() -> None:
    """A file of before there were leases tells the cap, and nothing of leases."""
    bench = host(load=700)
    bench.restart(at(101.0), forget=True)
    bench.state = bench.state._replace(failsafe=replace(bench.state.failsafe, held_mw=4500 * W))
    bench.until(at(101.1 + RULES.forget_s))
    assert bench.state.failsafe.phase is Phase.INIT
    assert bench.limits == [325] * 4


# Compensation and hearsay


def test_watts_are_given_up_for_a_host_that_is_silent_at_a_higher_budget() -> None:
    bench = host(load=700)
    decision = bench.tick(at(100.2), states=(peer(boot_s=100.2), DEAD))
    assert chain(decision) == [("entitlement", 2000), ("compensation", 1500), ("host_overhead", 1300)]
    assert bench.limits == [325] * 4
    assert bench.message is not None
    assert (bench.message.over_mw, bench.message.spare_mw) == (0, 0)


def test_the_chain_ends_at_the_floor_where_there_is_nothing_left_to_take() -> None:
    bench = host(load=100, watts=6000)
    bench.tick(at(100.2), states=(peer(boot_s=100.2, want=3000),))
    assert counted_mw(bench.state.leases) == {"h2": 1000 * W}
    decision = bench.tick(at(101.0), budget(3900, 2, at(101.0)))
    assert chain(decision) == [
        ("entitlement", 1300),
        ("lent", 300),
        ("host_floor", 1000),
        ("host_overhead", 800),
    ]
    assert decision.host_steps[2].note == "recalled watts are awaited"


def test_the_chain_says_so_where_the_floor_is_in_the_way_of_giving_up_more() -> None:
    """The budget rose to 6000 W again and this host still climbs, while another never heard of the cut."""
    bench = host(load=700, watts=3300)
    bench.tick(at(100.2), budget(6000, 2, at(100.2), lease_s=300))
    decision = bench.tick(at(100.3), states=(peer(boot_s=100.3), DEAD))
    assert [rule for rule, _ in chain(decision)] == [
        "entitlement",
        "compensation",
        "host_floor",
        "host_overhead",
    ]
    assert decision.host_steps[2].note == "no host goes below it"
    assert decision.cap_mw == 1000 * W


@pytest.mark.parametrize(
    ("state", "cap"),
    [
        (peer(boot_s=100.2, budget=heard_budget(4500, seq=2)), 4500),
        (peer(boot_s=100.2, budget=heard_budget(4500, seq=2), roster="another"), 6000),
        (peer("h1", boot_s=100.2, budget=heard_budget(4500, seq=2)), 6000),
        (peer(boot_s=100.2, budget=None), 6000),
    ],
    ids=["agrees", "other roster", "own name", "no budget"],
)
def test_a_lower_budget_that_a_peer_has_heard_is_obeyed(state: HostState, cap: int) -> None:
    bench = host()
    assert bench.tick(at(100.2), states=(state,)).rack_cap_mw == cap * W


# Rosters


def test_while_the_roster_changes_the_chain_says_why_there_is_less() -> None:
    bench = host()
    old = replace(RACK, hosts=(RACK.hosts[0]._replace(share=0.5), *RACK.hosts[1:]))
    bench.state = bench.state._replace(leases=bench.state.leases._replace(formers=(old,)))
    step = bench.tick(at(100.2)).host_steps[0]
    assert (step.mw, "roster" in step.note) == (1600 * W, True)
    agree = (peer("h2", boot_s=100.3), peer("h3", boot_s=100.3))
    bench.tick(at(100.3), states=agree)
    step = bench.tick(at(100.4)).host_steps[0]
    assert (step.mw, "roster" in step.note) == (1600 * W, False)
    step = bench.until(at(225.5)).host_steps[0]  # 1200 W of the rack at 10 W/s, after 5 s
    assert step.mw == 2000 * W


# What is confirmed


def confirmed(*readings: GpuReading) -> HostState | None:
    """Return what is said when the plan has led to these readings."""
    bench = host()
    inputs = Inputs(bench.read(at(102.0)), may_lease=True)
    decision, state = decide(inputs, bench.state, at(102.0), CONFIG)
    message, _ = confirm(decision, readings, state, at(102.0), CONFIG)
    return message


def test_the_worst_case_is_that_of_all_gpus_and_the_overhead() -> None:
    message = confirmed(gpu(0, limit=400), gpu(1, limit=300))
    assert message is not None
    assert message.worst_case_mw == 900 * W


@pytest.mark.parametrize(
    "readings",
    [(), (gpu(0, limit=400), gpu(1, limit=None, capability=Capability.OPAQUE))],
    ids=["no guard", "an opaque GPU"],
)
def test_what_is_not_known_of_one_gpu_is_not_known_of_the_host(readings: tuple[GpuReading, ...]) -> None:
    message = confirmed(*readings)
    assert message is not None
    assert message.worst_case_mw is None


def test_a_write_that_has_not_returned_keeps_a_host_from_lending() -> None:
    bench = host(load=100)
    inputs = Inputs(bench.read(at(102.0)), states=(peer(boot_s=102.0, want=2500),), may_lease=True)
    decision, state = decide(inputs, bench.state, at(102.0), CONFIG)
    assert decision.standing.lent_mw == 500 * W
    readings = [gpu(i, limit=325) for i in range(4)]
    pending = [replace(readings[0], pending_mw=300 * W), *readings[1:]]
    for read, lent_mw in ((readings, 500 * W), (pending, 0)):
        message, _ = confirm(decision, read, state, at(102.0), CONFIG)
        assert message is not None
        assert (message.lends[0].mw, message.lent_mw) == (lent_mw, lent_mw)


def test_a_change_of_phase_or_budget_is_said_at_once() -> None:
    bench = host(watts=6000)
    before = bench.state.leases.seq
    bench.tick(at(100.1))
    assert bench.state.leases.seq == before
    bench.tick(at(100.2), budget(6000, 2, at(100.2), source="b", priority=50))
    assert bench.message is not None
    assert bench.message.key == Key(EPOCH, before + 1)


def test_a_host_without_peers_says_when_what_it_may_draw_changes() -> None:
    """There are people who listen, and no peer to make it repeat itself every second."""
    bench = Bench(config())
    states = []
    for boot_s, operator in ((100.0, 4000), (101.0, 4000), (102.0, 3600)):
        readings = bench.read(at(boot_s))
        message = budget(5000, int(boot_s), at(boot_s))
        inputs = Inputs(readings, (message,), operator_cap_mw=operator * W, may_lease=True)
        decision, state = decide(inputs, bench.state, at(boot_s), bench.config)
        said, bench.state = confirm(decision, readings, state, at(boot_s), bench.config)
        states.append(said is not None and not said.is_leasing)
    assert states == [True, False, True]


def test_the_second_look_at_a_moment_finds_the_same_also_with_peers() -> None:
    bench = host(load=100)
    inputs = Inputs(bench.read(at(100.2)), states=(peer(boot_s=100.2, want=2500), DEAD), may_lease=True)
    first, state = decide(inputs, bench.state, at(100.2), CONFIG)
    again, after = decide(replace(inputs, states=()), state, at(100.2), CONFIG)
    assert after == state
    assert again == first._replace(notices=again.notices)
    assert "entitlement" in rules(again.host_steps)
