"""What the documents say of a host."""

from dataclasses import replace

import pytest

from powerd.core.model import GpuState, Now
from powerd.errors import UnknownGpuError
from powerd.snapshot import GuardStatus, Snapshot
from powerd.web import views


@pytest.fixture
def now(snapshot: Snapshot) -> Now:
    return replace(snapshot.now, boot_s=snapshot.now.boot_s + 0.2, wall_s=snapshot.now.wall_s + 0.2)


def later(now: Now, seconds: float) -> Now:
    return Now(now.boot_s + seconds, now.wall_s + seconds)


def test_status_has_every_field_that_tooling_relies_on(snapshot: Snapshot, now: Now) -> None:
    document = views.status(snapshot, now).model_dump()
    contract = "mode state budget gpus lending leases peers meter infeasible_watts compliant errors"
    gpu_contract = (
        "uuid index name state reason draw_watts limit_watts enforced_watts requested_watts "
        "min_watts max_watts default_watts want_watts"
    )
    assert set(contract.split()) <= document.keys()
    assert all(set(gpu_contract.split()) <= gpu.keys() for gpu in document["gpus"])
    shown = {name: document[name] for name in ("mode", "state", "leases", "meter")}
    assert shown == {"mode": "enforce", "state": "limited", "leases": [], "meter": None}


def test_the_chain_leads_from_the_hard_limit_to_the_gpus_with_watts_and_sources(
    snapshot: Snapshot, now: Now
) -> None:
    budget = views.status(snapshot, now).budget
    assert [(step.scope, step.rule, step.watts, step.source) for step in budget.chain] == [
        ("rack", "hard_limit", 40000, "rack.hard_limit_watts"),
        ("rack", "budget", 30000, "facility-a"),
        ("rack", "rack_overhead", 30000, "rack.overhead_watts"),
        ("rack", "guard_band", 29400, "rack.guard_band_pct"),
        ("host", "entitlement", 7350, "rack.hosts.r17-n3"),
        ("host", "host_overhead", 5550, "host.overhead_watts"),
    ]
    assert (budget.rack_watts, budget.host_watts, budget.gpus_watts) == (30000, 7350, 5550)


def test_the_lease_counts_down_to_its_end_and_not_below_zero(snapshot: Snapshot, now: Now) -> None:
    lease = views.status(snapshot, now).budget.lease
    assert lease is not None
    assert lease.remaining_s == pytest.approx(40.8)
    assert (lease.source, lease.seq, lease.watts, lease.expires_at) == (
        "facility-a",
        1842,
        30000,
        "2026-11-21T17:00:41.000Z",
    )
    over = views.status(snapshot, later(now, 60)).budget.lease
    assert over is not None
    assert over.remaining_s == 0


def test_no_lease_is_null_and_not_zero_watts(failsafe: Snapshot, now: Now) -> None:
    document = views.status(failsafe, now)
    assert document.budget.lease is None
    assert (document.state, document.failsafe_cause) == ("failsafe", "lease_over")


def test_a_hung_or_lost_gpu_shows_no_reading_but_what_it_is_counted_at(snapshot: Snapshot, now: Now) -> None:
    gpus = views.status(snapshot, now).gpus
    for gpu, state in ((gpus[6], "hung"), (gpus[7], "lost")):
        assert (gpu.state, gpu.reason) == (state, state)
        assert (gpu.draw_watts, gpu.enforced_watts, gpu.requested_watts) == (None, None, None)
        assert gpu.worst_case_watts == 400


def test_readings_older_than_three_periods_are_not_shown(snapshot: Snapshot, now: Now) -> None:
    gpu = views.status(snapshot, later(now, 2.7)).gpus[0]
    assert gpu.draw_watts == 300
    gpu = views.status(snapshot, later(now, 3.1)).gpus[0]
    assert (gpu.draw_watts, gpu.enforced_watts, gpu.requested_watts) == (None, None, None)
    assert gpu.age_s > 3


def test_the_sum_of_draws_is_unknown_while_one_gpu_is(snapshot: Snapshot, now: Now) -> None:
    assert views.status(snapshot, now).budget.draw_watts is None
    answering = replace(snapshot, readings=snapshot.readings[:6])
    assert views.status(answering, now).budget.draw_watts == 300 + 310 + 320 + 330 + 340 + 350


def test_the_reason_of_a_limit_is_the_last_rule_that_made_it(snapshot: Snapshot, now: Now) -> None:
    gpus = views.status(snapshot, now).gpus
    assert (gpus[0].reason, gpus[5].reason) == ("spare", "not_controllable")


@pytest.mark.parametrize("name", ["2", "GPU-22aa-2", "GPU-2", "GPU-22aa"])
def test_a_gpu_is_explained_by_index_uuid_or_unique_beginning(
    snapshot: Snapshot, now: Now, name: str
) -> None:
    assert views.explain(snapshot, name, now).index == 2


@pytest.mark.parametrize("name", ["8", "GPU-", "", "x\ny", "GPU-99"])
def test_an_unknown_or_ambiguous_gpu_is_one_line_with_the_known_ones(
    snapshot: Snapshot, now: Now, name: str
) -> None:
    with pytest.raises(UnknownGpuError, match="known: 0 GPU-00aa-0, 1 GPU-11aa-1") as caught:
        views.explain(snapshot, name, now)
    assert "\n" not in str(caught.value)


def test_the_explanation_goes_from_rack_to_gpu_and_says_until_when(snapshot: Snapshot, now: Now) -> None:
    explanation = views.explain(snapshot, "0", now)
    assert [step.scope for step in explanation.steps] == ["rack"] * 4 + ["host"] * 2 + ["gpu"] * 3
    assert explanation.steps[1].until == "2026-11-21T17:00:41.000Z"
    assert explanation.steps[-1].watts == explanation.limit_watts == 400


def test_the_explanation_reads_as_a_paragraph(snapshot: Snapshot, now: Now) -> None:
    text = views.explain(snapshot, "0", now).text
    assert text.startswith(
        "GPU 0 (NVIDIA H100 80GB HBM3) shall be limited to 400 W. Rack r17: 40,000 W after hard"
    )
    assert "30,000 W after budget (facility-a, until 2026-11-21T17:00:41.000Z)" in text
    assert text.endswith("It enforces 400 W and draws 300 W.")
    assert "It is hung" in views.explain(snapshot, "6", now).text


def test_healthy_means_an_iteration_finished_within_three_periods(snapshot: Snapshot) -> None:
    finished = Now(snapshot.now.boot_s + snapshot.elapsed_s, snapshot.now.wall_s)
    assert views.health(snapshot, later(finished, 2.99)).healthy
    assert not views.health(snapshot, later(finished, 3.01)).healthy
    assert not views.health(None, finished).healthy


def test_a_fresh_budget_is_ready_whatever_a_bad_gpu_does(snapshot: Snapshot, now: Now) -> None:
    assert views.readiness(snapshot, now).ready


def test_a_failsafe_that_was_read_back_is_ready(failsafe: Snapshot, now: Now) -> None:
    assert views.readiness(failsafe, now).ready


def test_a_failsafe_that_a_gpu_does_not_obey_is_not_ready(failsafe: Snapshot, now: Now) -> None:
    too_high = replace(failsafe.readings[3], enforced_mw=401_000)
    disobeyed = replace(failsafe, readings=(*failsafe.readings[:3], too_high, *failsafe.readings[4:]))
    readiness = views.readiness(disobeyed, now)
    assert not readiness.ready
    assert readiness.reasons == [
        "no fresh budget, and failsafe is not verified: GPU 3 enforces 401 W, target 400 W"
    ]


def test_a_failsafe_without_a_read_back_is_not_ready(failsafe: Snapshot, now: Now) -> None:
    unread = replace(failsafe, readings=(replace(failsafe.readings[0], enforced_mw=None),))
    assert not views.readiness(unread, now).ready


def test_a_lease_that_ran_out_since_the_iteration_is_no_fresh_budget(snapshot: Snapshot, now: Now) -> None:
    too_high = replace(snapshot.readings[0], enforced_mw=500_000, sampled_boot_s=now.boot_s + 50)
    held = replace(snapshot, readings=(too_high,), period_s=60.0)
    assert views.readiness(held, now).ready
    assert not views.readiness(held, later(now, 50)).ready


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"guard": GuardStatus("nothing answers on /run/powerd/guard.sock")},
            "the guard cannot be used: nothing",
        ),
        ({"readings": ()}, "no GPU is attached"),
    ],
)
def test_not_being_attached_is_not_ready_and_says_why(
    snapshot: Snapshot, now: Now, changes: dict[str, object], reason: str
) -> None:
    readiness = views.readiness(replace(snapshot, **changes), now)  # type: ignore[arg-type] # by parameter
    assert not readiness.ready
    assert any(text.startswith(reason) for text in readiness.reasons)


def test_a_stalled_loop_is_neither_ready_nor_silent_about_it(snapshot: Snapshot, now: Now) -> None:
    readiness = views.readiness(snapshot, later(now, 10))
    assert not readiness.ready
    assert "has not finished an iteration for 10." in readiness.reasons[0]
    assert views.readiness(None, now).reasons == ["no iteration has finished yet"]


def test_documents_cannot_be_changed_after_the_fact(snapshot: Snapshot, now: Now) -> None:
    document = views.status(snapshot, now)
    with pytest.raises(ValueError, match="frozen"):
        document.mode = "monitor"


def test_a_gpu_without_constraints_is_unknown_not_zero(snapshot: Snapshot, now: Now) -> None:
    silent = replace(snapshot.readings[0], constraints=None, worst_case_mw=None, state=GpuState.LOST)
    gpu = views.status(replace(snapshot, readings=(silent,)), now).gpus[0]
    assert (gpu.min_watts, gpu.max_watts, gpu.default_watts, gpu.worst_case_watts) == (None,) * 4
