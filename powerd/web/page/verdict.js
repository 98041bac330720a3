// How things stand, in one word and one sentence. What is worst comes first; nothing else on the page decides that.
// A rack draws up to this part above its budget for want of better sensors; beyond it, it is said.
const TOLERATED = 1.02;
const MARKS = { good: "\u25cf", busy: "\u25c6", warning: "\u25b2", critical: "\u25a0", unsure: "\u25cb" };

// `key` changes when the state does, not with every number: what is announced to those who listen.
const verdictOf = (level, word, sentence, key = word) => ({ level, word, sentence, key });

function verdict(status, news) {
  return lost(news) ?? outOfControl(status, news) ?? failsafe(status, news) ?? ordered(status) ?? missing(status) ?? within(status, news);
}

function lost(news) {
  if (news.lostSinceS === null) return null;
  const since = clockTime(news.lostSinceS, news.nowS);
  return verdictOf("critical", "NO CONNECTION", `Nothing heard from powerd since ${since}. All below is of then, greyed; the host goes on by itself.`);
}

function outOfControl(status, news) {
  if (status.stalled) {
    const since = clockTime(unixSeconds(status.at), news.nowS);
    return verdictOf("critical", "STALLED", `The control loop has not finished an iteration since ${since}. All below is of then, greyed.`);
  }
  if (status.guard.error) {
    return verdictOf("critical", "NO GUARD", `Limits cannot be written: ${status.guard.error}.`);
  }
  return null;
}

function failsafe(status, news) {
  const cause = status.failsafe_cause;
  if (!cause) return null;
  const cap = kilowatts(status.budget.rack_watts);
  if (cause === "power_brake") {
    return verdictOf("critical", "POWER BRAKE", "A GPU's hardware power brake is asserted. This host holds its part of the failsafe budget.");
  }
  if (cause === "no_controller") {
    return verdictOf("critical", "FAILSAFE", `No controller heard since the start. The rack holds ${cap}.`, "FAILSAFE at start");
  }
  const since = news.failsafeSinceS === null ? "" : ` since ${clockTime(news.failsafeSinceS, news.nowS)}`;
  return verdictOf("critical", "FAILSAFE", `No controller heard${since}. The rack holds ${cap}.`);
}

function ordered(status) {
  const orders = status.orders;
  if (orders.detached) return verdictOf("warning", "DETACHED", `The driver was given up by ${orders.detached.by}: ${orders.detached.reason}.`);
  if (orders.released) return verdictOf("warning", "RELEASED", "The GPUs have the limits they had before powerd; nothing is written.");
  return null;
}

function missing(status) {
  const rack = status.meter === null ? null : status.meter.watts;
  const budget = status.budget;
  if (status.infeasible_watts > 0) {
    return verdictOf("warning", "SHORT", `The budget is ${kilowatts(status.infeasible_watts)} below what limiting GPUs can reach.`);
  }
  if (rack !== null && rack > TOLERATED * budget.rack_watts) {
    return verdictOf("warning", "ABOVE BUDGET", `The rack draws ${kilowatts(rack)} of ${kilowatts(budget.rack_watts)}.`);
  }
  if (!status.compliant) {
    return verdictOf("warning", "ABOVE BUDGET", "This host's GPUs may draw more than their budget.");
  }
  return null;
}

function within(status, news) {
  const cap = kilowatts(status.budget.rack_watts);
  const event = status.events.find((each) => each.phase === "active" && each.target_watts !== null);
  if (event) return curtailed(status, event, cap, news);
  const step = binding(status.budget);
  if (step === null) return verdictOf("good", "WITHIN BUDGET", `${cap}.`);
  if (step.rule === "ramp") return verdictOf("busy", "RISING", `Within budget. ${cap} now, ${step.note}.`);
  const until = step.until === null ? "" : ` until ${clockTime(unixSeconds(step.until), news.nowS)}`;
  const by = { hard_limit: "the rack's hard limit", budget: step.source }[step.rule] ?? joined([ruleName(step), step.note], ": ");
  return verdictOf("good", "WITHIN BUDGET", `${cap}${until}, ${by}.`);
}

// An event may ask for more than something else leaves: then both are said.
function curtailed(status, event, cap, news) {
  const name = `${event.id} of ${event.source}`;
  const until = event.ends === null ? "it is cancelled" : clockTime(unixSeconds(event.ends), news.nowS);
  const isBinding = event.cap_watts === status.budget.rack_watts;
  const sentence = isBinding ? `Within budget. ${cap} until ${until}, for ${name}.`
    : `Within budget. ${cap}; ${name} asks for ${kilowatts(event.target_watts)} until ${until}.`;
  return verdictOf("busy", "CURTAILED", sentence, `CURTAILED ${event.id}`);
}

function showVerdict(status, news) {
  const now = verdict(status, news);
  setClass(byId("verdict"), now.level);
  setText(byId("word"), `${MARKS[now.level]} ${now.word}`);
  setText(byId("sentence"), now.sentence);
  showTab(status, now);
  if (showVerdict.key !== now.key) {
    showVerdict.key = now.key;
    setText(byId("announcement"), `${status.host}: ${now.word}. ${now.sentence}`);
  }
}

// The tab is often all that is seen: its title begins with the word, and its icon differs by shape and colour.
function showTab(status, now) {
  const title = `${now.level === "good" ? "" : `${now.word} `}${status.host}${status.mode === "enforce" ? "" : ` (${status.mode})`}`;
  if (document.title !== title) document.title = title;
  const colours = { good: "#1c7a3d", busy: "#1f5fa8", warning: "#c98500", critical: "#c62828", unsure: "#777" };
  const shapes = {
    good: "<circle cx='8' cy='8' r='6'/>", busy: "<path d='M8 1l7 7-7 7-7-7z'/>",
    warning: "<path d='M8 1l7 14H1z'/>", critical: "<path d='M1 1h14v14H1z'/>", unsure: "<circle cx='8' cy='8' r='3'/>",
  };
  const picture = `<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16' fill='${colours[now.level]}'>${shapes[now.level]}</svg>`;
  setAttribute(byId("icon"), "href", `data:image/svg+xml,${encodeURIComponent(picture)}`);
}

function showPlace(status, news) {
  const mode = { monitor: "MONITOR: nothing is decided or written", "dry-run": "DRY-RUN: nothing is written" }[status.mode] ?? "";
  setHidden(byId("mode"), !mode);
  setText(byId("mode"), mode);
  setText(byId("host"), status.host);
  setText(byId("place"), `rack ${status.rack}, site ${status.site}`);
  setText(byId("clock"), `${secondOfDay.format(new Date(unixSeconds(status.at) * 1000))} ${zone()}`);
  setText(byId("version"), `powerd ${status.version}, iteration ${status.iteration}, every ${status.period_s}${GAP}s.`);
  setText(byId("feed"), news.feed);
}
