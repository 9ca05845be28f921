// Session: who this page works for: anybody on this machine, or whoever signs in with a key.

import { get, post, remove, setCsrf } from "./api.js";
import { ask, field } from "./dialog.js";
import { byId, el, setText } from "./dom.js";

const RANK = { metrics: 1, viewer: 2, operator: 3, admin: 4 };

export class Session {
  constructor() {
    this.who = null;
    this.asking = null;
  }

  /** Learns who we are, and asks for a key where one is needed. */
  async begin() {
    try {
      this.who = await get("whoami");
    } catch (error) {
      if (error.status !== 401) throw error;
      await this.signIn();
      return;
    }
    setCsrf(this.who.csrf ?? null);
    byId("local-banner").hidden = !this.who.local;
    byId("sign-out").hidden = this.who.local;
    setText(byId("process"), [this.who.process.host, `pid ${this.who.process.pid}`, this.who.local ? null : `${this.who.name} (${this.who.role})`].filter(Boolean).join(" · "));
  }

  mayOperate = () => this.who !== null && RANK[this.who.role] >= RANK.operator;

  /** Asks for a key until one is good; one dialog for all who need it. */
  signIn() {
    this.asking ??= this.askForKey().finally(() => { this.asking = null; });
    return this.asking;
  }

  async askForKey() {
    let done = false;
    while (!done) {
      await ask({
        title: "Sign in",
        body: [
          el("p", {}, "This service asks for a key."),
          field("Key", { name: "key", type: "password", required: true, autofocus: true, autocomplete: "off" }),
        ],
        ok: "Sign in",
        act: async (form) => {
          await post("session", { key: form.get("key") });
          done = true;
        },
      });
    }
    await this.begin();
  }

  async signOut() {
    await remove("session");
    location.reload();
  }
}
