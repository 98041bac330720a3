"""Why a GPU has its watts: the rule that binds is named, with its owner, its end, and what to do about it."""

import ast
import json
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import powerd.core
from powerd.core.gpus.targets import GpuTarget
from powerd.core.model import Step
from powerd.ctl import reasons
from powerd.ctl.reasons import RULES, Kind, Why
from powerd.snapshot import Snapshot
from powerd.web import views
from tests.web import host
from tests.web.host import BOOT_S, moment

CORE = Path(powerd.core.__file__).parent
# Steps whose rule is not written where they are made: passed on from another step, or a GPU's ceiling.
PASSED_ON = {"cap.rule", "span.ceiling_rule"}


def calls(name: str) -> list[ast.Call]:
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in sorted(CORE.rglob("*.py")))
    nodes = chain.from_iterable(ast.walk(tree) for tree in trees)
    return [
        n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == name
    ]


def test_every_rule_of_the_core_has_its_sentence_and_no_sentence_is_without_its_rule() -> None:
    rules = [call.args[0] for call in calls("Step")]
    written = {rule.value for rule in rules if isinstance(rule, ast.Constant)}
    assert {ast.unparse(rule) for rule in rules if not isinstance(rule, ast.Constant)} == PASSED_ON
    of_others = {
        a.value for call in calls("_lower_ceiling") for a in call.args if isinstance(a, ast.Constant)
    }
    assert written | of_others | {"ceiling"} == RULES.keys()


def test_what_takes_watts_says_how_they_come_back() -> None:
    takes = {name for name, rule in RULES.items() if rule.kind in (Kind.CAP, Kind.TAKES, Kind.BINDS)}
    assert {name for name in takes if not (RULES[name].says and RULES[name].more)} == set()


def why(
    snapshot: Snapshot,
    *steps: Step,
    limit: int | None = 400,
    want: int = 600,
    gpu: int = 0,
    orders: dict[str, Any] | None = None,
) -> Why:
    """Return what is said of a GPU with these own steps, limit and want in watts."""
    uuid = snapshot.readings[gpu].uuid
    limit_mw = None if limit is None else limit * 1000
    demand = snapshot.decision.targets[gpu].demand
    target = GpuTarget(uuid, limit_mw, 400_000, want * 1000, demand, steps)
    targets = tuple(target if each.uuid == uuid else each for each in snapshot.decision.targets)
    snapshot = replace(snapshot, decision=snapshot.decision._replace(targets=targets))
    status = json.loads(views.status(snapshot, moment(0.0)).model_dump_json())
    document = json.loads(views.explain(snapshot, uuid, moment(0.0)).model_dump_json())
    return reasons.why(document, {**status, "orders": orders})


SHARED = Step("fair_share", 400_000, "powerd", "capped: wants 600 W")
END_BOOT_S = BOOT_S + 1800.0


def test_a_short_gpu_is_told_the_budget_who_sent_it_until_when_and_what_it_leaves() -> None:
    said = why(host.snapshot(host.decided()), SHARED)
    assert said.rule == "budget"
    assert said.text.startswith(
        "GPU 0 has 400 W. It wants 600 W and draws 300 W. That is well below its limit, which does not slow "
        "it now. The rack's budget of 30 kW from facility-a "
        "(until 17:00:41 UTC, in 41 s) leaves this host 7.35 kW and its GPUs 5.55 kW, which want 3.32 kW "
        "together."
    )
    higher, instead, _ = said.remedies
    assert higher == "have facility-a send a higher budget"
    assert instead.endswith("powerctl override --gpu 0 --watts 600 --ttl 30m --reason TEXT")


def test_the_reason_that_a_sender_gave_is_passed_on() -> None:
    decision = host.decided()
    cut = Step("budget", 20_000_000, "facility-a", "transformer 2 is down", END_BOOT_S)
    snapshot = host.snapshot(decision._replace(rack_steps=(decision.rack_steps[0], cut)))
    said = why(snapshot, SHARED).text
    assert (
        'budget of 20 kW from facility-a "transformer 2 is down" (until 17:30:00 UTC, in 30 min) leaves'
        in said
    )


def test_watts_that_are_lent_are_told_with_whom_and_until_when() -> None:
    said = why(host.lending(), SHARED)
    assert "650 W are lent to r17-n1 (until 17:00:13 UTC, in 14 s)." in said.text
    assert (
        "wait for the 650 W that r17-n1 has: they are called back once this host wants them" in said.remedies
    )


def test_of_several_caps_the_lowest_is_named() -> None:
    said = why(host.curtailed(), SHARED)
    assert said.rule == "meter_unknown"
    assert "no raise while nothing usable is heard of b" in said.text
    assert said.remedies[0].startswith("mend the rack's meter")


def test_an_event_is_told_as_one_with_its_end() -> None:
    decision = host.decided()
    event = Step("event", 20_000_000, "vtn1", "peak-7, mandatory, active", END_BOOT_S)
    snapshot = host.snapshot(decision._replace(rack_steps=(*decision.rack_steps[:2], event)))
    said = why(snapshot, SHARED)
    assert said.rule == "event"
    assert "The grid event of vtn1 (peak-7, mandatory, active), at 20 kW now (until 17:30:00 UTC" in said.text


def test_a_host_that_forgot_what_it_lent_is_told_so_whatever_the_budget_is() -> None:
    said = why(host.snapshot(host.decided(memory=None)), SHARED)
    assert said.rule == "memory_lost"
    assert "stays at its floor of 2.6 kW" in said.text


def test_a_gpu_that_has_what_it_wants_is_told_to_look_elsewhere() -> None:
    spare = Step("spare", 400_000, "powerd", "watts nobody wants, spread evenly")
    said = why(host.snapshot(host.decided()), SHARED, spare, want=380)
    assert said.rule == ""
    assert said.remedies == ()
    assert said.text.endswith("no rule takes watts from it: if it is slow, look elsewhere.")


@pytest.mark.parametrize(
    ("step", "want", "rule"),
    [
        (Step("ceiling", 400_000, "gpu.ceiling_watts"), 400, "ceiling"),
        (Step("ceiling", 400_000, "gpu.ceiling_watts"), 120, ""),
        (Step("ceiling", 400_000, "gpu"), 400, ""),
        (Step("other_writer", 400_000, "read-back"), 400, "other_writer"),
        (Step("out_of_band", 400_000, "read-back"), 400, "out_of_band"),
        (Step("floor", 400_000, "gpu"), 600, "budget"),
        (Step("override", 400_000, "ann", "benchmark", END_BOOT_S), 400, "override"),
    ],
)
def test_what_binds_a_gpu_itself_is_told_only_while_it_wants_that_much(
    step: Step, want: int, rule: str
) -> None:
    assert why(host.snapshot(host.decided()), SHARED, step, want=want).rule == rule


def test_an_override_is_told_with_who_why_and_until_and_how_to_end_it() -> None:
    step = Step("override", 400_000, "ann", "benchmark {x}", END_BOOT_S)
    said = why(host.snapshot(host.decided()), step, want=400)
    assert (
        'An override by ann gives it exactly that: "benchmark {x}" (until 17:30:00 UTC, in 30 min).'
        in said.text
    )
    assert said.remedies == ("end the override: powerctl override --gpu 0 --end --reason TEXT",)


def test_an_override_that_the_budget_cuts_short_is_told_besides_the_budget() -> None:
    asked = Step("override", 600_000, "ann", "benchmark", END_BOOT_S)
    said = why(host.snapshot(host.decided()), asked, SHARED)
    assert said.rule == "budget"
    assert 'An override by ann asks for 600 W ("benchmark", until 17:30:00 UTC, in 30 min): ' in said.text
    assert said.remedies == ("have facility-a send a higher budget",), "it comes before the others already"


def test_the_override_of_a_neighbour_is_told_since_it_comes_first() -> None:
    order = {"uuid": "GPU-55aa-5", "index": 5, "watts": 700.0, "by": "bob", "reason": "demo"}
    ends = {"until": "2026-11-21T17:10:00Z", "remaining_s": 600.0}
    said = why(host.snapshot(host.decided()), SHARED, orders={"overrides": [{**order, **ends}]})
    assert (
        'GPU 5 comes first with 700 W, by an override of bob ("demo", until 17:10:00 UTC, in 10 min).'
        in said.text
    )


def test_a_gpu_that_cannot_be_limited_is_told_why() -> None:
    said = why(
        host.snapshot(host.decided()), Step("not_controllable", 400_000, "powerd", "hung"), limit=None, gpu=6
    )
    assert said.rule == "not_controllable"
    assert said.text.startswith("GPU 6 has no limit from powerd. It cannot be limited now (hung)")


def test_a_gpu_without_its_driver_is_told_to_get_it_back() -> None:
    fixed = Step("not_controllable", 400_000, "powerd", "lost: detached by ann: upgrade")
    detached = {"since": "2026-11-21T16:00:00Z", "by": "ann", "reason": "upgrade"}
    said = why(host.snapshot(host.decided()), fixed, limit=None, orders={"detached": detached})
    assert said.remedies == ("take the driver up again: powerctl attach --reason TEXT",)


def test_a_gpu_at_its_limit_is_not_told_that_it_is_far_from_it() -> None:
    snapshot = host.snapshot(host.decided())
    first = replace(snapshot.readings[0], draw_mw=399_000)
    said = why(replace(snapshot, readings=(first, *snapshot.readings[1:])), SHARED)
    assert "It wants 600 W and draws 399 W. The rack's budget" in said.text


def test_in_dry_run_nobody_is_told_that_powerd_took_watts() -> None:
    said = why(replace(host.snapshot(host.decided()), mode="dry-run"), SHARED)
    assert said.text.startswith(
        "powerd writes no limits (mode dry-run): it would give GPU 0 400 W. Now 400 W are enforced."
    )


def test_a_limit_that_is_not_in_effect_is_told() -> None:
    snapshot = host.snapshot(host.decided())
    for enforced_mw, told in (
        (700_000, "That is not in effect yet: 700 W are enforced."),
        (250_000, "Only 250 W of them are enforced: something outside of powerd limits it."),
    ):
        first = replace(snapshot.readings[0], enforced_mw=enforced_mw)
        shown = replace(snapshot, readings=(first, *snapshot.readings[1:]))
        assert told in why(shown, SHARED).text


def test_a_rule_of_a_newer_daemon_is_passed_over() -> None:
    step = Step("yet_unknown", 400_000, "powerd")
    assert why(host.snapshot(host.decided()), SHARED, step).rule == "budget"
