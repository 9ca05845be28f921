// Main: brings the parts together.

import { get } from "./api.js";
import { ask } from "./dialog.js";
import { byId, el, setAttribute, setText } from "./dom.js";
import { events } from "./events.js";
import { graph } from "./graph.js";
import { Live } from "./live.js";
import { overview } from "./overview.js";
import { pools } from "./pools.js";
import { quarantine } from "./quarantine.js";
import { Session } from "./session.js";
import { Store } from "./store.js";

const store = new Store();
const session = new Session();

overview(store);
quarantine(store, session);
pools(store, session);
graph(store);
events(store);

const live = new Live({
  heard: (name, data) => store.hear(name, data),
  told: (state, text) => {
    setAttribute(byId("link"), "data-state", state);
    setText(byId("link-text"), text);
  },
  unauthenticated: () => session.signIn(),
});

// ── colours: the system's, or chosen ──

const THEMES = ["auto", "light", "dark"];

function theme(name) {
  if (name === "auto") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.setAttribute("data-theme", name);
  const button = byId("theme");
  setText(button, name[0].toUpperCase() + name.slice(1));
  button.title = `Colours: ${name === "auto" ? "those of the system" : name}`;
}

let chosen = localStorage.getItem("nebula-theme") ?? "auto";
theme(chosen);
byId("theme").addEventListener("click", () => {
  chosen = THEMES[(THEMES.indexOf(chosen) + 1) % THEMES.length];
  localStorage.setItem("nebula-theme", chosen);
  theme(chosen);
});

// ── keys ──

const KEYS = [
  ["/", "filter the pools", () => byId("pool-filter").focus()],
  ["p", "pause the events, go on", () => byId("events-pause").click()],
  ["t", "colours: system, light, dark", () => byId("theme").click()],
  ["?", "this list", () => help()],
];

const help = () => ask({
  title: "Keys",
  body: [el("div", { class: "keys" },
    ...KEYS.flatMap(([key, what]) => [el("kbd", {}, key), el("span", {}, what)]),
    el("kbd", {}, "↑ ↓"), el("span", {}, "from pool to pool"),
    el("kbd", {}, "Enter"), el("span", {}, "open and close a pool"))],
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea, dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const found = KEYS.find(([key]) => key === event.key);
  if (found) {
    event.preventDefault();
    found[2]();
  }
});
byId("help-open").addEventListener("click", help);
byId("sign-out").addEventListener("click", () => session.signOut());

// ── go ──

setInterval(() => store.sampleAll(), 1000);
session
  .begin()
  .then(past)
  .catch(() => {}) // the line is down: the live part says so, and goes on trying
  .finally(() => live.start());

/** What happened before this page was opened. */
async function past() {
  const { items, last_id: lastId } = await get("events?limit=200");
  for (const event of items) store.log(event);
  live.lastId = lastId;
}
