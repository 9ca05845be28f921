// Format: numbers and times for people.

/** Seconds as 80 µs, 0.4 ms, 12 ms, 3.2 s, 4 min 10 s, 2 h 5 min. */
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.0001) return `${Math.round(value * 1e6)} µs`;
  if (value < 0.001) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  return value < 10 ? `${value.toFixed(1)} s` : span(value);
}

/** A stretch of time in whole seconds, as a clock that runs shows it. */
export function span(value) {
  const whole = Math.max(0, Math.round(value));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** 1234567 as 1.23 M. */
export function count(value) {
  if (value < 10000) return String(value);
  if (value < 1e6) return `${(value / 1e3).toFixed(1)} k`;
  return `${(value / 1e6).toFixed(2)} M`;
}

/** The time of day of an RFC 3339 text or of milliseconds; of another day with its date. */
export function clock(moment) {
  const at = new Date(moment);
  const time = at.toLocaleTimeString([], { hourCycle: "h23" });
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString()} ${time}`;
}

/** How long ago, from an RFC 3339 text. */
export const ago = (text) => span((Date.now() - Date.parse(text)) / 1000);

/** One word and its plural. */
export const plural = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

/** Some names, and how many more there are. */
export function names(all, most) {
  const shown = all.length === most + 1 ? all : all.slice(0, most); // "and 1 more" is as long as its name
  const more = all.length - shown.length;
  if (more) return `${shown.join(", ")} and ${more} more`;
  return shown.length > 1 ? `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}` : shown.join("");
}
