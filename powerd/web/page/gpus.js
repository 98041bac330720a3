// Every GPU as one bar on one scale of watts; opened, it says step by step how its limit came about.
const RESORT_S = 10;
const EXPLAIN_EVERY_S = 5;
const gpuOrder = { by: "index", keys: [], sortedAtS: 0 };

function showGpus(gpus, nowS) {
  const scale = Math.max(1, ...gpus.map((gpu) => gpu.max_watts ?? gpu.worst_case_watts ?? 0));
  showScale(scale);
  keep(byId("gpu-list"), inOrder(gpus, nowS), (gpu) => gpu.uuid, newGpu, (row, gpu) => fillGpu(row, gpu, scale));
}

// By power the order is taken every few seconds at most, and never while somebody is in the list.
function inOrder(gpus, nowS) {
  const changed = gpus.length !== gpuOrder.keys.length || gpus.some((gpu) => !gpuOrder.keys.includes(gpu.uuid));
  const due = nowS - gpuOrder.sortedAtS > RESORT_S && !byId("gpu-list").matches(":focus-within, :hover");
  if (changed || due) {
    const power = gpuOrder.by === "power";
    const sorted = [...gpus].sort((a, b) => (power ? (b.draw_watts ?? -1) - (a.draw_watts ?? -1) : 0) || a.index - b.index);
    gpuOrder.keys = sorted.map((gpu) => gpu.uuid);
    gpuOrder.sortedAtS = nowS;
  }
  return [...gpus].sort((a, b) => gpuOrder.keys.indexOf(a.uuid) - gpuOrder.keys.indexOf(b.uuid));
}

function orderGpus(by) {
  gpuOrder.by = by;
  gpuOrder.keys = [];
}

function showScale(scale) {
  const every = [50, 100, 200, 250, 500, 1000].find((step) => scale / step <= 5) ?? scale;
  const marks = Array.from({ length: Math.floor(scale / every) + 1 }, (_, count) => count * every);
  keep(byId("scale"), marks, String, () => element("span"), (mark, watts) => {
    setText(mark, gpuWatts(watts));
    setPlace(mark, "--at", watts, scale);
  });
}

function newGpu(gpu) {
  const bar = parent("span", "bar", ...["range", "fixed", "draw", "want", "limit"].map((name) => element("i", name)));
  bar.setAttribute("role", "img");
  const summary = parent("summary", "", element("span", "name"), bar, element("span", "number draws"), element("span", "number limits"),
    element("span", "number wants"), element("span", "why"));
  const panel = parent("div", "explained", element("p", "lead", "Asking why..."), element("ol", "steps"));
  const details = parent("details", "", summary, panel);
  details.addEventListener("toggle", () => explain(details, gpu.uuid));
  return parent("li", "", details);
}

function fillGpu(row, gpu, scale) {
  const within = (name) => row.querySelector(`summary .${name}`);
  const limit = gpu.limit_watts ?? gpu.enforced_watts;
  const fixed = gpu.limit_watts === null;
  setClass(row, gpu.state === "ok" ? "" : "bad");
  setText(within("name"), `${gpu.index}\u2002${gpu.name.replace("NVIDIA ", "")}`);
  setAttribute(within("name"), "title", `${gpu.name}, ${gpu.uuid}`);
  setText(within("draws"), gpuWatts(gpu.draw_watts));
  setText(within("limits"), fixed ? `(${gpuWatts(gpu.worst_case_watts)})` : gpuWatts(limit));
  setText(within("wants"), gpuWatts(gpu.want_watts));
  setText(within("why"), whyOf(gpu));
  setAttribute(within("bar"), "aria-label", barText(gpu, limit, fixed));
  const details = row.firstElementChild;
  if (details.open && details.told !== undefined && details.told !== gpu.limit_watts) explain(details, gpu.uuid);
  const bar = within("bar");
  setPlace(bar, "--floor", gpu.min_watts, scale);
  setPlace(bar, "--ceiling", gpu.max_watts, scale);
  setPlace(bar, "--draws", gpu.draw_watts, scale);
  setPlace(bar, "--limit", limit, scale);
  setPlace(bar, "--wants", gpu.want_watts, scale);
  setPlace(bar, "--counted", fixed ? gpu.worst_case_watts : 0, scale);
  setHidden(within("limit"), fixed || limit === null);
  setHidden(within("want"), gpu.want_watts === null || gpu.state !== "ok");
}

function whyOf(gpu) {
  if (gpu.state !== "ok") return joined([gpu.state.toUpperCase(), gpu.detail], ": ");
  return joined([inEffect(gpu), DEMANDS[gpu.demand] ?? gpu.demand, ruleName({ rule: gpu.reason })]);
}

// What the GPU enforces, where that is not the limit it shall have: a write that failed, or a mode without writes.
function inEffect(gpu) {
  const differs = gpu.limit_watts !== null && gpu.enforced_watts !== null && Math.abs(gpu.enforced_watts - gpu.limit_watts) >= 1;
  return differs ? `${gpuWatts(gpu.enforced_watts)} in effect` : "";
}

function barText(gpu, limit, fixed) {
  return joined([
    `draws ${gpuWatts(gpu.draw_watts)}`,
    fixed ? `cannot be limited, counted at ${gpuWatts(gpu.worst_case_watts)}` : `limit ${gpuWatts(limit)}`,
    `wants ${gpuWatts(gpu.want_watts)}`,
    `floor ${gpuWatts(gpu.min_watts)}`,
    `ceiling ${gpuWatts(gpu.max_watts)}`,
  ]);
}

// Asked again while it is open, and at once when the bar above it shows another limit.
async function explain(details, uuid) {
  if (!details.open || !details.isConnected) return;
  clearTimeout(details.again);
  const lead = details.querySelector(".lead");
  try {
    const answer = await fetch(`/v1/explain?gpu=${encodeURIComponent(uuid)}`);
    const body = await answer.json();
    details.told = body.limit_watts;
    setText(lead, answer.ok ? leadOf(body) : body.error);
    showSteps(details.querySelector(".steps"), answer.ok ? body.steps : []);
  } catch {
    setText(lead, "powerd did not answer.");
  }
  clearTimeout(details.again);
  details.again = setTimeout(explain, 1000 * EXPLAIN_EVERY_S, details, uuid);
}

// In one breath: what it has, what it wants, which rule stands between, and how that rule gives way.
function leadOf(explanation) {
  const { index, limit_watts: limit, enforced_watts: enforced, steps } = explanation;
  const want = heard.status.gpus.find((each) => each.uuid === explanation.uuid)?.want_watts ?? null;
  const step = bindingOfGpu(steps, limit, want);
  const has = limit === null ? `GPU ${index} has no limit of ours` : `GPU ${index} has ${gpuWatts(limit)}`;
  const effect = limit === null || enforced === limit ? "" : `${gpuWatts(enforced)} are in effect`;
  const facts = [joined([has, effect, want === null ? "" : `it wants ${gpuWatts(want)}`])];
  if (step === null) facts.push(limit < want ? "The rest is too little to be written" : "No rule holds it back: if it is slow, look elsewhere");
  else facts.push(`What holds it is the ${ruleName(step)} (${joined([step.source, step.note, untilOf(step)])})`, `To get watts back: ${wayBack(step)}`);
  return `${facts.join(". ")}.`;
}

const untilOf = (step) => (step.until === null ? "" : `until ${clockTime(unixSeconds(step.until), hostNowS())}`);

function showSteps(list, steps) {
  keep(list, withChanges(steps).map((each, position) => ({ ...each, position })), (each) => each.position, newStep, fillStep);
}

function newStep() {
  return parent("li", "", element("span", "scope"), element("span", "number watts"), element("span", "number change"),
    parent("span", "rule", element("b"), element("span", "soft")));
}

function fillStep(row, { step, change }) {
  const [scope, watts, changed, rule] = row.children;
  const [name, about] = rule.children;
  setClass(row, change !== null && change <= -0.5 && wayBack(step) ? "took" : "");
  setText(scope, step.scope);
  setText(watts, stepWatts(step, step.watts));
  setText(changed, changeText(step, change));
  setText(name, ruleName(step));
  setText(about, joined([step.source, step.note, untilOf(step)]));
}
