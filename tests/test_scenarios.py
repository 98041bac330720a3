"""What a facility engineer would ask "what happens if" about, as data: tests/scenarios/*.toml.

A file is one story of one host. It says only what differs from `base.toml` (tables are merged, key by key)
and then lists steps. Between steps the daemon runs as it would: one iteration per period, and one at the end
of a lease; a publisher that was started repeats itself every 20 s. A new case is about ten lines and no code.

    title    the claim, one sentence
    config   powerd.toml, the same keys
    gpus     `count`, `min_watts`, `max_watts`, `limit_watts` (found at the start), `load_watts`
             (what their work would draw if nothing limited it)

    [[step]]
    at_s      seconds since boot; then, in this order:
    clock     { offset_s, synced }     the host's wall clock against everyone else's
    gpu       { 2 = { ... } }          changes of one GPU, or of `all`: load_watts, out_of_band_watts,
                                       limit_watts (another writer), state = "lost" | "hung" | "ok",
                                       refuses, event_reasons
    operator_watts                     a cap by hand; "none" takes it back
    restart   "remembering" | "forgetting"
    publish   { watts, ... }           start a publisher; { stop = true } silences it
    send      { watts, ... }           one message
              of both: source, priority, lease_s, failsafe_watts, age_s, retained, epoch, seq;
              watts = "none" sets no limit
    expect    what must hold after the iteration at `at_s`; any of
              phase, cause, rack_watts, gpu_budget_watts, infeasible_watts, compliant,
              limits (the GPUs' limits in watts: one number if all are equal),
              rack_steps (["rule 3000", ...] down to the cap), gpu_rules (last rule per GPU, or one),
              sources (of rack_steps), verdict ("lower_only expired"), notices (slugs), lease_left_s
"""

import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from powerd.core.decide import Decision
from powerd.core.model import GpuState, Now, Step
from powerd.core.rack.timeline import BudgetMessage
from powerd.core.state import initial_state
from powerd.settings.model import Settings
from powerd.settings.rules import core_config, rack
from tests.core.bench import Bench, BenchGpu
from tests.core.make import W, at, budget

Table = dict[str, Any]

DIRECTORY = Path(__file__).parent / "scenarios"
BASE = DIRECTORY / "base.toml"
SCENARIOS = sorted(path for path in DIRECTORY.glob("*.toml") if path != BASE)
PUBLISH_EVERY_S = 20.0


def read(path: Path) -> Table:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def patched(base: Table, patch: Table) -> Table:
    """Return `base` with every key of `patch`; tables are merged, everything else replaced."""
    result = deepcopy(base)
    for key, value in patch.items():
        inner = result.get(key)
        result[key] = patched(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    scenario = patched(read(BASE), read(path))
    unknown = scenario.keys() - {"title", "config", "gpus", "step"}
    assert not unknown, f"{path.name}: unknown keys {unknown}"
    host = Story(scenario)
    for step in scenario["step"]:
        decision = host.play(dict(step))
        expected = step.get("expect", {})
        actual = {key: host.facts(decision)[key] for key in expected}
        assert actual == expected, f"{path.name}, at {step['at_s']} s: {scenario['title']}"


def test_every_scenario_makes_a_claim_of_its_own() -> None:
    titles = [read(path)["title"] for path in SCENARIOS]
    assert len(set(titles)) == len(titles) >= 15


class Story:
    """One host, its GPUs, and whoever talks to it."""

    def __init__(self, scenario: Table) -> None:
        loaded = Settings(**scenario["config"])
        self._period_s = loaded.control.period_s
        gpus = scenario["gpus"]
        self._bench = Bench(
            core_config(loaded, rack(loaded)),
            [
                BenchGpu(
                    index,
                    limit_mw=gpus["limit_watts"] * W,
                    load_mw=gpus["load_watts"] * W,
                    min_mw=gpus["min_watts"] * W,
                    max_mw=gpus["max_watts"] * W,
                )
                for index in range(gpus["count"])
            ],
            initial_state(at(0.0)),
        )
        self._boot_s = -self._period_s
        self._wake_boot_s: float | None = None
        self._clock: Table = {}
        self._operator_mw: int | None = None
        self._publishers: dict[str, tuple[float, Table]] = {}
        self._seqs: dict[str, int] = {}

    def play(self, step: Table) -> Decision:
        """Let time pass up to a step, make its changes, and decide once."""
        self._run_until(float(step.pop("at_s")))
        step.pop("expect", None)
        send = step.pop("send", None)
        for key, change in step.items():
            getattr(self, f"_change_{key}")(change)
        return self._tick(*([self._message(send)] if send else []))

    def facts(self, decision: Decision) -> Table:
        """Return everything that can be expected of a decision."""
        limits = self._bench.limits
        rules = [target.steps[-1].rule for target in decision.targets]
        verdicts = [f"{verdict.kind} {verdict.reason}".strip() for verdict in decision.verdicts]
        lease = decision.statement.end_boot_s - self._boot_s if decision.statement else None
        chain = [step for step in decision.rack_steps if step.rule not in ("rack_overhead", "guard_band")]
        return {
            "phase": decision.phase.value,
            "cause": decision.failsafe_cause,
            "rack_watts": decision.rack_cap_mw / W,
            "gpu_budget_watts": decision.gpu_budget_mw / W,
            "infeasible_watts": decision.infeasible_mw / W,
            "compliant": decision.compliant,
            "limits": _one_or_all(limits),
            "rack_steps": [_shown(step) for step in chain],
            "sources": [step.source for step in chain],
            "gpu_rules": _one_or_all(rules),
            "verdict": " ".join(verdicts),
            "notices": sorted({notice.event for notice in decision.notices}),
            "lease_left_s": lease,
        }

    def _run_until(self, boot_s: float) -> None:
        while self._boot_s + self._period_s < boot_s:
            following = self._boot_s + self._period_s
            if self._wake_boot_s is not None and self._boot_s < self._wake_boot_s < following:
                following = self._wake_boot_s
            self._boot_s = following
            self._tick()
        self._boot_s = boot_s

    def _tick(self, *messages: BudgetMessage) -> Decision:
        due = [name for name, (due_s, _) in self._publishers.items() if due_s <= self._boot_s]
        for name in due:
            due_s, content = self._publishers[name]
            self._publishers[name] = (due_s + PUBLISH_EVERY_S, content)
            messages += (self._message(content),)
        decision = self._bench.tick(self._now, *messages, operator_mw=self._operator_mw)
        self._wake_boot_s = decision.wake_boot_s
        return decision

    @property
    def _now(self) -> Now:
        return at(self._boot_s, synced=self._clock.get("synced", True), wall_offset_s=self._offset_s)

    @property
    def _offset_s(self) -> float:
        return float(self._clock.get("offset_s", 0.0))

    def _message(self, content: Table) -> BudgetMessage:
        options = {"source": "facility-a", **content}
        watts = options.pop("watts")
        source = options["source"]
        seq = options.pop("seq", self._seqs.get(source, 0) + 1)
        self._seqs[source] = max(seq, self._seqs.get(source, 0))
        age_s = options.pop("age_s", 0.0) + self._offset_s  # the sender's clock is right
        return budget(None if watts == "none" else watts, seq, self._now, age_s=age_s, **options)

    def _change_clock(self, clock: Table) -> None:
        self._clock = clock

    def _change_operator_watts(self, watts: float | str) -> None:
        self._operator_mw = None if watts == "none" else round(float(watts) * W)

    def _change_restart(self, how: str) -> None:
        self._bench.restart(self._now, forget={"remembering": False, "forgetting": True}[how])

    def _change_publish(self, content: Table) -> None:
        source = content.get("source", "facility-a")
        self._publishers.pop(source, None)
        if not content.get("stop"):
            self._publishers[source] = (self._boot_s, content)

    def _change_gpu(self, changes: Table) -> None:
        for gpu in self._bench.gpus:
            for key, value in {**changes.get("all", {}), **changes.get(str(gpu.index), {})}.items():
                _change(gpu, key, value)


def _change(gpu: BenchGpu, key: str, value: Any) -> None:
    if key == "state":
        gpu.state = GpuState(value)
    elif key == "out_of_band_watts":
        gpu.out_of_band_mw = None if value == "none" else value * W
    elif key == "load_watts":
        gpu.load_mw = value * W
    elif key == "limit_watts":
        gpu.limit_mw = value * W
    elif key == "refuses":
        gpu.refuses = value
    elif key == "event_reasons":
        gpu.reasons = value
    else:
        raise KeyError(key)


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else values


def _shown(step: Step) -> str:
    return f"{step.rule} {step.mw / W:g}"
