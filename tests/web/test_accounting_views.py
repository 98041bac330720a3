"""What is shown of accounting: which one it is, and how far and how long the host may be above its budget."""

from dataclasses import replace

from powerd.core.gpus.charge import Accounting, AccountingRules
from powerd.core.model import Now, Step
from powerd.metrics.readers import View, excess, excess_seconds
from powerd.snapshot import Snapshot
from powerd.web import views

RULES = AccountingRules(Accounting.MEASURED, period_s=1.0, hold_s=5.0, driver_s=1.0, settle_s=3.0)


def measured(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot of a host that is granted 120 W, and was granted 300 W a moment ago."""
    decision = snapshot.decision
    known = decision.excess._replace(granted_mw=120_000, worst_mw=300_000, drawn_mj=4_500)
    step = Step("measured", decision.gpu_budget_mw + 120_000, "host.accounting", "2 idle GPUs")
    changed = decision._replace(excess=known, host_steps=(*decision.host_steps, step))
    return replace(snapshot, accounting=RULES, decision=changed)


def test_with_provable_nothing_is_above_the_budget(snapshot: Snapshot) -> None:
    shown = views.status(snapshot, snapshot.now).accounting.model_dump()
    assert shown.pop("mode") == "provable"
    assert set(shown.values()) == {0}
    assert list(excess_seconds(View(snapshot, snapshot.now))) == [((), 0)]


def test_with_measured_the_worst_case_is_shown_in_watts_and_seconds(snapshot: Snapshot) -> None:
    snapshot = measured(snapshot)
    assert views.status(snapshot, snapshot.now).accounting.model_dump() == {
        "mode": "measured",
        "granted_watts": 120,
        "worst_excess_watts": 300,
        "worst_excess_s": 11,
        "claw_back_s": 6,
        "excess_joules": 4.5,
    }
    view = View(snapshot, snapshot.now)
    assert dict(excess(view)) == {("granted",): 120, ("worst",): 300}
    assert list(excess_seconds(view)) == [((), 11)]


def test_an_explanation_says_that_limits_go_above_the_budget_and_why(snapshot: Snapshot) -> None:
    now = Now(snapshot.now.boot_s, snapshot.now.wall_s)
    text = views.explain(measured(snapshot), "0", now).text
    assert "5,670 W after measured (host.accounting), 2 idle GPUs" in text
