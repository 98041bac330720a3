
"use strict";
// One way: a status document comes in, the page shows it. Text from outside is only ever set as text.
const byId = (id) => document.getElementById(id);
const rows = new Map();
const MISSED_PERIODS = 3;
let latest = null;
let heardAt = 0;

const element = (tag, className, text) => {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const watts = (value) => (value === null ? "unknown" : `${number.format(value)} W`);
const words = (slug) => slug.replaceAll("_", " ");
const seconds = (value) => (value < 120 ? `${Math.max(0, Math.round(value))} s` : `${Math.round(value / 60)} min`);
const setText = (id, text) => { byId(id).textContent = text; };
const banner = (id, text) => { byId(id).hidden = !text; setText(id, text); };
const pill = (id, text, kind) => { setText(id, text); byId(id).className = `pill ${kind}`; };

function show(status, feed) {
  latest = status;
  heardAt = Date.now();
  document.title = `${status.host} ${status.state} - powerd`;
  setText("host", status.host);
  setText("place", `rack ${status.rack}, site ${status.site}`);
  setText("version", `powerd ${status.version}, iteration ${status.iteration}`);
  pill("mode", status.mode, status.mode === "enforce" ? "good" : "warning");
  pill("feed", feed, feed === "live" ? "good" : "warning");
  showState(status);
  showBudget(status.budget, status.accounting);
  showGrid(status);
  showGpus(status.gpus);
  showRack(status);
  showProblems(status);
  tick();
}

function showState(status) {
  const failsafe = status.failsafe_cause !== "";
  pill("state", status.state, failsafe ? "critical" : status.compliant ? "good" : "warning");
  const cause = words(status.failsafe_cause);
  banner("failsafe", failsafe ? `FAILSAFE: ${cause}. The rack is held to ${watts(status.budget.rack_watts)}.` : "");
  banner("infeasible", status.infeasible_watts > 0
    ? `The budget is ${watts(status.infeasible_watts)} below what limiting GPUs can reach.` : "");
}

function showBudget(budget, accounting) {
  setText("rack-watts", watts(budget.rack_watts));
  setText("host-watts", watts(budget.host_watts));
  setText("gpus-watts", watts(budget.gpus_watts));
  setText("draw-watts", watts(budget.draw_watts));
  byId("accounting").hidden = accounting.mode === "provable";
  setText("accounting", `Accounting is measured: up to ${watts(accounting.worst_excess_watts)} above what its GPUs may draw ` +
    `if idle ones wake, for ${seconds(accounting.worst_excess_s)} at the most.`);
  byId("chain").replaceChildren(...budget.chain.map((step) => {
    const row = element("li", "");
    const why = element("span", "why", `${words(step.rule)} `);
    const left = step.remaining_s === null ? "" : `, ${seconds(step.remaining_s)} left`;
    why.append(element("span", "soft", [step.source, step.note].filter(Boolean).join(": ") + left));
    row.append(element("span", "soft", step.scope), element("span", "watts", watts(step.watts)), why);
    return row;
  }));
}

function showGrid(status) {
  const meter = status.meter;
  byId("grid").hidden = status.events.length === 0 && (meter === null || meter.parts.length === 0);
  setText("meter", meter === null ? "" : aboutMeter(meter));
  byId("events").replaceChildren(...status.events.map((event) => {
    const phase = element("td", "");
    phase.append(element("span", "pill warning", event.phase));
    const name = element("td", "", `${event.id} `);
    name.append(element("span", "soft", `${event.source}, ${event.event_class}`));
    const aim = event.target_watts === null ? "no limit" : watts(event.target_watts);
    const end = event.ends === null ? "cancelled" : event.ends.replace("T", " ").slice(0, 19) + " UTC";
    const row = element("tr", "");
    row.append(name, phase, element("td", "", watts(event.cap_watts)), element("td", "", aim),
      element("td", "", watts(event.before_watts)), element("td", "", end));
    return row;
  }));
}

function aboutMeter(meter) {
  const amiss = meter.parts.filter((part) => !part.usable).map((part) => part.name);
  const source = { meter: "by its meter", hosts: "by what its hosts say" }[meter.source];
  const facts = [meter.watts === null ? "What the rack draws is not known" : `The rack draws ${watts(meter.watts)}, ${source}`];
  if (amiss.length) facts.push(`Nothing usable is heard of ${amiss.join(", ")}: no raises`);
  if (meter.trim_watts > 0) facts.push(`${watts(meter.trim_watts)} are taken off for what is drawn and not accounted for`);
  return `${facts.join(". ")}.`;
}

function showRack(status) {
  const lending = status.lending;
  byId("rack").hidden = lending === null;
  if (lending === null) return;
  const facts = [];
  if (lending.obstacle) facts.push(`Neither lends nor borrows: ${lending.obstacle}`);
  else facts.push(`Lends ${watts(lending.lent_watts)}, borrows ${watts(lending.borrowed_watts)}`);
  if (lending.memory_lost_s !== null) facts.push(`At its floor for at least ${seconds(lending.memory_lost_s)} more`);
  if (lending.given_up_watts > 0) {
    facts.push(`Gives up ${watts(lending.given_up_watts)} for hosts that may follow a higher budget`);
  }
  setText("lending", `${facts.join(". ")}.`);
  byId("peers").replaceChildren(...status.peers.map((peer) => {
    const leases = status.leases.filter((lease) => lease.host === peer.host)
      .map((lease) => `${lease.direction === "lent" ? "lent to it" : "borrowed from it"}: ${watts(lease.watts)}, `
        + `${seconds(lease.remaining_s)} left`);
    const [text, kind] = liveness(peer);
    const state = element("td", "");
    state.append(element("span", `pill ${kind}`, text));
    const numbers = [peer.share_watts, peer.demand_watts, peer.spare_watts]
      .map((value) => element("td", "", value === null ? "" : watts(value)));
    const row = element("tr", peer.live ? "" : "soft");
    row.append(element("td", "", peer.host), state, ...numbers, element("td", "", leases.join("; ")));
    return row;
  }));
}

function liveness(peer) {
  if (peer.age_s === null) return ["never heard", "warning"];
  if (!peer.live) return [`silent for ${seconds(peer.age_s)}`, "warning"];
  if (!peer.roster_agrees) return ["has another [rack]", "warning"];
  return peer.taking_part ? ["live", "good"] : ["takes no part", ""];
}

function showGpus(gpus) {
  const present = new Set(gpus.map((gpu) => gpu.uuid));
  for (const [uuid, row] of rows) {
    if (!present.has(uuid)) { row.remove(); rows.delete(uuid); }
  }
  const scale = Math.max(1, ...gpus.map((gpu) => gpu.max_watts ?? gpu.worst_case_watts ?? 0));
  gpus.forEach((gpu, position) => {
    if (!rows.has(gpu.uuid)) rows.set(gpu.uuid, newRow(gpu.uuid));
    const row = rows.get(gpu.uuid);
    if (byId("gpus").children[position] !== row) byId("gpus").insertBefore(row, byId("gpus").children[position] ?? null);
    fillRow(row, gpu, scale);
  });
}

function newRow(uuid) {
  const row = element("details", "gpu");
  const summary = element("summary", "");
  const bar = element("span", "bar");
  bar.setAttribute("role", "img");
  bar.append(element("i", "range"), element("i", "draw"), element("i", "limit"));
  summary.append(element("span", "name"), bar, element("span", "numbers"), element("span", "why soft"));
  row.append(summary, element("p", "text", "Asking why..."));
  row.addEventListener("toggle", () => explain(row, uuid));
  return row;
}

function fillRow(row, gpu, scale) {
  const part = (selector) => row.querySelector(selector);
  const limited = gpu.limit_watts ?? gpu.enforced_watts;
  const numbers = gpu.state === "ok"
    ? `${watts(gpu.draw_watts)} of ${watts(limited)}` : `counted at ${watts(gpu.worst_case_watts)}`;
  row.classList.toggle("bad", gpu.state !== "ok");
  part(".name").textContent = `${gpu.index}  ${gpu.name.replace("NVIDIA ", "")}`;
  part(".name").title = gpu.uuid;
  part(".numbers").textContent = numbers;
  part(".why").textContent = gpu.state === "ok" ? words(gpu.reason) : gpu.state;
  const bar = part(".bar");
  bar.setAttribute("aria-label", `${numbers}, can be limited to ${watts(gpu.min_watts)} up to ${watts(gpu.max_watts)}`);
  const place = (name, value) => bar.style.setProperty(name, `${Math.min(100, (100 * (value ?? 0)) / scale)}%`);
  place("--floor", gpu.min_watts);
  place("--ceiling", gpu.max_watts);
  place("--drawn", gpu.draw_watts);
  place("--limited", limited);
  part(".limit").hidden = limited === null;
}

async function explain(row, uuid) {
  if (!row.open) return;
  const text = row.querySelector(".text");
  try {
    const answer = await fetch(`/v1/explain?gpu=${encodeURIComponent(uuid)}`);
    const body = await answer.json();
    text.textContent = answer.ok ? body.text : body.error;
  } catch {
    text.textContent = "powerd did not answer.";
  }
}

function showProblems(status) {
  const problems = status.errors.map((problem) => [problem.severity, problem.text, problem.count, problem.last]);
  if (status.guard.error) problems.unshift(["critical", `Guard: ${status.guard.error}`, 1, ""]);
  if (status.guard.writes_forbidden) problems.unshift(["warning", "Writes are forbidden: no limit is changed.", 1, ""]);
  if (!status.bus.connected) problems.unshift(["warning", `Broker ${status.bus.url}: ${status.bus.error || "not connected"}`, 1, ""]);
  const list = problems.map(([severity, text, count, last]) => {
    const item = element("li", severity, `${text} `);
    const details = [count > 1 ? `${count} times` : "", last ? `last ${last.slice(11, 19)} UTC` : ""];
    item.append(element("span", "soft", details.filter(Boolean).join(", ")));
    return item;
  });
  byId("problems").replaceChildren(...(list.length ? list : [element("li", "", "None.")]));
}

// Once a second: count down what runs out, and say so when nothing is heard any more.
function tick() {
  if (latest === null) { poll(); return; }
  const silence = (Date.now() - heardAt) / 1000;
  const age = latest.age_s + silence;
  const old = age > MISSED_PERIODS * latest.period_s + 1;
  document.body.classList.toggle("old", old);
  banner("stale", old ? `No iteration for ${seconds(age)}: what is shown is old.` : "");
  const lease = latest.budget.lease;
  setText("lease", lease
    ? `Budget of ${lease.source}, message ${lease.seq}: ${lease.watts === null ? "no limit" : watts(lease.watts)}, `
      + `valid for ${seconds(lease.remaining_s - silence)} more.`
    : "No controller's budget is in force.");
  if (silence > 2 * latest.period_s) poll();
}

async function poll() {
  try {
    const answer = await fetch("/v1/status");
    if (answer.ok) show(await answer.json(), "polling");
    else setText("feed", (await answer.json()).error);
  } catch {
    pill("feed", "powerd does not answer", "critical");
  }
}

function listen() {
  const stream = new EventSource("/v1/stream");
  stream.addEventListener("status", (message) => show(JSON.parse(message.data), "live"));
  stream.onerror = () => { stream.close(); setTimeout(listen, 5000); };
}

listen();
setInterval(tick, 1000);
