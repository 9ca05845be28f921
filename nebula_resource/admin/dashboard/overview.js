// Overview: the numbers at the top.

import { byId, el, setAttribute, setText } from "./dom.js";
import { kindOf } from "./store.js";

const TILES = [
  ["pools", "pools", () => null],
  ["healthy", "healthy", (n) => (n ? "healthy" : null)],
  ["degraded", "degraded", (n) => (n ? "degraded" : null)],
  ["unhealthy", "unhealthy", (n) => (n ? "unhealthy" : null)],
  ["quarantined", "quarantined", (n) => (n ? "quarantined" : null)],
  ["used", "instances in use", () => null],
  ["waiting", "callers waiting", (n) => (n ? "degraded" : null)],
];

export function overview(store) {
  const tiles = new Map();
  for (const [key, label] of TILES) {
    const number = el("b", {}, "0");
    tiles.set(key, { number, tile: el("div", { class: "tile" }, number, el("span", {}, label)) });
  }
  byId("tiles").append(...[...tiles.values()].map(({ tile }) => tile));

  const draw = () => {
    const counts = { pools: 0, healthy: 0, degraded: 0, unhealthy: 0, unknown: 0, quarantined: 0, used: 0, waiting: 0 };
    let most = 0;
    for (const pool of store.pools.values()) {
      counts.pools += 1;
      counts[kindOf(pool)] += 1;
      counts.used += pool.size.used;
      most += pool.size.max;
      counts.waiting += pool.waiters.count;
    }
    for (const [key, , tone] of TILES) {
      const { number, tile } = tiles.get(key);
      setText(number, key === "used" ? `${counts.used} / ${most}` : String(counts[key]));
      setAttribute(tile, "data-tone", tone(counts[key]));
    }
  };
  store.addEventListener("pools", draw);
  store.addEventListener("quarantine", draw);
}
