// One way: a status document comes in, by the stream or by asking, and the page shows it.
const PAINT_EVERY_MS = 950;
const LISTEN_AGAIN_MS = 5000;
const ASK_EVERY_MS = 60000;
const NEWS_EVERY_MS = 1000;
const heard = {
  status: null, atMs: Date.now(), isLost: false, stream: null, isPolled: false,
  paintedMs: 0, timer: null, news: "", askedMs: 0, asking: null,
};

const silenceS = () => (Date.now() - heard.atMs) / 1000;
const hostNowS = () => unixSeconds(heard.status.at) + heard.status.age_s + silenceS();

function take(status) {
  const wasLost = heard.isLost;
  Object.assign(heard, { status, atMs: Date.now(), isLost: false });
  extendStory(status);
  if (wasLost) loadStory();
  const isNews = askForNews(status);
  // Ten iterations a second are for the GPUs; people read one, and at once what changes how things stand.
  const waitMs = wasLost || isNews ? 0 : PAINT_EVERY_MS - (Date.now() - heard.paintedMs);
  if (waitMs <= 0) paint();
  else heard.timer ??= setTimeout(paint, waitMs);
}

// Events and happenings are asked for when the status says that there are new ones, and once in a while.
function askForNews(status) {
  const { state, mode, budget, events, failsafe_cause: cause } = status;
  const news = joined([state, mode, cause, budget.lease?.watts, ...events.map((event) => event.id + event.phase)]);
  const isNews = news !== heard.news;
  heard.news = news;
  const agoMs = Date.now() - heard.askedMs;
  if (isNews || agoMs > ASK_EVERY_MS) heard.asking ??= setTimeout(loadNews, NEWS_EVERY_MS - agoMs);
  return isNews;
}

async function loadNews() {
  const since = heard.askedMs ? (Date.now() - heard.askedMs) / 1000 + 10 : SPANS_S["1d"];
  Object.assign(heard, { asking: null, askedMs: Date.now() });
  await Promise.all([askEvents(), loadHappenings(since)]);
  paint();
}

function paint() {
  const status = heard.status;
  if (status === null) return;
  clearTimeout(heard.timer);
  Object.assign(heard, { timer: null, paintedMs: Date.now() });
  const nowS = hostNowS();
  const isOld = heard.isLost || status.stalled;
  showVerdict(status, {
    nowS, lostSinceS: heard.isLost ? unixSeconds(status.at) + status.age_s : null, failsafeSinceS: failsafeSinceS(),
  });
  document.body.classList.toggle("old", isOld);
  if (document.hidden) return;
  showChart(nowS, isOld);
  if (heard.isLost) return;
  showPlace(status, { nowS, feed: heard.stream.readyState === EventSource.OPEN ? "Live." : "Asked for every few seconds: there is no stream." });
  showGpus(status.gpus, nowS);
  showRack(status);
  showGrid(status, nowS);
  showProblems(status, nowS);
  showOrders(status, nowS);
  showHappenings(story.happenings, nowS);
  showChain(status);
}

// Once a second: whoever is silent for three periods is asked; whoever then does not answer is lost.
function tick() {
  const periodS = heard.status === null ? 1 : heard.status.period_s;
  if (silenceS() < 1 + 2 * periodS) return;
  ask();
  heard.isLost = silenceS() > 2 + 3 * periodS;
  if (heard.status !== null) paint();
  else if (heard.isLost) showNothing();
}

async function ask() {
  if (heard.isPolled) return;
  heard.isPolled = true;
  try {
    const answer = await fetch("/v1/status", { signal: AbortSignal.timeout(4000) });
    const body = await answer.json();
    if (answer.ok) take(body);
    else refused(body.error);
  } catch {
    // Silence is told by tick().
  }
  heard.isPolled = false;
}

// It answers, and has nothing to show yet.
function refused(error) {
  if (heard.status !== null) return;
  heard.atMs = Date.now();
  setText(byId("sentence"), error);
}

function showNothing() {
  setClass(byId("verdict"), "critical");
  setText(byId("word"), `${MARKS.critical} NO CONNECTION`);
  document.title = "NO CONNECTION powerd";
}

function listen() {
  const stream = new EventSource("/v1/stream");
  heard.stream = stream;
  stream.addEventListener("status", (message) => take(JSON.parse(message.data)));
  stream.onerror = () => { stream.close(); setTimeout(listen, LISTEN_AGAIN_MS); };
}

watchChart();
choice(byId("orders-of-gpus"), "order", (by) => { orderGpus(by); paint(); });
document.addEventListener("visibilitychange", paint);
listen();
ask();
loadStory().then(paint);
setInterval(tick, 1000);
