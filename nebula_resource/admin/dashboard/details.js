// Details: one pool opened: its numbers, its health with its history, its neighbours, and what may be done to it.

import * as actions from "./actions.js";
import { get } from "./api.js";
import { el, setAttribute, setText } from "./dom.js";
import { ago, clock, count, names, plural, seconds } from "./format.js";
import { reasonOf } from "./illness.js";
import { callersOf, longestWait } from "./store.js";

const CHANGES = 6; // changes of health in words; the strip shows all
const COLUMNS = 9;
const STOPPED = ["suspended", "draining", "drained"];

export function makeDetails(store, mayOperate) {
  const size = facts();
  const health = facts();
  const times = facts();
  const links = facts();
  const history = makeHistory();
  const config = el("pre", { tabindex: 0 });
  const why = el("p", { class: "details-why" });
  const silent = el("p", { class: "muted", hidden: true }, "Its history, neighbours and configuration come when the service answers again.");
  const buttons = makeButtons(store, mayOperate, () => resource?.dependents ?? []);
  const asks = {
    history: el("div", {}, el("h3", {}, "History of its health"), history.node),
    links: el("div", {}, el("h3", {}, "Neighbours"), links.node),
    config: el("div", { class: "wide" }, el("h3", {}, "Configuration, secrets masked"), config),
  };
  const node = el(
    "tr", { role: "row", class: "details" },
    el("td", { role: "cell", colspan: COLUMNS },
      why, buttons.node,
      el("div", { class: "detail-grid" },
        el("div", {}, el("h3", {}, "Health"), health.node),
        asks.history,
        el("div", {}, el("h3", {}, "Instances"), size.node),
        el("div", {}, el("h3", {}, "Times"), times.node),
        asks.links, asks.config),
      silent),
  );
  let resource = null;
  let asked = null;

  const update = (pool) => {
    setText(why, reasonOf(pool));
    why.hidden = !why.textContent;
    health.set([
      ["Since", pool.health.since ? `${clock(pool.health.since)}, ${ago(pool.health.since)}` : "–"],
      ["Last check", pool.health.last_check ? `${ago(pool.health.last_check)} ago` : "never"],
      ["By itself", pool.health.own], ["With what it needs", pool.health.effective],
      ["Callers are", pool.refused.length ? `refused: ${pool.refused.join(", ").replaceAll("_", " ")}` : callersOf(pool)],
    ]);
    size.set([
      ["In use", `${pool.size.used} of ${pool.size.max}`], ["Idle", pool.size.idle], ["Being made", pool.size.creating],
      ["Bounds", `${pool.size.min} to ${pool.size.max}`], ["Made", count(pool.counters.created)],
      ["Gone", Object.entries(pool.counters.destroyed).map(([why, n]) => `${n} ${why.replaceAll("_", " ")}`).join(", ") || "none"],
      ["Failed", failedOf(pool)],
      ["Leaks suspected", pool.counters.leaks],
    ]);
    const row = (name) => ["p50", "p95", "p99"].map((q) => seconds(pool.latency_s[name][q])).join(" · ");
    times.set([
      ["Acquire p50·95·99", row("acquire")], ["Use", row("use")], ["Create", row("create")],
      ["Longest wait now", pool.waiters.count ? seconds(longestWait(pool)) : "–"],
      ["Longest use now", pool.oldest_checkout ? seconds(pool.oldest_checkout.age_s + (Date.now() - pool.at) / 1000) : "–"],
      ["Generation", pool.generation],
    ]);
    buttons.set(pool);
    if (asked !== pool.health.since) ask(pool);
  };

  /** What was never told is not shown as if there were none. */
  const tellSilence = (isSilent) => {
    silent.hidden = !isSilent;
    for (const part of Object.values(asks)) part.hidden = isSilent;
  };

  const ask = async (pool) => {
    asked = pool.health.since;
    try {
      resource = await get(`resources/${encodeURIComponent(pool.id)}`);
    } catch {
      asked = null; // the line is down: the next change asks again
      tellSilence(resource === null);
      return;
    }
    tellSilence(false);
    setText(config, resource.config === null ? "none" : JSON.stringify(resource.config, null, 2));
    links.set([["Needs", names(resource.dependencies, 8) || "nothing"], ["Needed by", names(resource.dependents, 8) || "nothing"]]);
    history.draw(resource.history);
  };
  return { node, update };
}

/** What may be done to it. The buttons stay and change their words: who presses by keyboard keeps the place. */
function makeButtons(store, mayOperate, dependents) {
  let now = null;
  const isStopped = () => STOPPED.includes(now.state);
  const button = (label, act) => el("button", { type: "button", onclick: () => act(store.pools.get(now.id) ?? now) }, label);
  const check = button("Check now", actions.check);
  const stop = button("Suspend…", (pool) => actions.verb(pool, isStopped() ? "resume" : "suspend"));
  const recycle = button("Recycle…", (pool) => actions.verb(pool, "recycle"));
  const resize = button("Resize…", actions.resize);
  const drain = button("Drain…", (pool) => actions.verb(pool, "drain"));
  const isolate = button("Quarantine…", (pool) => actions.isolate(pool, dependents()));
  const release = button("Release…", (pool) => actions.release(pool.quarantine ?? now.quarantine));
  const all = [check, stop, recycle, resize, drain, isolate, release];
  const only = el("span", { class: "muted" }, "Your key may look only.");
  drain.classList.add("danger");
  isolate.classList.add("danger");
  const show = (each, isShown, heir) => {
    if (!isShown && document.activeElement === each) heir.focus();
    each.hidden = !isShown;
  };

  const set = (pool) => {
    now = pool;
    setText(stop, isStopped() ? "Resume…" : "Suspend…");
    for (const each of all) each.disabled = !mayOperate();
    if (pool.quarantine) show(release, true);
    show(drain, !isStopped(), stop);
    show(isolate, !pool.quarantine?.manual, release); // what is in by itself may be left alone by hand
    show(release, pool.quarantine !== null, isolate);
    only.hidden = mayOperate();
  };
  return { node: el("div", { class: "actions" }, ...all, only), set };
}

function failedOf({ counters }) {
  const parts = [[counters.acquires.timeout, "timed out"], [counters.acquires.exhausted, "turned away"], [counters.create_failures, "creates"]];
  return parts.filter(([n]) => n).map(([n, what]) => `${count(n)} ${what}`).join(", ") || "none";
}

/** The changes of its health: a strip of all, the oldest first, and the latest in words. */
function makeHistory() {
  const strip = el("div", { class: "strip", role: "img" });
  const list = el("ol", { class: "changes" });
  const draw = (changes) => {
    strip.replaceChildren(...changes.map((each) =>
      el("i", { "data-kind": each.new, title: `${clock(each.at)} ${each.old} to ${each.new}: ${each.because}` })));
    setAttribute(strip, "aria-label", `${plural(changes.length, "change")} of health`);
    strip.hidden = !changes.length;
    const latest = changes.slice(-CHANGES).reverse();
    list.replaceChildren(...latest.map((each) =>
      el("li", {}, el("time", { datetime: each.at }, clock(each.at)), " ", el("b", { "data-kind": each.new }, each.new), ` by ${each.because}`)));
    if (!changes.length) list.replaceChildren(el("li", { class: "muted" }, "It has not changed."));
    if (changes.length > CHANGES) list.append(el("li", { class: "muted" }, `and ${changes.length - CHANGES} before`));
  };
  return { node: el("div", {}, strip, list), draw };
}

function facts() {
  const node = el("dl", { class: "facts" });
  const values = new Map();
  const set = (pairs) => {
    for (const [name, value] of pairs) {
      let held = values.get(name);
      if (!held) {
        values.set(name, (held = el("dd")));
        node.append(el("dt", {}, name), held);
      }
      setText(held, String(value));
    }
  };
  return { node, set };
}
