// Quarantine: a card for each isolated resource, with the time until something happens.

import { release } from "./actions.js";
import { byId, el, setText } from "./dom.js";
import { ago, plural, seconds } from "./format.js";

export function quarantine(store, { mayOperate }) {
  const list = byId("quarantine");
  const cards = new Map();

  const draw = () => {
    for (const [id, card] of cards) {
      if (!store.quarantine.has(id)) {
        card.node.remove();
        cards.delete(id);
      }
    }
    for (const entry of store.quarantine.values()) {
      let card = cards.get(entry.id);
      if (!card) {
        card = makeCard(entry, mayOperate);
        cards.set(entry.id, card);
        list.append(card.node);
      }
      card.update(entry);
    }
    byId("quarantine-empty").hidden = cards.size > 0;
    setText(byId("quarantine-count"), cards.size ? plural(cards.size, "resource") : "");
  };
  store.addEventListener("quarantine", draw);
  setInterval(() => cards.forEach((card) => card.tick()), 1000);
}

function makeCard(first, mayOperate) {
  let entry = first;
  const why = el("p", { class: "card-why" });
  const facts = el("p", { class: "muted" });
  const countdown = el("span", { class: "countdown" });
  const button = el("button", { type: "button", disabled: !mayOperate(), onclick: () => release(entry) }, "Release…");
  button.setAttribute("aria-label", `Release ${entry.id}`);
  const node = el(
    "li", { class: "card" },
    el("div", { class: "card-head" }, el("strong", {}, entry.id), el("span", { class: "state", "data-kind": "quarantined" }, entry.reason.replaceAll("_", " "))),
    why, facts,
    el("div", { class: "card-foot" }, countdown, button),
  );

  const tick = () => {
    setText(countdown, next(entry));
    const touched = entry.dependents ? ` · touches ${plural(entry.dependents, "dependent")}` : "";
    setText(facts, `for ${ago(entry.since)} · by ${entry.by} · ${entry.manual ? "" : `attempt ${entry.attempts} of ${entry.max_attempts} · `}${entry.phase}${touched}`);
  };
  const update = (now) => {
    entry = now;
    setText(why, entry.detail);
    tick();
  };
  return { node, update, tick };
}

/** What happens next, and when. */
function next(entry) {
  const until = (text) => Math.max(0, (Date.parse(text) - Date.now()) / 1000);
  if (entry.expires_at) return `ends in ${seconds(Math.round(until(entry.expires_at)))}`;
  if (entry.phase === "probing") return "being probed now";
  if (entry.next_attempt_at) return `next attempt in ${seconds(Math.round(until(entry.next_attempt_at)))}`;
  if (entry.reason === "cascade") return "waits for its root";
  return "until somebody releases it";
}
