// Live: keeps data coming: a stream; where there is none, asking every few seconds; and says how old what is shown is.

import { address, all, get } from "./api.js";
import { span } from "./format.js";
import { read } from "./sse.js";

const POLL_MS = 4000;
const STREAM_AGAIN_MS = 30000;
const STALE_MS = 20000; // a heartbeat comes every 15 s
const DEAD_MS = 40000;
const HIDDEN_MS = 20000;

const SAID = { live: "live", stale: "silent", polling: `asking every ${POLL_MS / 1000} s`, lost: "connection lost", out: "signed out" };

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** `heard(name, data)` gets what comes; `told(state, text, at)` how the line is, and when something came last. */
export class Live {
  constructor({ heard, told, unauthenticated }) {
    this.heard = heard;
    this.told = told;
    this.unauthenticated = unauthenticated;
    this.lastId = null;
    this.lastData = null;
    this.retryMs = 3000;
    this.failures = 0;
    this.wasUnreachable = false;
    this.state = "connecting";
    this.wake = () => {};
  }

  start() {
    setInterval(() => this.look(), 1000);
    document.addEventListener("visibilitychange", () => this.visibility());
    window.addEventListener("online", () => this.wake());
    this.run();
  }

  /** A page nobody looks at gives its place (a process has 64) back. */
  visibility() {
    clearTimeout(this.hiding);
    if (document.hidden) this.hiding = setTimeout(() => { this.away = true; this.abort?.abort(); }, HIDDEN_MS);
    else if (this.away) { this.away = false; this.wake(); }
  }

  /** Says how old what is shown is; a stream from which not even heartbeats come is given up. */
  look() {
    if (this.state === "live" && Date.now() - this.lastData > DEAD_MS) this.abort.abort();
    this.say();
  }

  async run() {
    for (;;) {
      if (this.away) await new Promise((done) => { this.wake = done; });
      try {
        this.abort = new AbortController();
        await read(address("events"), this.lastId, (item) => this.item(item), this.abort.signal);
        this.failures = 0;
      } catch (error) {
        this.failures += 1;
        this.wasUnreachable = error.status === undefined;
        if (error.status === 401) {
          await this.signedOut();
          continue;
        }
      }
      if (this.away) continue;
      this.mode("lost");
      // Once may be a restart; twice in a row, and we ask instead.
      if (this.failures >= 2) await this.poll();
      else await Promise.race([sleep(this.retryMs), new Promise((done) => { this.wake = done; })]);
    }
  }

  item({ id, event, data, retry }) {
    this.lastData = Date.now();
    if (id !== undefined) this.lastId = id;
    if (retry) this.retryMs = retry;
    this.mode("live");
    if (!event) return;
    const told = JSON.parse(data);
    if (event === "bye" && told.reason === "credential") this.retryMs = 0; // there is nothing to wait for but a person
    this.heard(event, told);
  }

  async poll() {
    const until = Date.now() + STREAM_AGAIN_MS;
    while (Date.now() < until && !this.away) {
      try {
        const pools = await all("pools");
        const url = address("events");
        if (this.lastId) url.searchParams.set("last_event_id", this.lastId);
        const past = await get(url);
        this.lastId = past.last_id;
        this.lastData = Date.now();
        this.mode("polling");
        this.heard("snapshot", { pools });
        if (past.lost) this.heard("gap", { reason: "what happened in between is not told any more" });
        for (const event of past.items) this.heard(event.type, event, true);
      } catch (error) {
        if (error.status === 401) await this.signedOut();
        this.mode("lost");
      }
      await sleep(POLL_MS);
      // It was not the stream that was refused: the service was away, and is back.
      if (this.wasUnreachable && this.state === "polling") return;
    }
  }

  async signedOut() {
    this.mode("out");
    await this.unauthenticated();
    this.failures = 0;
  }

  mode(state) {
    this.state = state;
    this.say();
  }

  say() {
    const age = this.lastData === null ? null : Date.now() - this.lastData;
    const old = age === null ? "no data yet" : age < 2000 ? "just now" : `last data ${span(age / 1000)} ago`;
    const state = this.state === "live" && age > STALE_MS ? "stale" : this.state;
    this.told(state, state === "connecting" ? state : `${SAID[state]} · ${old}`, this.lastData);
  }
}
