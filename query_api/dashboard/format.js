// Numbers, times and durations as people read them.

const numbers = new Intl.NumberFormat("en");
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const absolute = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "medium" });

const STEPS = [
  ["year", 365 * 86400],
  ["month", 30 * 86400],
  ["week", 7 * 86400],
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];

export function count(number) {
  return numbers.format(number);
}

/** "1 video", "2 videos". */
export function counted(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** "5 minutes ago"; `moment` and `now` in milliseconds. */
export function ago(moment, now) {
  const seconds = (now - moment) / 1000;
  const [unit, length] = STEPS.find(([, length]) => Math.abs(seconds) >= length) ?? ["second", 1];
  if (unit === "second" && Math.abs(seconds) < 10) return "just now";
  return relative.format(-Math.trunc(seconds / length), unit);
}

export function fullTime(moment) {
  return absolute.format(moment);
}

/** 3725 is "1:02:05". */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** A length of time by its greatest unit: "42 s", "3.5 min", "2 h", "5 d". */
export function spoken(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60]];
  const [unit, length] = units.find(([, length]) => seconds >= length) ?? ["s", 1];
  const value = seconds / length;
  return `${value < 10 ? Number(value.toFixed(1)) : Math.round(value)} ${unit}`;
}
