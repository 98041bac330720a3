// What the chart shows at one moment, in numbers: now, or where somebody points or steps with the keys.
const KEYS_S = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };

function showMoment(points) {
  const at = chart.cursorS === null ? points.at(-1) : nearest(points, chart.cursorS);
  PLOTS.forEach((plot) => showKeys(plot, at));
  setText(byId("moment"), chart.cursorS === null ? story.error && `No history: ${story.error}` : momentText(at));
}

function nearest(points, timeS) {
  const row = points.findLastIndex((point) => point.timeS <= timeS + story.stepS / 2);
  const found = points[row];
  return found && timeS - found.timeS <= gapS() ? found : null;
}

function showKeys(plot, point) {
  const values = [plot.budget, plot.draw].map((key, row) => ({ name: plot.names[row], kind: row ? "draw" : "budget", watts: point ? point[key] : null }));
  keep(byId(plot.keys), values, (value) => value.name, newKey, (row, value) => {
    setText(row.querySelector("dd"), kilowatts(value.watts));
  });
}

function newKey(value) {
  return parent("div", "", parent("dt", "", element("i", `key ${value.kind}`), value.name), element("dd"));
}

// The moment under the cursor, how the rack stood with its controller then, and what happened within a few pixels.
function momentText(point) {
  const near = (4 * SPANS_S[story.range]) / Math.max(1, byId("rack-plot").clientWidth);
  const happened = story.happenings.filter((each) => Math.abs(unixSeconds(each.time) - chart.cursorS) <= near).map((each) => each.text);
  const phase = point ? words(point.phase) : "nothing is known";
  return joined([`At ${clockTime(chart.cursorS, chart.nowS)}: ${phase}`, ...happened.slice(0, 3)], " \u00b7 ");
}

function moveCursor(timeS) {
  chart.cursorS = timeS === null ? null : Math.min(chart.nowS, Math.max(chart.nowS - SPANS_S[story.range], timeS));
  showChart(chart.nowS, chart.isLost);
}

function stepCursor(pressed) {
  const spanS = SPANS_S[story.range];
  const from = chart.cursorS ?? chart.nowS;
  if (pressed.key in KEYS_S) moveCursor(from + (KEYS_S[pressed.key] * spanS) / 180);
  else if (pressed.key === "Home") moveCursor(chart.nowS - spanS);
  else if (pressed.key === "End" || pressed.key === "Escape") moveCursor(null);
  else return;
  pressed.preventDefault();
  tellCursor(spanS);
}

// For those who do not see it: told on each step, and only then.
function tellCursor(spanS) {
  const plot = byId("rack-plot");
  const point = chart.cursorS === null ? pointsShown().at(-1) : nearest(pointsShown(), chart.cursorS);
  const numbers = point ? `budget ${kilowatts(point.rackBudget)}, draws ${kilowatts(point.rackDraw)}` : "";
  setAttribute(plot, "aria-valuemax", String(spanS));
  setAttribute(plot, "aria-valuenow", String(Math.round(spanS - (chart.nowS - (chart.cursorS ?? chart.nowS)))));
  setAttribute(plot, "aria-valuetext", joined([chart.cursorS === null ? "Now" : momentText(point), numbers]));
}

function pointAt(moved) {
  const plot = moved.currentTarget;
  const [width, x] = [plot.clientWidth - EDGE.left - EDGE.right, moved.offsetX - EDGE.left];
  moveCursor(chart.nowS - (1 - x / width) * SPANS_S[story.range]);
}

function watchChart() {
  const plots = PLOTS.map((plot) => byId(plot.canvas));
  plots.forEach((plot) => {
    plot.addEventListener("pointermove", pointAt);
    plot.addEventListener("pointerdown", pointAt);
    plot.addEventListener("pointerleave", () => moveCursor(null));
  });
  plots[0].addEventListener("keydown", stepCursor);
  plots[0].addEventListener("blur", () => moveCursor(null));
  new ResizeObserver(() => showChart(chart.nowS, chart.isLost)).observe(plots[0]);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { chart.colours = null; showChart(chart.nowS, chart.isLost); });
  choice(byId("ranges"), "range", (range) => {
    Object.assign(story, { range, points: [], stepS: 1 });
    chart.cursorS = null;
    loadStory().then(() => showChart(chart.nowS, chart.isLost));
  });
}
