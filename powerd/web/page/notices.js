// Problems, standing orders with how to end them, and what happened.
const SHOWN_HAPPENINGS = 12;
const SEVERITIES = { critical: "\u25a0 CRITICAL", warning: "\u25b2 WARNING", info: "INFO" };

function showProblems(status, nowS) {
  const lines = status.errors.map((problem, position) => ({
    key: `${problem.event} ${problem.subject} ${position}`, kind: problem.severity, mark: SEVERITIES[problem.severity] ?? problem.severity,
    text: problem.text,
    more: joined([
      `${words(problem.event)}, ${clockTime(unixSeconds(problem.last), nowS)}`,
      problem.count > 1 ? `${problem.count} times since ${clockTime(unixSeconds(problem.first), nowS)}` : "",
    ]),
  }));
  const { guard, bus } = status;
  if (!bus.connected) lines.unshift(urgent("warning", `Broker ${bus.url}: ${bus.error || "not connected"}`));
  if (guard.writes_forbidden) lines.unshift(urgent("warning", "Writes are forbidden: no limit is changed."));
  if (guard.error) lines.unshift(urgent("critical", `Guard: ${guard.error}`));
  keepLines(byId("problems"), lines, "None.");
}

const urgent = (severity, text) => ({ key: text, kind: severity, mark: SEVERITIES[severity], text, more: "" });

function showOrders(status, nowS) {
  const orders = status.orders;
  const lines = [
    ...modeLines(orders, status.mode),
    ...(orders.detached === null ? [] : [detachedLine(orders.detached, nowS)]),
    ...(orders.drill === null ? [] : [drillLine(orders.drill, nowS)]),
    ...orders.overrides.map((override) => overrideLine(override, nowS)),
  ];
  keepLines(byId("orders"), lines, "None: the configuration rules.");
}

function modeLines(orders, mode) {
  const command = `powerctl mode ${orders.configured_mode} --reason "..."`;
  if (orders.released) return [orderLine("RELEASED", "The GPUs have the limits they had before powerd.", "", command)];
  if (mode === orders.configured_mode || !orders.configured_mode) return [];
  return [orderLine("MODE", `${mode} until restart; ${orders.configured_mode} is configured`, "", command)];
}

function detachedLine(detached, nowS) {
  return orderLine("DETACHED", "The driver is given up: no GPU is read or limited.",
    `${detached.by}: ${detached.reason}, since ${clockTime(unixSeconds(detached.since), nowS)}`, 'powerctl attach --reason "..."');
}

function drillLine(drill, nowS) {
  const text = `Budgets are not heard, for practice: ${drill.dropped} so far. Ctrl-C in its powerctl ends it at once.`;
  return orderLine("DRILL", text, whoAndUntil(drill, nowS), "");
}

function overrideLine(override, nowS) {
  const name = override.index ?? override.uuid;
  return orderLine("OVERRIDE", `GPU ${name} shall have ${gpuWatts(override.watts)}, before all others`, whoAndUntil(override, nowS),
    `powerctl override --gpu ${name} --end --reason "..."`, override.uuid);
}

const whoAndUntil = (order, nowS) =>
  `${order.by}: ${order.reason}, until ${clockTime(unixSeconds(order.until), nowS)}, ${duration(order.remaining_s)} left`;
const orderLine = (mark, text, more, command, key = mark) => ({ key, kind: "order", mark, text, more, command });

function showHappenings(happenings, nowS) {
  const lines = happenings.slice(-SHOWN_HAPPENINGS).reverse().map((happening) => ({
    key: `${happening.time} ${happening.event} ${happening.subject}`, kind: happening.severity,
    mark: clockTime(unixSeconds(happening.time), nowS), text: happening.text, more: happening.by,
  }));
  keepLines(byId("happenings"), lines, "Nothing since the daemon started.");
}
