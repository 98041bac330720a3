// Two plots over the same time: the rack's budget and draw, and below it those of this host's GPUs.
const PLOTS = [
  { canvas: "rack-plot", keys: "rack-keys", budget: "rackBudget", draw: "rackDraw", names: ["Rack budget", "Rack draws"] },
  { canvas: "host-plot", keys: "host-keys", budget: "gpusBudget", draw: "gpusDraw", names: ["This host's GPUs may draw", "they draw"] },
];
const EDGE = { left: 52, right: 10, top: 16, bottom: 20 };
const TICKS_S = [10, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600];
const HELD_PHASES = ["failsafe", "init"];
const chart = { cursorS: null, nowS: 0, colours: null };

function showChart(nowS, isLost) {
  chart.nowS = nowS;
  chart.isLost = isLost;
  const points = pointsShown();
  PLOTS.forEach((plot) => drawPlot(plot, points));
  showMoment(points);
}

function drawPlot(plot, points) {
  const canvas = byId(plot.canvas);
  const space = spaceOf(canvas, plot, points);
  const pen = canvas.getContext("2d");
  const ratio = window.devicePixelRatio;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, space.width, space.height);
  pen.font = "11px system-ui, sans-serif";
  drawScales(pen, space);
  pen.save();
  pen.beginPath();
  pen.rect(EDGE.left, 0, space.width - EDGE.left - EDGE.right, space.height - EDGE.bottom);
  pen.clip();
  drawBands(pen, space, points);
  drawBeginning(pen, space, points);
  drawDraw(pen, space, points, plot.draw);
  drawBudget(pen, space, points, plot.budget);
  if (plot === PLOTS[0]) drawHappenings(pen, space);
  drawCursor(pen, space);
  pen.restore();
}

// How seconds and watts fall on a canvas; its store of pixels follows the size it is shown at.
function spaceOf(canvas, plot, points) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const pixels = [Math.round(width * window.devicePixelRatio), Math.round(height * window.devicePixelRatio)];
  if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
  chart.colours ??= coloursOf();
  const spanS = SPANS_S[story.range];
  const most = points.reduce((top, point) => Math.max(top, point[plot.budget] ?? 0, point[plot.draw] ?? 0), 1);
  const tick = niceTick(most / Math.max(2, Math.floor((height - EDGE.top - EDGE.bottom) / 36)));
  const top = tick * Math.ceil((1.04 * most) / tick);
  const [right, bottom] = [width - EDGE.right, height - EDGE.bottom];
  return {
    width, height, right, bottom, tick, top, spanS, fromS: chart.nowS - spanS,
    x: (timeS) => right - ((chart.nowS - timeS) / spanS) * (right - EDGE.left),
    y: (watts) => bottom - (watts / top) * (bottom - EDGE.top),
  };
}

function coloursOf() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["ink", "soft", "line", "card", "draw", "area", "critical", "band", "warning"].map((name) => [name, style.getPropertyValue(`--${name}`)]));
}

function niceTick(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 2.5, 5, 10].find((step) => step * power >= least);
}

function drawScales(pen, space) {
  pen.fillStyle = chart.colours.soft;
  pen.strokeStyle = chart.colours.line;
  pen.lineWidth = 1;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (let watts = 0; watts <= space.top + 1; watts += space.tick) {
    const y = Math.round(space.y(watts)) + 0.5;
    line(pen, EDGE.left, y, space.right, y);
    pen.fillText(`${Number((watts / 1000).toPrecision(3))} kW`, EDGE.left - 6, y);
  }
  pen.textAlign = "center";
  const every = TICKS_S.find((step) => (step / space.spanS) * (space.right - EDGE.left) >= 64) ?? TICKS_S.at(-1);
  const shift = new Date(1000 * chart.nowS).getTimezoneOffset() * 60;
  for (let timeS = Math.ceil((space.fromS - shift) / every) * every + shift; timeS <= chart.nowS; timeS += every) {
    if (space.x(timeS) < EDGE.left + 14 || space.x(timeS) > space.right - 14) continue;
    pen.fillText((every < 60 ? secondOfDay : minuteOfDay).format(new Date(1000 * timeS)), space.x(timeS), space.bottom + 11);
    line(pen, Math.round(space.x(timeS)) + 0.5, space.bottom, Math.round(space.x(timeS)) + 0.5, space.bottom + 4);
  }
}

function line(pen, fromX, fromY, toX, toY) {
  pen.beginPath();
  pen.moveTo(fromX, fromY);
  pen.lineTo(toX, toY);
  pen.stroke();
}

const gapS = () => Math.max(4, 2.5 * story.stepS);

// Runs of points of the same kind, as [first, last] of each; a run ends where nothing was heard for a while.
function runs(points, kindOf) {
  const found = [];
  points.forEach((point, row) => {
    const kind = kindOf(point);
    const run = found.at(-1);
    const follows = run && row === run.last + 1 && run.kind === kind && point.timeS - points[run.last].timeS <= gapS();
    if (kind !== null && follows) run.last = row;
    else if (kind !== null) found.push({ kind, first: row, last: row });
  });
  return found;
}

// Where a controller was not heard the ground is hatched and named; so it is where nothing was heard from powerd.
function drawBands(pen, space, points) {
  for (const run of runs(points, (point) => (HELD_PHASES.includes(point.phase) ? point.phase : null))) {
    const after = points[run.last + 1];
    const endS = after && after.timeS - points[run.last].timeS <= gapS() ? after.timeS : points[run.last].timeS + story.stepS;
    drawBand(pen, space, points[run.first].timeS, endS, run.kind === "init" ? "starting" : run.kind, chart.colours.critical);
  }
  const lastS = points.at(-1)?.timeS ?? space.fromS;
  if (chart.isLost) drawBand(pen, space, lastS, chart.nowS, "nothing heard", chart.colours.soft);
}

function drawBand(pen, space, startS, endS, name, colour) {
  const left = Math.max(EDGE.left, space.x(startS));
  const width = Math.max(1, space.x(endS) - left);
  pen.save();
  pen.beginPath();
  pen.rect(left, 0, width, space.bottom);
  pen.clip();
  pen.strokeStyle = colour;
  pen.globalAlpha = 0.12;
  pen.fillStyle = colour;
  pen.fillRect(left, 0, width, space.bottom);
  pen.globalAlpha = 0.3;
  for (let x = EDGE.left - space.bottom; x < left + width; x += 8) {
    if (x + space.bottom >= left) line(pen, x, space.bottom, x + space.bottom, 0);
  }
  pen.restore();
  pen.fillStyle = colour;
  pen.textAlign = "left";
  if (width > pen.measureText(name).width + 8) pen.fillText(name, left + 4, 8);
}

// The history is as old as the daemon: what is empty is not 0 W.
function drawBeginning(pen, space, points) {
  const left = points.length ? space.x(points[0].timeS) : space.right;
  if (left < EDGE.left + 130) return;
  pen.fillStyle = chart.colours.soft;
  pen.textAlign = "center";
  pen.fillText("nothing is known of before", (EDGE.left + left) / 2, space.y(space.tick / 2));
}

function drawDraw(pen, space, points, key) {
  pen.lineJoin = "round";
  for (const run of runs(points, (point) => (point[key] === null ? null : key))) {
    const drawn = points.slice(run.first, run.last + 1);
    pen.beginPath();
    drawn.forEach((point) => pen.lineTo(space.x(point.timeS), space.y(point[key])));
    pen.strokeStyle = chart.colours.draw;
    pen.lineWidth = 1.5;
    pen.stroke();
    pen.lineTo(space.x(drawn.at(-1).timeS), space.bottom);
    pen.lineTo(space.x(drawn[0].timeS), space.bottom);
    pen.fillStyle = chart.colours.area;
    pen.fill();
  }
}

// A budget holds until the next one, so its line is a stair.
function drawBudget(pen, space, points, key) {
  pen.strokeStyle = chart.colours.ink;
  pen.lineWidth = 2;
  for (const run of runs(points, (point) => (point[key] === null ? null : key))) {
    pen.beginPath();
    let y = space.y(points[run.first][key]);
    points.slice(run.first, run.last + 1).forEach((point) => {
      pen.lineTo(space.x(point.timeS), y);
      y = space.y(point[key]);
      pen.lineTo(space.x(point.timeS), y);
    });
    pen.stroke();
  }
}

function drawHappenings(pen, space) {
  for (const happening of story.happenings) {
    const x = space.x(unixSeconds(happening.time));
    if (x < EDGE.left) continue;
    pen.fillStyle = { critical: chart.colours.critical, warning: chart.colours.warning }[happening.severity] ?? chart.colours.soft;
    pen.beginPath();
    pen.moveTo(x - 4, 0);
    pen.lineTo(x + 4, 0);
    pen.lineTo(x, 7);
    pen.fill();
  }
}

function drawCursor(pen, space) {
  if (chart.cursorS === null) return;
  const x = Math.round(space.x(chart.cursorS)) + 0.5;
  pen.strokeStyle = chart.colours.ink;
  pen.lineWidth = 1;
  line(pen, x, 0, x, space.bottom);
}
