// Live: keeps data coming: a stream; where there is none, asking every few seconds; and says how old what is shown is.

import { address, all, get } from "./api.js";
import { read } from "./sse.js";

const POLL_MS = 4000;
const STREAM_AGAIN_MS = 30000;
const STALE_MS = 20000; // a heartbeat comes every 15 s
const HIDDEN_MS = 20000;

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** `heard(name, data)` gets what comes; `told(state, text)` how the line is. */
export class Live {
  constructor({ heard, told, unauthenticated }) {
    this.heard = heard;
    this.told = told;
    this.unauthenticated = unauthenticated;
    this.lastId = null;
    this.lastData = null;
    this.retryMs = 3000;
    this.failures = 0;
    this.state = "connecting";
    this.wake = () => {};
  }

  start() {
    setInterval(() => this.say(), 1000);
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

  async run() {
    for (;;) {
      if (this.away) await new Promise((done) => { this.wake = done; });
      try {
        this.abort = new AbortController();
        await read(address("events"), this.lastId, (item) => this.item(item), this.abort.signal);
        this.failures = 0;
      } catch (error) {
        this.failures += 1;
        if (error.status === 401) await this.unauthenticated();
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
    if (event) this.heard(event, JSON.parse(data));
  }

  async poll() {
    const until = Date.now() + STREAM_AGAIN_MS;
    while (Date.now() < until && !this.away) {
      try {
        const [pools, quarantine] = await Promise.all([all("pools"), all("quarantine")]);
        const url = address("events");
        if (this.lastId) url.searchParams.set("last_event_id", this.lastId);
        const past = await get(url);
        this.lastId = past.last_id;
        this.lastData = Date.now();
        this.mode("polling");
        this.heard("snapshot", { pools, quarantine });
        for (const event of past.items) this.heard(event.type, event, true);
      } catch (error) {
        if (error.status === 401) await this.unauthenticated();
        this.mode("lost");
      }
      await sleep(POLL_MS);
    }
  }

  mode(state) {
    this.state = state;
    this.say();
  }

  say() {
    const age = this.lastData === null ? null : Date.now() - this.lastData;
    const seconds = age === null ? null : Math.round(age / 1000);
    const old = seconds === null ? "no data yet" : seconds < 2 ? "just now" : `last data ${seconds} s ago`;
    if (this.state === "live" && age > STALE_MS) this.told("stale", `silent · ${old}`);
    else if (this.state === "live") this.told("live", `live · ${old}`);
    else if (this.state === "polling") this.told("polling", `asking every ${POLL_MS / 1000} s · ${old}`);
    else if (this.state === "lost") this.told("lost", `connection lost · ${old}`);
    else this.told("connecting", "connecting");
  }
}
