// What the chart is drawn from: the history, asked for once, and each status after that.
const SPANS_S = { "2m": 120, "15m": 900, "1h": 3600, "1d": 86400 };
const MANY_HAPPENINGS = 1000;
const story = { range: "15m", stepS: 1, points: [], live: null, happenings: [], error: "" };

async function loadStory() {
  const range = story.range;
  const extract = await askHistory(range);
  if (extract === null || range !== story.range) return;
  story.stepS = extract.step_s;
  story.points = extract.time.map((timeS, row) => pointOf(extract, timeS, row));
  takeHappenings(extract.happenings);
}

// What happened of late; what was drawn meanwhile came with the stream.
async function loadHappenings(seconds) {
  const extract = await askHistory(String(Math.ceil(seconds)));
  if (extract !== null) takeHappenings(extract.happenings);
}

async function askHistory(since) {
  try {
    const answer = await fetch(`/v1/history?since=${since}`);
    const body = await answer.json();
    story.error = answer.ok ? "" : body.error;
    return answer.ok ? body : null;
  } catch {
    story.error = "powerd did not answer";
    return null;
  }
}

function pointOf(extract, timeS, row) {
  return {
    timeS, phase: extract.phase[row], rackBudget: extract.rack_watts[row], rackDraw: extract.rack_draw_watts[row],
    gpusBudget: extract.gpus_watts[row], gpusDraw: extract.draw_watts[row],
  };
}

function takeHappenings(happenings) {
  const known = new Map([...story.happenings, ...happenings].map((each) => [`${each.time} ${each.event} ${each.subject}`, each]));
  story.happenings = [...known.values()].sort((a, b) => unixSeconds(a.time) - unixSeconds(b.time)).slice(-MANY_HAPPENINGS);
}

// The latest status is the last point, and stays when the next one is a step later.
function extendStory(status) {
  const { budget, meter } = status;
  const last = story.points.at(-1);
  if (story.live && (!last || story.live.timeS - last.timeS >= 0.9 * story.stepS)) story.points.push(story.live);
  story.live = {
    timeS: unixSeconds(status.at), phase: status.state, rackBudget: budget.rack_watts, rackDraw: meter === null ? null : meter.watts,
    gpusBudget: budget.gpus_watts, gpusDraw: budget.draw_watts,
  };
  const oldestS = story.live.timeS - 1.01 * SPANS_S[story.range];
  if (story.points.length && story.points[0].timeS < oldestS) story.points = story.points.filter((point) => point.timeS >= oldestS);
}

const pointsShown = () => (story.live ? [...story.points, story.live] : story.points);

// When the failsafe that holds was entered, in Unix seconds; null if that is not known.
function failsafeSinceS() {
  const entered = story.happenings.findLast((each) => each.event === "failsafe_entered");
  if (entered) return unixSeconds(entered.time);
  const points = pointsShown();
  const before = points.findLastIndex((point) => point.phase !== "failsafe");
  return before >= 0 && before + 1 < points.length ? points[before + 1].timeS : null;
}
