// What the grid asks for, now and later, and the way of watts from there down to the GPUs.
const SHOWN_LATER = 8;
const SHOWN_PAST = 3;
const grid = { events: [], error: "" };
const HELD = ["active", "restoring", "pending", "set_aside"];

async function askEvents() {
  try {
    const answer = await fetch("/v1/events");
    const body = await answer.json();
    if (answer.ok) grid.events = body.events;
    grid.error = answer.ok ? body.ledger_error : body.error;
  } catch {
    grid.error = "powerd did not answer";
  }
}

function showGrid(status, nowS) {
  setText(byId("meter"), status.meter === null ? "" : aboutMeter(status.meter));
  setHidden(byId("meter"), status.meter === null);
  const held = grid.events.filter((asked) => HELD.includes(asked.phase));
  const past = grid.events.filter((asked) => !HELD.includes(asked.phase)).slice(0, SHOWN_PAST);
  const lines = [...held.slice(0, SHOWN_LATER), ...past].map((asked) => eventLine(asked, status, nowS));
  if (held.length > SHOWN_LATER) lines.push(plainLine("more", `and ${held.length - SHOWN_LATER} more: powerctl events`));
  if (grid.error) lines.push(plainLine("error", `Not all are listed: ${grid.error}`));
  keepLines(byId("events"), lines, "None active, none scheduled.");
}

const plainLine = (key, text) => ({ key, kind: "soft", mark: "", text, more: "" });

function eventLine(asked, status, nowS) {
  const live = status.events.find((event) => event.source === asked.source && event.id === asked.event_id);
  const phase = live ? live.phase : asked.phase;
  const cap = live ? live.cap_watts : asked.cap_watts;
  const held = HELD.includes(phase);
  return {
    key: asked.id, kind: { active: "busy", restoring: "busy", pending: "" }[phase] ?? "soft", mark: words(phase).toUpperCase(),
    text: joined([asked.event_id, `${asked.event_class}, of ${asked.source}`, asksOf(asked, phase, cap)], " \u00b7 "),
    more: joined([whenOf(asked, phase, nowS), asked.targets.length ? `${asked.scope} ${asked.targets.join(" ")}` : `every ${asked.scope}`]),
    href: asked.recorded && !held ? `/v1/events/${encodeURIComponent(asked.id)}/report` : "", link: "report",
  };
}

function asksOf(asked, phase, cap) {
  const target = asked.target_watts;
  if (phase === "pending") return `asks: ${asked.asks}`;
  if (target === null) return phase === "restoring" ? `rack may draw ${kilowatts(cap)}, rising` : "no limit";
  const now = cap === null || cap === target ? "" : ` (${kilowatts(cap)} now)`;
  return `rack to ${kilowatts(target)}${now}`;
}

function whenOf(asked, phase, nowS) {
  const start = unixSeconds(asked.start);
  const end = asked.end === null ? null : unixSeconds(asked.end);
  const from = `from ${clockTime(start, nowS)} until ${end === null ? "it is cancelled" : clockTime(end, nowS)}`;
  if (phase === "pending") return `${from}, starts in ${duration(start - nowS)}`;
  if (phase === "active" && end !== null) return `${from}, ends in ${duration(end - nowS)}`;
  return from;
}

function aboutMeter(meter) {
  const amiss = meter.parts.filter((part) => !part.usable).map((part) => part.name);
  const source = { meter: "by its meter", hosts: "by what its hosts say" }[meter.source];
  const facts = [meter.watts === null ? "What the rack draws is not known" : `The rack draws ${kilowatts(meter.watts)}, ${source}`];
  if (amiss.length) facts.push(`Nothing usable is heard of ${amiss.join(", ")}: no raises`);
  if (meter.trim_watts > 0) facts.push(`${kilowatts(meter.trim_watts)} are taken off for what is drawn and not accounted for`);
  return `${facts.join(". ")}.`;
}

function showChain(status) {
  const { budget, accounting } = status;
  const of = (scope) => budget.chain.filter((step) => step.scope === scope);
  const levels = [
    { name: "Grid", watts: budget.rack_watts, about: aboutGrid(status), steps: [] },
    { name: "Rack", watts: budget.usable_watts, about: "its hosts may draw together", steps: of("rack") },
    { name: "Host", watts: budget.host_watts, about: `may draw, of it ${kilowatts(budget.gpus_watts)} for GPUs`, steps: of("host") },
    { name: "GPUs", watts: budget.allocated_watts, about: `are charged to them; they draw ${kilowatts(budget.draw_watts)}`, steps: [] },
  ];
  keep(byId("levels"), levels, (level) => level.name, newLevel, fillLevel);
  setHidden(byId("accounting"), accounting.mode === "provable");
  setText(byId("accounting"), `Accounting is measured: up to ${kilowatts(accounting.worst_excess_watts)} above what its GPUs may draw `
    + `if idle ones wake, for ${duration(accounting.worst_excess_s)} at the most.`);
}

function aboutGrid(status) {
  const events = status.events.map((event) => `${event.id} of ${event.source}, ${event.phase}: ${kilowatts(event.cap_watts)}`);
  return joined([aboutBudget(status.budget), ...events], "; ");
}

// `lease` is that of the budget: how long its sender is believed to be alive.
function aboutBudget(budget) {
  const lease = budget.lease;
  if (lease === null) return "no controller's budget is in force";
  const asks = lease.watts === null ? "no limit" : kilowatts(lease.watts);
  return joined([`${lease.source} says ${asks}`, lease.reason, `message ${lease.seq}, good for ${duration(lease.remaining_s)} more`]);
}

function newLevel() {
  return parent("li", "", element("h3"), element("b"), element("p", "soft"), element("ol", "steps"));
}

function fillLevel(row, level) {
  const [name, watts, about, steps] = row.children;
  setText(name, level.name);
  setText(watts, kilowatts(level.watts));
  setText(about, level.about);
  showSteps(steps, level.steps);
}
