// Store: what is known: pools, quarantine, the last events. It draws nothing; whoever draws asks to be told.

import { all, get } from "./api.js";

const EVENTS = 500;
const SAMPLES = 120; // two minutes at one a second
const REFRESH_MS = 250;
const MANY = 12; // pools that changed at once, from which on the whole list is asked for

/** Events after which a pool is asked for again, since they tell less than it. */
const TOUCHES = /^(health|quarantine|pool|circuit|cascade|autoscale|credential)\./;

export class Store extends EventTarget {
  constructor() {
    super();
    this.pools = new Map();
    this.quarantine = new Map();
    this.events = [];
    this.samples = new Map();
    this.dirty = new Set();
    this.stale = false;
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

  snapshot({ pools, quarantine }) {
    this.pools = new Map(pools.map((pool) => [pool.id, pool]));
    this.quarantine = new Map(quarantine.map((entry) => [entry.id, entry]));
    for (const pool of pools) this.sample(pool);
    this.tell("pools");
    this.tell("quarantine");
    this.tell("graph");
  }

  stats({ pool: id, data }) {
    const known = this.pools.get(id);
    if (!known) {
      this.stale = true;
      this.refreshSoon();
      return;
    }
    Object.assign(known, data);
    this.tell("pools");
  }

  log(event) {
    this.events.unshift(event);
    if (this.events.length > EVENTS) this.events.length = EVENTS;
    this.tell("events", event);
  }

  /** Notes the numbers of now for the small curves; called once a second. */
  sampleAll() {
    for (const pool of this.pools.values()) this.sample(pool);
    for (const id of this.samples.keys()) if (!this.pools.has(id)) this.samples.delete(id);
    this.tell("samples");
  }

  sample(pool) {
    const samples = this.samples.get(pool.id) ?? [];
    samples.push({ used: pool.size.used, waiting: pool.waiters.count, max: pool.size.max });
    if (samples.length > SAMPLES) samples.shift();
    this.samples.set(pool.id, samples);
  }

  refreshSoon() {
    this.timer ??= setTimeout(() => { this.timer = null; this.refresh(); }, REFRESH_MS);
  }

  /** Asks again for what events said has changed. */
  async refresh() {
    const ids = [...this.dirty];
    const everything = this.stale || ids.length > MANY;
    this.dirty.clear();
    this.stale = false;
    try {
      const quarantine = await all("quarantine");
      this.quarantine = new Map(quarantine.map((entry) => [entry.id, entry]));
      if (everything) {
        this.pools = new Map((await all("pools")).map((pool) => [pool.id, pool]));
      } else {
        await Promise.all(ids.map((id) => this.one(id)));
      }
    } catch {
      return; // the line is down: the snapshot after it says all
    }
    this.tell("pools");
    this.tell("quarantine");
    this.tell("graph");
  }

  async one(id) {
    try {
      this.pools.set(id, await get(`pools/${encodeURIComponent(id)}`));
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
