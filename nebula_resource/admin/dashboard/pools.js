// Pools: the table; rows are kept and only changed, so that a thousand of them stay quick.

import { makeDetails } from "./details.js";
import { arrange, byId, el, setAttribute, setText, soon, stateBadge, walk } from "./dom.js";
import { count, plural, seconds } from "./format.js";
import { reasonOf } from "./illness.js";
import { spark } from "./spark.js";
import { callersOf, failures, kindOf, lately } from "./store.js";

const FIRST = 100; // rows that are drawn without being asked for more
const RANK = { unhealthy: 0, quarantined: 1, degraded: 2, unknown: 3, healthy: 4 };
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const ORDERS = {
  ill: (a, b) => RANK[kindOf(a)] - RANK[kindOf(b)] || compare(a.id, b.id),
  busy: (a, b) => b.waiters.count - a.waiters.count || b.utilization - a.utilization || compare(a.id, b.id),
  name: (a, b) => compare(a.id, b.id),
};

/** Draws the table; returns what shows one pool in it, opened. */
export function pools(store, { mayOperate }) {
  const body = byId("pool-rows");
  const filter = byId("pool-filter");
  const rows = new Map();
  let limit = FIRST;
  // Rows out of sight are not drawn: a thousand would cost a tenth of a second each second.
  const sight = new IntersectionObserver(
    (seen) => { for (const each of seen) rows.get(each.target.dataset.pool)?.show(each.isIntersecting); },
    { rootMargin: "200px" },
  );

  const fitting = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const health = byId("pool-health").value;
    const fits = (pool) => {
      const text = `${pool.id} ${pool.driver} ${pool.scope.level} ${pool.scope.label ?? ""}`.toLowerCase();
      return words.every((word) => text.includes(word));
    };
    return [...store.pools.values()].filter((pool) => (!health || kindOf(pool) === health) && fits(pool)).sort(ORDERS[byId("pool-sort").value]);
  };

  const draw = (isAsked) => {
    const found = fitting();
    const shown = found.slice(0, limit);
    const keep = new Set(shown.map((pool) => pool.id));
    for (const [id, row] of rows) {
      if (!keep.has(id)) {
        row.remove(sight);
        rows.delete(id);
      }
    }
    for (const pool of shown) {
      let row = rows.get(pool.id);
      if (!row) {
        rows.set(pool.id, (row = makeRow(pool, store, mayOperate)));
        sight.observe(row.node);
      }
      row.update(pool);
    }
    // Numbers move rows by themselves; never from under a hand that is about to press.
    const isHeld = isAsked !== true && (body.matches(":hover") || body.contains(document.activeElement));
    const order = isHeld ? [...shown].sort((a, b) => rows.get(a.id).place - rows.get(b.id).place) : shown;
    order.forEach((pool, place) => { rows.get(pool.id).place = place; });
    arrange(body, order.flatMap((pool) => rows.get(pool.id).nodes()));
    setText(byId("pools-count"), found.length === store.pools.size ? plural(found.length, "pool") : `${found.length} of ${store.pools.size}`);
    byId("pools-table").hidden = !found.length;
    byId("pools-empty").hidden = found.length > 0;
    setText(byId("pools-empty"), store.pools.size ? "No pool fits." : "No pool is registered.");
    byId("pools-more").hidden = found.length <= limit;
    setText(byId("pools-all"), `Show all ${found.length}`);
  };
  const drawSoon = soon(draw);
  const drawAsked = soon(() => draw(true));

  store.addEventListener("pools", drawSoon);
  store.addEventListener("samples", () => { for (const [id, row] of rows) row.curve(store.samples.get(id)); });
  for (const id of ["pool-filter", "pool-health", "pool-sort"]) byId(id).addEventListener("input", drawAsked);
  // A few rows with each frame, so that the page answers meanwhile.
  const grow = () => {
    limit += FIRST;
    draw(true);
    if (limit < store.pools.size) requestAnimationFrame(grow);
    else limit = Infinity;
  };
  byId("pools-all").addEventListener("click", grow);
  body.addEventListener("keydown", (event) => {
    if (event.target.classList.contains("pool-name")) walk(event, [...body.querySelectorAll(".pool-name")], ["ArrowUp"], ["ArrowDown"]);
  });
  filter.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") body.querySelector(".pool-name")?.focus();
  });

  return (id) => {
    if (!fitting().some((pool) => pool.id === id)) {
      filter.value = "";
      byId("pool-health").value = "";
    }
    if (!fitting().slice(0, limit).some((pool) => pool.id === id)) filter.value = id;
    draw(true);
    rows.get(id)?.open();
  };
}

function makeRow(first, store, mayOperate) {
  let pool = first;
  const name = el("button", { type: "button", class: "pool-name", "aria-expanded": "false", onclick: () => toggle(), title: first.id }, el("span", {}, first.resource_id));
  const sub = el("div", { class: "pool-sub" });
  const badge = stateBadge("unknown");
  const because = el("div", { class: "because" });
  const state = el("td", { role: "cell", "data-label": "Callers are" });
  const bar = el("i");
  const meter = el("div", { class: "meter", role: "meter", "aria-valuemin": 0, "aria-label": `In use of ${first.id}` }, bar);
  const used = el("span");
  const curve = spark();
  const waiting = el("td", { role: "cell", class: "num", "data-label": "Waiting" });
  const p95 = el("td", { role: "cell", class: "num", "data-label": "Acquire p95" });
  const acquired = el("td", { role: "cell", class: "num", "data-label": "Acquired" });
  const failed = el("td", { role: "cell", class: "num", "data-label": "Failed" });
  const node = el(
    "tr", { role: "row", class: "pool", "data-pool": first.id },
    el("td", { role: "cell", class: "pool-cell" }, name, sub), el("td", { role: "cell", class: "health-cell" }, badge, because), state,
    el("td", { role: "cell", "data-label": "In use" }, el("div", { class: "use" }, meter, used)), el("td", { role: "cell", "data-label": "Last two minutes" }, curve.node),
    waiting, p95, acquired, failed,
  );
  let details = null;
  let shown = false;
  let drawn = "";

  const drawHealth = () => {
    const kind = kindOf(pool);
    drawn = kind;
    setText(badge, kind);
    setAttribute(badge, "data-kind", kind);
    setText(because, reasonOf(pool));
    const callers = callersOf(pool);
    setText(state, callers);
    state.classList.toggle("bad", callers === "refused");
  };
  const draw = () => {
    drawHealth();
    setText(sub, [scopeOf(pool), pool.driver, pool.required ? "required" : null].filter(Boolean).join(" · "));
    const share = pool.size.max ? pool.size.used / pool.size.max : 0;
    bar.style.width = `${Math.min(100, share * 100).toFixed(0)}%`;
    setAttribute(meter, "data-full", share >= 1);
    setAttribute(meter, "aria-valuemax", pool.size.max);
    setAttribute(meter, "aria-valuenow", Math.min(pool.size.used, pool.size.max));
    setAttribute(meter, "aria-valuetext", `${pool.size.used} of ${pool.size.max}`);
    setText(used, `${pool.size.used} of ${pool.size.max}`);
    setText(waiting, String(pool.waiters.count));
    waiting.classList.toggle("warn", pool.waiters.count > 0);
    setText(p95, seconds(pool.latency_s.acquire.p95));
    setText(acquired, count(pool.counters.acquires.ok));
    drawFailed();
    details?.update(pool);
  };
  /** What failed long ago wakes nobody: red is what failed while this page looked on. */
  const drawFailed = () => {
    const fresh = lately(pool, store.samples.get(pool.id));
    setText(failed, `${count(failures(pool))}${fresh > 0 ? ` (+${count(fresh)})` : ""}`);
    failed.classList.toggle("bad", fresh > 0);
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

  draw();
  return {
    node,
    place: Infinity, // behind those that stand already
    update: (now) => {
      pool = now;
      if (shown || details) draw();
      else if (drawn !== kindOf(pool)) drawHealth();
    },
    show: (isShown) => {
      shown = isShown;
      if (shown) {
        draw();
        curve.draw(store.samples.get(pool.id));
      }
    },
    curve: (samples) => {
      if (!shown) return;
      curve.draw(samples);
      drawFailed();
    },
    open: () => {
      if (!details) toggle();
      name.focus({ preventScroll: true });
      node.scrollIntoView({ block: "center" });
    },
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
