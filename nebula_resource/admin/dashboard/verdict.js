// Verdict: the answer in one glance: is anything ill; and whether what is shown still holds.

import { byId, el, setAttribute, setText, soon } from "./dom.js";
import { clock, names, plural, span } from "./format.js";
import { ailments } from "./illness.js";
import { isHalfOpen, kindOf, longestWait } from "./store.js";

const TILES = [
  ["healthy", "healthy"], ["degraded", "degraded"], ["unhealthy", "unhealthy"], ["quarantined", "quarantined"], ["unknown", "unknown"],
];
const TONES = ["quarantined", "starved", "degraded", "unhealthy"]; // mild to grave

export function verdict(store) {
  const tiles = new Map(TILES.map(([kind, label]) => [kind, makeTile(kind, label)]));
  const used = makeNumber("in use");
  const waiting = makeNumber("waiting");
  byId("tiles").append(...[...tiles.values(), used, waiting].map(({ node }) => node));

  const draw = () => {
    const counts = { healthy: 0, degraded: 0, unhealthy: 0, unknown: 0, quarantined: 0 };
    let out = 0;
    let most = 0;
    let line = 0;
    for (const pool of store.pools.values()) {
      counts[kindOf(pool)] += 1;
      out += pool.size.used;
      most += pool.size.max;
      line += pool.waiters.count;
    }
    for (const [kind, tile] of tiles) tile.set(counts[kind]);
    used.set(`${out} / ${most}`);
    waiting.set(String(line));
    const { tone, head, more } = sentence(store, counts);
    setAttribute(byId("verdict"), "data-tone", tone);
    setText(byId("verdict-head"), head);
    setText(byId("verdict-more"), more);
    setAttribute(byId("main"), "data-old", isOld(store.line) ? "" : null);
    document.title = `${MARKS[tone] ?? "?"} ${tone === "unknown" ? "nebula" : `${head} · nebula`}`;
  };
  const drawSoon = soon(draw);
  for (const what of ["pools", "line"]) store.addEventListener(what, drawSoon);
  draw();
}

const MARKS = { healthy: "✓", degraded: "!", starved: "!", unhealthy: "✕", quarantined: "⊘" };

const isOld = ({ state }) => ["stale", "lost", "out"].includes(state);

/** What is to be said, and how loud. */
function sentence(store, counts) {
  const { state, at } = store.line;
  if (at === null || state === "connecting") return { tone: "unknown", head: "Looking …", more: "No data yet." };
  if (isOld(store.line)) {
    const head = { stale: "No word from the service", lost: "The connection is lost", out: "You are signed out" }[state];
    return { tone: "unknown", head, more: `What stands below is as of ${clock(at)}, ${span((Date.now() - at) / 1000)} ago.` };
  }
  const total = store.pools.size;
  if (!total) return { tone: "unknown", head: "Nothing is registered", more: "There is no pool to look after." };
  const ill = ailments(store);
  const wait = waits(store);
  if (!ill.length) {
    const more = [`${plural(total, "pool")} ${total === 1 ? "serves" : "serve"}`, wait || "nobody waits long"];
    if (counts.unknown) more.push(`${counts.unknown} not checked yet`);
    const careful = [...store.pools.values()].filter(isHalfOpen).length;
    if (careful) more.push(`${careful} ${careful === 1 ? "lets" : "let"} callers in a few at a time after a release`);
    return { tone: "healthy", head: "All is well", more: `${more.join(" · ")}.` };
  }
  const grave = Math.max(...ill.map(({ kind, entry }) => TONES.indexOf(entry && !entry.manual ? "unhealthy" : kind)));
  const refused = [...store.pools.values()].filter((pool) => pool.refused.length).map(nameOf);
  const own = new Set(ill.map(({ pool }) => pool.id));
  const echoes = new Set(ill.flatMap(({ touches }) => touches).filter((id) => !own.has(id)));
  const more = [];
  if (refused.length) more.push(`callers of ${names(refused, 3)} are refused`);
  if (echoes.size) more.push(`${echoes.size} more ${echoes.size === 1 ? "suffers" : "suffer"} from it`);
  if (wait) more.push(wait);
  const text = more.join(" · ");
  return { tone: TONES[grave], head: `${names(ill.map(({ pool }) => nameOf(pool)), 2)} ${ill.length === 1 ? "is" : "are"} ill`,
    more: text && `${text[0].toUpperCase()}${text.slice(1)}.` };
}

/** What a person calls a pool: below the top level with whose it is. */
const nameOf = (pool) => (pool.id === pool.resource_id ? pool.id : `${pool.resource_id} of ${pool.scope.label ?? pool.id}`);

function waits(store) {
  const longest = Math.max(0, ...[...store.pools.values()].map(longestWait));
  return longest >= 1 ? `somebody has waited for ${span(longest)}` : "";
}

/** A count that narrows the table to what it counts. */
function makeTile(kind, label) {
  const number = el("b", {}, "0");
  const narrow = () => {
    byId("pool-health").value = kind;
    byId("pool-health").dispatchEvent(new Event("input"));
    byId("pools").focus();
    byId("pools").scrollIntoView();
  };
  const button = el("button", { type: "button", class: "tile", title: `Show the pools that are ${label}`, onclick: narrow }, number, el("span", {}, label));
  const node = el("li", {}, button);
  const set = (count) => {
    setText(number, String(count));
    setAttribute(button, "data-tone", count ? kind : null);
    node.hidden = kind === "unknown" && !count;
  };
  return { node, set };
}

function makeNumber(label) {
  const number = el("b", {}, "0");
  return { node: el("li", { class: "tile" }, number, el("span", {}, label)), set: (text) => setText(number, text) };
}
