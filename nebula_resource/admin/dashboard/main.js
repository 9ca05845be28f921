// Main: brings the parts together.

import { get } from "./api.js";
import { ask } from "./dialog.js";
import { byId, el, setAttribute, setText } from "./dom.js";
import { events } from "./events.js";
import { graph } from "./graph.js";
import { ill } from "./ill.js";
import { Live } from "./live.js";
import { pools } from "./pools.js";
import { Session } from "./session.js";
import { Store } from "./store.js";
import { verdict } from "./verdict.js";

const store = new Store();
const session = new Session();

verdict(store);
const show = pools(store, session);
ill(store, session, show);
graph(store, show);
events(store);

const live = new Live({
  heard: (name, data) => store.hear(name, data),
  told: (state, text, at) => {
    setAttribute(byId("link"), "data-state", state);
    setText(byId("link-text"), text);
    store.setLine(state, at);
  },
  unauthenticated: () => session.present(),
});

// ── colours: the system's, or chosen ──

const THEMES = ["auto", "light", "dark"];

function theme(name) {
  if (name === "auto") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.setAttribute("data-theme", name);
  const button = byId("theme");
  setText(button, `Colours: ${name}`);
  button.title = name === "auto" ? "Those of the system" : `Always ${name}`;
}

/** What this browser keeps for the page; one that keeps nothing for sites throws when it is only asked. */
function kept(use) {
  try {
    return use(localStorage);
  } catch {
    return null;
  }
}

let chosen = kept((storage) => storage.getItem("nebula-theme")) ?? "auto";
theme(chosen);
byId("theme").addEventListener("click", () => {
  chosen = THEMES[(THEMES.indexOf(chosen) + 1) % THEMES.length];
  kept((storage) => storage.setItem("nebula-theme", chosen));
  theme(chosen);
});

// ── keys ──

const KEYS = [
  ["/", "filter the pools", () => byId("pool-filter").focus()],
  ["p", "pause the events, go on", () => byId("events-pause").click()],
  ["t", "colours: system, light, dark", () => byId("theme").click()],
  ["?", "this list", () => help()],
];

let letters = kept((storage) => storage.getItem("nebula-keys")) !== "off";

/** Whoever speaks to a computer, or shares a keyboard, says letters that are not meant for the page. */
function switchOfLetters() {
  const box = el("input", { type: "checkbox", checked: letters });
  box.addEventListener("change", () => {
    letters = box.checked;
    kept((storage) => storage.setItem("nebula-keys", letters ? "on" : "off"));
  });
  return el("label", { class: "choice" }, box, el("span", {}, "Single letters and signs work"),
    el("small", {}, "Without them this list is behind its button, and Tab, Enter and the arrows go on."));
}

const help = () => ask({
  title: "Keys",
  body: [el("div", { class: "keys" },
    ...KEYS.flatMap(([key, what]) => [el("kbd", {}, key), el("span", {}, what)]),
    el("kbd", {}, "↑ ↓"), el("span", {}, "from pool to pool, from node to node"),
    el("kbd", {}, "Enter"), el("span", {}, "open and close a pool")),
    switchOfLetters()],
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea, dialog");
  if (!letters || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const found = KEYS.find(([key]) => key === event.key);
  if (found) {
    event.preventDefault();
    found[2]();
  }
});
byId("help-open").addEventListener("click", help);
byId("sign-out").addEventListener("click", () => session.signOut());

// ── go ──

let boot = null;
store.addEventListener("hello", ({ detail }) => {
  // Another process answers at this address: its name stands at the top, and its sessions are others.
  if (boot !== null && boot !== detail.boot_id) session.begin().catch(() => {}); // if it is gone already, the next one says hello
  boot = detail.boot_id;
});

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
