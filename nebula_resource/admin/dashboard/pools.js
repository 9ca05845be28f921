// Pools: the table; rows are kept and only changed, so that a thousand of them stay quick.

import * as actions from "./actions.js";
import { get } from "./api.js";
import { byId, el, setAttribute, setText, stateBadge } from "./dom.js";
import { ago, clock, count, plural, seconds } from "./format.js";
import { spark } from "./spark.js";
import { kindOf } from "./store.js";

const FIRST = 100; // rows that are drawn without being asked for more
const RANK = { unhealthy: 0, quarantined: 1, degraded: 2, unknown: 3, healthy: 4 };
const ORDERS = {
  ill: (a, b) => RANK[kindOf(a)] - RANK[kindOf(b)] || b.waiters.count - a.waiters.count || compare(a.id, b.id),
  busy: (a, b) => b.waiters.count - a.waiters.count || b.utilization - a.utilization || compare(a.id, b.id),
  name: (a, b) => compare(a.id, b.id),
};
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

export function pools(store, { mayOperate }) {
  const body = byId("pool-rows");
  const rows = new Map();
  let limit = FIRST;
  let pending = false;
  // Rows out of sight are not drawn: a thousand would cost a tenth of a second each second.
  const sight = new IntersectionObserver(
    (seen) => { for (const each of seen) rows.get(each.target.dataset.pool)?.show(each.isIntersecting); },
    { rootMargin: "200px" },
  );

  const fitting = () => {
    const text = byId("pool-filter").value.trim().toLowerCase();
    const health = byId("pool-health").value;
    return [...store.pools.values()]
      .filter((pool) => !health || kindOf(pool) === health)
      .filter((pool) => !text || `${pool.id} ${pool.driver} ${pool.scope.label ?? pool.scope.level}`.toLowerCase().includes(text))
      .sort(ORDERS[byId("pool-sort").value]);
  };

  const draw = () => {
    pending = false;
    const found = fitting();
    const shown = found.slice(0, limit);
    const keep = new Set(shown.map((pool) => pool.id));
    for (const [id, row] of rows) {
      if (!keep.has(id)) {
        row.remove(sight);
        rows.delete(id);
      }
    }
    let place = body.firstElementChild;
    for (const pool of shown) {
      let row = rows.get(pool.id);
      if (!row) {
        rows.set(pool.id, (row = makeRow(pool, store, mayOperate)));
        sight.observe(row.node);
      }
      row.update(pool);
      for (const node of row.nodes()) {
        if (node === place) place = place.nextElementSibling;
        else body.insertBefore(node, place);
      }
    }
    setText(byId("pools-count"), found.length === store.pools.size ? plural(found.length, "pool") : `${found.length} of ${store.pools.size}`);
    byId("pools-empty").hidden = found.length > 0;
    setText(byId("pools-empty"), store.pools.size ? "No pool fits." : "No pool is registered.");
    byId("pools-more").hidden = found.length <= limit;
    setText(byId("pools-all"), `Show all ${found.length}`);
  };
  const drawSoon = () => {
    if (!pending) {
      pending = true;
      requestAnimationFrame(draw);
    }
  };

  store.addEventListener("pools", drawSoon);
  store.addEventListener("samples", () => { for (const [id, row] of rows) row.curve(store.samples.get(id)); });
  for (const id of ["pool-filter", "pool-health", "pool-sort"]) byId(id).addEventListener("input", drawSoon);
  byId("pools-all").addEventListener("click", () => { limit = Infinity; draw(); });
  body.addEventListener("keydown", walk);
}

/** Arrow keys go from pool to pool. */
function walk(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !event.target.classList.contains("pool-name")) return;
  const names = [...document.querySelectorAll(".pool-name")];
  const next = names[names.indexOf(event.target) + step];
  if (next) {
    event.preventDefault();
    next.focus();
  }
}

function makeRow(first, store, mayOperate) {
  let pool = first;
  const name = el("button", { type: "button", class: "pool-name", "aria-expanded": "false", onclick: () => toggle(), title: first.id }, first.resource_id);
  const sub = el("div", { class: "pool-sub" });
  const badge = stateBadge("unknown");
  const because = el("div", { class: "because" });
  const state = el("td");
  const bar = el("i");
  const meter = el("div", { class: "meter", role: "meter", "aria-valuemin": 0, "aria-label": `In use of ${first.id}` }, bar);
  const used = el("span");
  const curve = spark();
  const waiting = el("td", { class: "num" });
  const p95 = el("td", { class: "num" });
  const acquired = el("td", { class: "num" });
  const failed = el("td", { class: "num" });
  const node = el(
    "tr", { class: "pool", "data-pool": first.id },
    el("td", {}, name, sub), el("td", {}, badge, because), state,
    el("td", {}, el("div", { class: "use" }, meter, used)), el("td", {}, curve.node),
    waiting, p95, acquired, failed,
  );
  let details = null;

  const draw = () => {
    const kind = kindOf(pool);
    setText(sub, [scopeOf(pool), pool.driver, pool.required ? "required" : null].filter(Boolean).join(" · "));
    setText(badge, kind);
    setAttribute(badge, "data-kind", kind);
    setText(because, reason(pool));
    setText(state, pool.admission.mode === "half_open" ? `half open (${pool.admission.permits})` : pool.state);
    const share = pool.size.max ? pool.size.used / pool.size.max : 0;
    bar.style.width = `${Math.min(100, share * 100).toFixed(0)}%`;
    setAttribute(meter, "data-full", share >= 1);
    setAttribute(meter, "aria-valuemax", pool.size.max);
    setAttribute(meter, "aria-valuenow", pool.size.used);
    setText(used, `${pool.size.used} of ${pool.size.max}`);
    setText(waiting, String(pool.waiters.count));
    waiting.classList.toggle("bad", pool.waiters.count > 0);
    setText(p95, seconds(pool.latency_s.acquire.p95));
    setText(acquired, count(pool.counters.acquires.ok));
    const lost = pool.counters.acquires.timeout + pool.counters.acquires.exhausted + pool.counters.create_failures;
    setText(failed, count(lost));
    failed.classList.toggle("bad", lost > 0);
    details?.update(pool);
  };

  const toggle = () => {
    if (details) {
      details.node.remove();
      details = null;
    } else {
      details = makeDetails(store, mayOperate);
      details.update(pool);
      node.after(details.node);
    }
    setAttribute(name, "aria-expanded", details !== null);
  };

  let shown = false;
  return {
    node,
    update: (now) => {
      pool = now;
      if (shown || details) draw();
    },
    show: (isShown) => {
      shown = isShown;
      if (shown) {
        draw();
        curve.draw(store.samples.get(pool.id));
      }
    },
    curve: (samples) => { if (shown) curve.draw(samples); },
    nodes: () => (details ? [node, details.node] : [node]),
    remove: (sight) => {
      sight.unobserve(node);
      node.remove();
      details?.node.remove();
    },
  };
}

/** Whom it is for; below the top level with the end of its id, which tells it from the others of its name. */
const scopeOf = (pool) =>
  pool.id === pool.resource_id ? pool.scope.level : `${pool.scope.label ?? pool.scope.level} ${pool.id.slice(pool.resource_id.length)}`;

/** Why a pool is not well: its own reason, and those whom it needs. */
function reason(pool) {
  const imposed = pool.health.because.map((cause) => `${cause.dependency} is ${cause.state}`);
  const own = pool.quarantine ? pool.quarantine.detail : pool.health.effective === "healthy" ? "" : pool.health.reason;
  return [own, ...imposed].filter(Boolean).join(" · ");
}

function makeDetails(store, mayOperate) {
  const size = facts();
  const health = facts();
  const times = facts();
  const strip = el("div", { class: "strip", role: "img" });
  const history = el("div", {}, el("h3", {}, "History of its health"), strip);
  const config = el("pre", { tabindex: 0 });
  const buttons = el("div", { class: "actions" });
  const node = el(
    "tr", { class: "details" },
    el("td", { colspan: 9 },
      el("div", { class: "detail-grid" },
        el("div", {}, el("h3", {}, "Instances"), size.node),
        el("div", {}, el("h3", {}, "Health"), health.node, history),
        el("div", {}, el("h3", {}, "Times"), times.node),
        el("div", {}, el("h3", {}, "Configuration, secrets masked"), config)),
      buttons),
  );
  let resource = null;
  let asked = null;

  const update = (pool) => {
    size.set([
      ["Idle", pool.size.idle], ["In use", pool.size.used], ["Being made", pool.size.creating],
      ["Bounds", `${pool.size.min} to ${pool.size.max}`], ["Made", count(pool.counters.created)],
      ["Gone", Object.entries(pool.counters.destroyed).map(([why, n]) => `${n} ${why.replaceAll("_", " ")}`).join(", ") || "none"],
      ["Leaks suspected", pool.counters.leaks],
    ]);
    health.set([
      ["Own evidence", pool.health.own], ["With causes", pool.health.effective], ["Why", reason(pool) || "–"],
      ["Since", pool.health.since ? `${ago(pool.health.since)} ago` : "–"],
      ["Last check", pool.health.last_check ? `${ago(pool.health.last_check)} ago` : "never"],
      ["Refused because", pool.refused.join(", ").replaceAll("_", " ") || "served"],
    ]);
    const row = (name) => ["p50", "p95", "p99"].map((q) => seconds(pool.latency_s[name][q])).join(" · ");
    times.set([
      ["Acquire p50·95·99", row("acquire")], ["Use", row("use")], ["Create", row("create")],
      ["Oldest wait", seconds(pool.waiters.oldest_wait_s)],
      ["Longest use now", seconds(pool.oldest_checkout?.age_s ?? null)], ["Generation", pool.generation],
    ]);
    drawButtons(pool);
    if (asked !== pool.health.since) {
      asked = pool.health.since;
      get(`resources/${encodeURIComponent(pool.id)}`).then((found) => {
        resource = found;
        setText(config, found.config === null ? "none" : JSON.stringify(found.config, null, 2));
        drawStrip();
        drawButtons(pool);
      }, () => {});
    }
  };

  const drawStrip = () => {
    strip.replaceChildren(...resource.history.map((each) =>
      el("i", { "data-kind": each.new, title: `${clock(each.at)} ${each.old} to ${each.new}: ${each.because}` })));
    setAttribute(strip, "aria-label", `${plural(resource.history.length, "change")} of health`);
  };

  let drawn = "";
  const drawButtons = (pool) => {
    const look = `${pool.state} ${pool.quarantine !== null} ${mayOperate()} ${resource === null}`;
    if (look === drawn) return;
    drawn = look;
    const stopped = ["suspended", "draining", "drained"].includes(pool.state);
    const button = (label, act, danger) =>
      el("button", { type: "button", class: danger ? "danger" : null, disabled: !mayOperate(), onclick: act }, label);
    const latest = () => store.pools.get(pool.id) ?? pool;
    buttons.replaceChildren(...[
      button("Check now", () => actions.check(latest())),
      stopped ? button("Resume…", () => actions.verb(latest(), "resume")) : button("Suspend…", () => actions.verb(latest(), "suspend")),
      button("Recycle…", () => actions.verb(latest(), "recycle")),
      button("Resize…", () => actions.resize(latest())),
      stopped ? null : button("Drain…", () => actions.verb(latest(), "drain"), true),
      pool.quarantine
        ? button("Release…", () => actions.release(latest().quarantine))
        : button("Quarantine…", () => actions.isolate(latest(), resource?.dependents ?? []), true),
    ].filter(Boolean));
  };
  return { node, update };
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
