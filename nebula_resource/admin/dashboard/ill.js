// Ill: a card for each root of what is ill: why, since when, what it touches, what comes next, and one button.

import * as actions from "./actions.js";
import { arrange, byId, el, goHome, setAttribute, setText, soon } from "./dom.js";
import { ago, clock, names, plural, span } from "./format.js";
import { ailments } from "./illness.js";

const FIRST = 9; // cards that are drawn without being asked for more

export function ill(store, { mayOperate }, show) {
  const list = byId("ill");
  const cards = new Map();
  let all = false;

  const draw = () => {
    const found = ailments(store);
    const shown = all ? found : found.slice(0, FIRST);
    const keep = new Set(shown.map(({ pool }) => pool.id));
    for (const [id, card] of cards) {
      if (!keep.has(id)) {
        if (card.node.contains(document.activeElement)) goHome();
        card.node.remove();
        cards.delete(id);
      }
    }
    for (const ailment of shown) {
      const { id } = ailment.pool;
      if (!cards.has(id)) cards.set(id, makeCard(store, mayOperate, show));
      cards.get(id).update(ailment);
    }
    const held = list.matches(":hover") || list.contains(document.activeElement); // nothing moves from under a hand
    if (held) for (const each of keep) list.contains(cards.get(each).node) || list.append(cards.get(each).node);
    else arrange(list, [...keep].map((id) => cards.get(id).node));
    byId("ill-section").hidden = !found.length;
    setText(byId("ill-count"), found.length > 1 ? `${found.length}, the worst first` : "");
    byId("ill-more").hidden = all || found.length <= FIRST;
    setText(byId("ill-all"), `Show all ${found.length}`);
  };
  store.addEventListener("pools", soon(draw));
  // A wait becomes too long without any news of it.
  store.addEventListener("samples", soon(draw));
  byId("ill-all").addEventListener("click", () => { all = true; draw(); });
}

function makeCard(store, mayOperate, show) {
  let now = null;
  const name = el("button", { type: "button", class: "card-name", onclick: () => show(now.pool.id) });
  const whose = el("span", { class: "muted" });
  const badge = el("span", { class: "state" });
  const why = el("p", { class: "card-why" });
  const since = el("p", { class: "card-since" });
  const touches = el("p", { class: "muted" });
  const plan = el("p", { class: "muted" });
  const countdown = el("span", { class: "countdown" });
  const button = el("button", { type: "button", onclick: () => act(store.pools.get(now.pool.id) ?? now.pool, now) });
  const node = el("li", { class: "card" },
    el("div", { class: "card-head" }, el("div", {}, name, " ", whose), badge),
    why, since, touches, plan,
    el("div", { class: "card-foot" }, countdown, button));

  const update = (ailment) => {
    now = ailment;
    const { pool, kind, entry } = ailment;
    setAttribute(node, "data-kind", kind);
    setAttribute(node, "data-pool", pool.id);
    setText(name, pool.resource_id);
    setAttribute(name, "title", `Show ${pool.id} among the pools`);
    setText(whose, [pool.required ? "required" : null, pool.id === pool.resource_id ? null : pool.scope.label ?? pool.id].filter(Boolean).join(" · "));
    setAttribute(badge, "data-kind", kind);
    setText(badge, kind);
    setText(why, ailment.why || "No reason was given.");
    setText(since, `since ${clock(ailment.since)}, ${ago(ailment.since)}`);
    setText(touches, touchesOf(ailment));
    setText(plan, entry ? planOf(entry) : "");
    setText(countdown, entry ? nextOf(entry) : "");
    const [label, what] = buttonOf(ailment);
    setText(button, label);
    setAttribute(button, "aria-label", `${what} ${pool.id}`);
    button.disabled = !mayOperate();
    for (const each of [touches, plan, whose]) each.hidden = !each.textContent;
  };
  return { node, update };
}

/** Whom it pulls down. */
function touchesOf({ touches, entry }) {
  if (touches.length) return `touches ${plural(touches.length, "pool")}: ${names(touches, 5)}`;
  if (entry?.dependents) return `${plural(entry.dependents, "pool")} may need it`;
  return "touches nothing else";
}

/** Who isolated it, and how far its recovery is. */
function planOf(entry) {
  if (entry.manual) return `by ${entry.by}`;
  if (!entry.attempts) return "";
  const planned = entry.attempts > entry.max_attempts ? "" : ` of ${entry.max_attempts}`; // parked, they go on past the plan
  return `${entry.attempts}${planned} attempts failed`;
}

/** What happens next, and when. */
function nextOf(entry) {
  const left = (text) => (Date.parse(text) - Date.now()) / 1000;
  const until = (text, soon) => (left(text) < 0.5 ? soon : `in ${span(left(text))}`);
  if (entry.expires_at) return `ends ${until(entry.expires_at, "now")}`;
  if (entry.phase === "probing") return "is being probed now";
  if (entry.next_attempt_at) return `${entry.phase === "parked" ? "parked, " : ""}next probe ${until(entry.next_attempt_at, "is due")}`;
  if (entry.reason === "cascade") return "waits for its root";
  return "until somebody releases it";
}

/** The one button: what it says, and what it does. */
function buttonOf({ kind, entry }) {
  if (entry) return ["Release…", "Release"];
  return kind === "starved" ? ["Resize…", "Resize"] : ["Check now", "Check"];
}

function act(pool, { kind }) {
  if (pool.quarantine) return actions.release(pool.quarantine);
  return kind === "starved" ? actions.resize(pool) : actions.check(pool);
}
