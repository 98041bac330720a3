// What rules are called, how watts come back that one of them took, and which of them bind.
// CAP: a cap on the whole rack. BINDS: holds whatever else the budget would leave.
const [CAP, BINDS] = ["cap", "binds"];
const RULES = {
  hard_limit: { name: "hard limit of the rack", kind: CAP, back: "raise it, if what feeds the rack carries more" },
  budget: { name: "budget of the controller", kind: CAP, back: "its sender has to send a higher one" },
  failsafe: { name: "failsafe budget", kind: CAP, back: "get the controller heard again: powerctl doctor looks at the way there" },
  event: { name: "grid event", kind: CAP, back: "wait for its end, or have its sender cancel it" },
  lower_only: { name: "cap of a source that may only lower", kind: CAP, back: "have its sender take it back" },
  operator: { name: "lowest budget of a drill", kind: CAP, back: "wait for the end of the drill" },
  power_brake: { name: "hardware power brake", kind: CAP, back: "find what pulled it: a power supply, its cabling, or the chassis" },
  advisory: { name: "price or emissions", kind: CAP, back: "comes when the signal changes" },
  meter_unknown: { name: "no raise without a meter", kind: CAP, back: "mend the rack's meter, or the way to it" },
  ramp: { name: "on its way back up", kind: CAP, back: "comes by itself, at the rate configured" },
  floors: { name: "floors of the rack" },
  rack_overhead: { name: "overhead of the rack" },
  guard_band: { name: "guard band" },
  meter_trim: { name: "trim by the meter", back: "find what draws in the rack and is not accounted for" },
  entitlement: { name: "this host's share" },
  lent: { name: "lent to another host", back: "comes by itself once this host wants it" },
  borrowed: { name: "borrowed from another host" },
  lending: { name: "about to be lent", back: "comes by itself once this host wants it" },
  memory_lost: { name: "leases from before the start", kind: BINDS, back: "comes by itself when none of them can be in use any more" },
  compensation: { name: "given up for another host", back: "comes when all hosts follow the same budget" },
  host_floor: { name: "floor of this host" },
  found: { name: "no raise before a controller is heard", kind: BINDS, back: "get one heard: powerctl doctor looks at the way there" },
  host_overhead: { name: "overhead of this host" },
  measured: { name: "granted on what idle GPUs leave" },
  not_controllable: { name: "cannot be limited", kind: BINDS, back: "powerctl doctor tells what the driver allows; to reset the GPU: powerctl detach" },
  override: { name: "override by an operator", kind: BINDS, back: "it ends by itself, or by powerctl override" },
  fair_share: { name: "fair share" },
  spare: { name: "share and spare" },
  ceiling: { name: "ceiling of the GPU", kind: BINDS, back: "raise it in the configuration of this host" },
  other_writer: { name: "lowered by somebody else on this host", kind: BINDS, back: "find who else writes limits: powerctl doctor" },
  out_of_band: { name: "lowered from outside of this host", kind: BINDS, back: "lift the cap in the BMC or the chassis" },
  floor: { name: "floor of the GPU" },
  dead_band: { name: "left as it was" },
};
const DEMANDS = { idle: "idle", busy: "busy", capped: "wants more", waking: "starting work", held: "held by heat or hardware", unknown: "" };
const ALWAYS_TOLD = ["override", "not_controllable"];
const ruleName = (step) => RULES[step.rule]?.name ?? words(step.rule);
const wayBack = (step) => RULES[step.rule]?.back ?? "";
const kindOf = (step) => RULES[step.rule]?.kind ?? "";

// Each step with what it took (below 0) or gave, against the one before it on its level.
function withChanges(steps) {
  return steps.map((step, position) => {
    const before = steps[position - 1];
    return { step, change: before && before.scope === step.scope ? step.watts - before.watts : null };
  });
}

function changeText(step, change) {
  if (change === null || Math.abs(change) < 0.5) return "";
  return `${change < 0 ? "\u2212" : "+"}${stepWatts(step, Math.abs(change))}`;
}

// Which rule the rack's cap comes from: the first that asked for it. A budget as high as the hard limit comes first.
function binding(budget) {
  const reached = budget.chain.filter((step) => step.scope === "rack" && step.watts === budget.rack_watts);
  return reached.find((step) => step.rule !== "hard_limit") ?? reached[0] ?? null;
}

// Which step keeps a GPU from what it wants; null if none does.
function bindingOfGpu(steps, limitWatts, wantWatts) {
  const own = steps.findLast((step) => step.scope === "gpu" && step.rule !== "dead_band");
  if (own && ALWAYS_TOLD.includes(own.rule)) return own;
  if (limitWatts !== null && wantWatts !== null && limitWatts >= wantWatts) return null;
  if (own && kindOf(own) === BINDS) return own.source === "gpu" ? null : own;
  const held = steps.findLast((step) => step.scope === "host" && kindOf(step) === BINDS);
  const caps = steps.filter((step) => kindOf(step) === CAP);
  const least = Math.min(...caps.map((step) => step.watts));
  return held ?? caps.find((step) => step.watts === least && step.rule !== "hard_limit") ?? caps[0] ?? null;
}
