// Illness: what of all that is known deserves to wake somebody: the roots, and under each whom it pulls down.

import { kindOf, longestWait } from "./store.js";

const PATIENCE_S = 5; // waiting longer than this at a full pool is an ailment of its own
const SEVERITY = { unhealthy: 0, quarantined: 0, degraded: 1, starved: 2 };

/**
 * Every pool that is ill by itself, the worst first: {pool, kind, entry, why, since, touches}. One that suffers only from
 * what it needs stands in `touches` of that one, since nothing that is done to it would help.
 */
export function ailments(store) {
  const ill = new Map();
  for (const pool of store.pools.values()) {
    const kind = ailmentOf(pool);
    if (kind) ill.set(pool.id, { pool, kind, entry: pool.quarantine, why: whyOf(pool, kind), since: sinceOf(pool, kind), touches: [] });
  }
  for (const pool of store.pools.values()) {
    for (const { dependency } of pool.health.because) ill.get(dependency)?.touches.push(pool.id);
  }
  return [...ill.values()]
    .filter(({ pool }) => !(isEcho(pool) && pool.health.because.some(({ dependency }) => ill.has(dependency))))
    .sort((a, b) => rank(a) - rank(b) || b.touches.length - a.touches.length || (a.since < b.since ? -1 : 1));
}

/** The word for what is wrong with a pool itself; null: nothing is. */
function ailmentOf(pool) {
  const kind = kindOf(pool);
  if (kind === "quarantined") return kind;
  if (pool.health.own === "unhealthy" || pool.health.own === "degraded") return pool.health.own;
  if (longestWait(pool) >= PATIENCE_S && pool.size.used >= pool.size.max) return "starved";
  // Imposed by something that this page cannot see (another tenant's): there is nobody else to show.
  return kind === "unhealthy" || kind === "degraded" ? kind : null;
}

/** Whether all that is wrong with it may come from what it needs. */
const isEcho = (pool) =>
  pool.health.because.length > 0 && (pool.quarantine ? pool.quarantine.reason === "cascade" : !["unhealthy", "degraded"].includes(pool.health.own));

/** What a person did on purpose comes behind what happened. */
const rank = ({ pool, kind, entry }) => (entry?.manual ? 3 : SEVERITY[kind] + (pool.required ? -0.5 : 0));

const sinceOf = (pool, kind) => {
  if (kind === "starved") return new Date(Date.now() - longestWait(pool) * 1000).toISOString();
  return pool.quarantine?.since ?? pool.health.since ?? pool.registered_at;
};

function whyOf(pool, kind) {
  if (kind === "starved") return `All ${pool.size.max} are in use, and callers wait.`;
  return reasonOf(pool);
}

/** Why a pool is not well: what a person said, what its checks found, what is imposed on it; each once. */
export function reasonOf(pool) {
  const entry = pool.quarantine;
  const found = kindOf(pool) === "healthy" || pool.health.own === "unknown" ? "" : pool.health.reason;
  const parts = entry?.manual ? [entry.detail] : [found, entry?.detail];
  for (const cause of pool.health.because) parts.push(cause.reason || `${cause.dependency} is ${cause.state}`);
  return [...new Set(parts.filter(Boolean))].join(" · ");
}
