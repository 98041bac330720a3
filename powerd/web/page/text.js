// Numbers and times as people read them. Above a GPU all watts are kW with two decimals; of a GPU, whole W.
const UNKNOWN = "unknown";
const GAP = "\u00a0";
const wholeNumber = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const hundredths = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const gpuWatts = (watts) => (watts === null ? UNKNOWN : `${wholeNumber.format(watts)}${GAP}W`);
const kilowatts = (watts) => (watts === null ? UNKNOWN : `${hundredths.format(watts / 1000)}${GAP}kW`);
const stepWatts = (step, watts) => (step.scope === "gpu" ? gpuWatts(watts) : kilowatts(watts));
const words = (slug) => slug.replaceAll("_", " ");
const joined = (parts, between = ", ") => parts.filter(Boolean).join(between);

const minuteOfDay = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const secondOfDay = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayOfYear = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" });
const HALF_DAY_S = 43200;

// A moment in Unix seconds as the clock of whoever looks shows it, with the day where it is not near `nowS`.
function clockTime(wallS, nowS) {
  const date = new Date(wallS * 1000);
  const time = date.getSeconds() === 0 ? minuteOfDay.format(date) : secondOfDay.format(date);
  return Math.abs(wallS - nowS) < HALF_DAY_S ? time : `${dayOfYear.format(date)} ${time}`;
}

const unixSeconds = (rfc3339) => Date.parse(rfc3339) / 1000;

function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole}${GAP}s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 120) return `${minutes}${GAP}min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours}${GAP}h ${minutes % 60}${GAP}min` : `${Math.round(hours / 24)} days`;
}

// By how much the clock of whoever looks is ahead of UTC, as in "UTC+2" or "UTC-3:30".
function zone() {
  const minutes = -new Date().getTimezoneOffset();
  if (minutes === 0) return "UTC";
  const rest = Math.abs(minutes) % 60;
  return `UTC${minutes < 0 ? "-" : "+"}${Math.floor(Math.abs(minutes) / 60)}${rest ? `:${String(rest).padStart(2, "0")}` : ""}`;
}
