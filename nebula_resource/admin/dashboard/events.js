// Events: what happens, the latest first; paused, it holds what comes and says how much.

import { byId, el, setAttribute, setText } from "./dom.js";
import { clock, plural, seconds } from "./format.js";

const SHOWN = 200;
const RANK = { info: 0, warning: 1, critical: 2 };

export function events(store) {
  const list = byId("events");
  const pause = byId("events-pause");
  let held = 0;
  let kept = null; // paused: what is shown until it goes on

  const fits = (event) => {
    const text = byId("event-filter").value.trim().toLowerCase();
    return RANK[event.severity] >= RANK[byId("event-severity").value] && (!text || plain(event).toLowerCase().includes(text));
  };
  const tellEmpty = () => {
    list.hidden = !list.childElementCount;
    byId("events-empty").hidden = !list.hidden;
    setText(byId("events-empty"), store.events.length ? "No event fits." : "Nothing has happened yet.");
  };
  const redraw = () => {
    list.replaceChildren(...(kept ?? store.events).filter(fits).slice(0, SHOWN).map(row));
    tellEmpty();
  };
  const tellHeld = () => setText(byId("events-held"), kept ? `paused · ${plural(held, "event")} held` : "");

  store.addEventListener("events", ({ detail }) => {
    if (kept) {
      held += 1;
      tellHeld();
    } else if (fits(detail)) {
      list.prepend(row(detail));
      while (list.childElementCount > SHOWN) list.lastElementChild.remove();
      tellEmpty();
    }
  });
  tellEmpty();
  pause.addEventListener("click", () => {
    kept = kept ? null : [...store.events];
    held = 0;
    setAttribute(pause, "aria-pressed", kept !== null);
    setText(pause, kept ? "Go on" : "Pause");
    tellHeld();
    if (!kept) redraw();
  });
  byId("event-filter").addEventListener("input", redraw);
  byId("event-severity").addEventListener("input", redraw);
}

/** Its own fields, in a line. */
function what(event) {
  const { old, new: now, ...rest } = event.data ?? {};
  const own = now === undefined ? event.data ?? {} : { "": `${old ?? "nothing"} → ${now}`, ...rest };
  return Object.entries(own)
    .filter(([, value]) => value !== null && value !== "" && !(Array.isArray(value) && !value.length))
    .map(([name, value]) => (isSeconds(name, value) ? `${words(name.slice(0, -2))} ${seconds(value)}` : `${words(name)} ${short(value)}`.trim()))
    .join(" · ");
}

const words = (name) => name.replaceAll("_", " ");
const isSeconds = (name, value) => name.endsWith("_s") && typeof value === "number";

function short(value) {
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(3)));
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

const plain = (event) => `${event.type} ${event.pool ?? ""} ${what(event)}`;

function row(event) {
  return el("li", { class: "event", "data-severity": event.severity },
    el("time", { datetime: event.ts }, clock(event.ts)),
    el("span", { class: "type" }, event.type),
    el("span", { class: "what" }, event.pool ? el("b", {}, `${event.pool} `) : null, el("span", {}, what(event))));
}
