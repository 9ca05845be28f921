// Store: what is known: pools, the last events. It draws nothing; whoever draws asks to be told.

import { all, get } from "./api.js";

const EVENTS = 500;
const SAMPLES = 120; // two minutes at one a second
const REFRESH_MS = 250;
const AGAIN_MS = 2000;
const MANY = 12; // pools that changed at once, from which on the whole list is asked for

/** Events after which a pool is asked for again, since they tell less than it. */
const TOUCHES = /^(health|quarantine|pool|circuit|cascade|autoscale|credential)\./;

export class Store extends EventTarget {
  constructor() {
    super();
    this.pools = new Map();
    this.events = [];
    this.samples = new Map();
    this.dirty = new Set();
    this.stale = false;
    this.line = { state: "connecting", at: null };
  }

  /** How the line is, and when (milliseconds) something came over it last. */
  setLine(state, at) {
    this.line = { state, at };
    this.tell("line");
  }

  /** Takes one event of the stream. */
  hear(name, data) {
    if (name === "snapshot") return this.snapshot(data);
    if (name === "pool.stats") return this.stats(data);
    if (name === "hello") return this.tell("hello", data);
    if (name === "gap" || name === "bye") {
      this.log({ ts: new Date().toISOString(), type: name, severity: name === "gap" ? "warning" : "info", data });
      return;
    }
    this.log(data);
    if (name === "pool.registered" || name === "pool.removed") this.stale = true;
    if (TOUCHES.test(name) && data.pool) this.dirty.add(data.pool);
    if (this.dirty.size || this.stale) this.refreshSoon();
  }

  snapshot({ pools }) {
    this.setPools(pools);
    for (const pool of pools) this.sample(pool);
    this.tell("pools");
    this.tell("members");
  }

  setPools(pools) {
    const at = Date.now();
    this.pools = new Map(pools.map((pool) => [pool.id, Object.assign(pool, { at })]));
  }

  stats({ pool: id, data }) {
    const known = this.pools.get(id);
    if (!known) {
      this.stale = true;
      this.refreshSoon();
      return;
    }
    Object.assign(known, data, { at: Date.now() });
    this.tell("pools");
  }

  log(event) {
    this.events.unshift(event);
    if (this.events.length > EVENTS) this.events.length = EVENTS;
    this.tell("events", event);
  }

  /** Notes the numbers of now for the small curves, as long as there are any; called once a second. */
  sampleAll() {
    if (!["live", "polling"].includes(this.line.state)) return;
    for (const pool of this.pools.values()) this.sample(pool);
    for (const id of this.samples.keys()) if (!this.pools.has(id)) this.samples.delete(id);
    this.tell("samples");
  }

  sample(pool) {
    const samples = this.samples.get(pool.id) ?? [];
    samples.push({ used: pool.size.used, waiting: pool.waiters.count, max: pool.size.max, failed: failures(pool) });
    if (samples.length > SAMPLES) samples.shift();
    this.samples.set(pool.id, samples);
  }

  refreshSoon(after = REFRESH_MS) {
    this.timer ??= setTimeout(() => { this.timer = null; this.refresh(); }, after);
  }

  /** Asks again for what events said has changed; one at a time, or an answer that was overtaken puts the old back. */
  async refresh() {
    if (this.refreshing) return;
    this.refreshing = true;
    await this.askAgain();
    this.refreshing = false;
    if (this.dirty.size || this.stale) this.refreshSoon();
  }

  async askAgain() {
    const ids = [...this.dirty];
    const everything = this.stale;
    this.dirty.clear();
    this.stale = false;
    try {
      if (everything || ids.length > MANY) this.setPools(await all("pools"));
      else await Promise.all(ids.map((id) => this.one(id)));
    } catch (error) {
      if (error.status === 401) return; // whoever signs in gets a snapshot first
      // The line is down, or they have much to do: it is asked for again, unless a snapshot comes first.
      for (const id of ids) this.dirty.add(id);
      this.stale ||= everything;
      this.refreshSoon(AGAIN_MS);
      return;
    }
    this.tell("pools");
    if (everything) this.tell("members");
  }

  async one(id) {
    const known = this.pools.get(id)?.at;
    try {
      const pool = await get(`pools/${encodeURIComponent(id)}`);
      if (this.pools.get(id)?.at !== known) this.dirty.add(id); // numbers came meanwhile, which may be newer
      this.pools.set(id, Object.assign(pool, { at: Date.now() }));
    } catch (error) {
      if (error.status !== 404) throw error;
      this.pools.delete(id);
    }
  }

  tell(what, detail) {
    this.dispatchEvent(new CustomEvent(what, { detail }));
  }
}

/** What a pool counts as: quarantined, or its effective health. */
export const kindOf = (pool) => (pool.quarantine ? "quarantined" : pool.health.effective);

/** Acquires that came to nothing, and creates that failed, since the process began. */
export const failures = (pool) => pool.counters.acquires.timeout + pool.counters.acquires.exhausted + pool.counters.create_failures;

/** How many of them came while this page looked on, two minutes at most. */
export const lately = (pool, samples) => (samples?.length ? failures(pool) - samples[0].failed : 0);

/** Seconds that whoever waits longest has waited; numbers come only when they change, so its own clock goes on here. */
export const longestWait = (pool) =>
  pool.waiters.count ? (pool.waiters.oldest_wait_s ?? 0) + (Date.now() - pool.at) / 1000 : 0;

/** Whether it was released and is not trusted again yet. */
export const isHalfOpen = (pool) => !pool.refused.length && pool.admission.mode === "half_open";

/** What a caller meets now. */
export function callersOf(pool) {
  if (pool.refused.length) return "refused";
  if (isHalfOpen(pool)) return `let in ${pool.admission.permits} at a time`;
  return pool.state === "running" ? "served" : pool.state === "suspended" ? "held back" : pool.state;
}
