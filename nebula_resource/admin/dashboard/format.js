// Format: numbers and times for people.

/** Seconds as 0.4 ms, 12 ms, 3.2 s, 4 min, 2 h. */
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.001) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 60) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
}

/** 1234567 as 1.23 M. */
export function count(value) {
  if (value < 10000) return String(value);
  if (value < 1e6) return `${(value / 1e3).toFixed(1)} k`;
  return `${(value / 1e6).toFixed(2)} M`;
}

/** The time of day of an RFC 3339 text. */
export const clock = (text) => new Date(text).toLocaleTimeString([], { hour12: false });

/** How long ago, from an RFC 3339 text. */
export const ago = (text) => seconds(Math.max(0, (Date.now() - Date.parse(text)) / 1000));

/** One word and its plural. */
export const plural = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
