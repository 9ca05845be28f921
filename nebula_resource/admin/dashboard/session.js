// Session: who this page works for: anybody on this machine, or whoever signs in with a key.

import { onSessionOver, send, setCsrf } from "./api.js";
import { ask, field } from "./dialog.js";
import { byId, el, setText } from "./dom.js";

const RANK = { metrics: 1, viewer: 2, operator: 3, admin: 4 };

export class Session {
  constructor() {
    this.who = null;
    this.asking = null;
    this.isDeclined = false; // the question was closed: only a person opens it again
    this.waiting = [];
    onSessionOver((refused, isChange) => this.renew(refused, isChange));
    byId("sign-in").addEventListener("click", () => this.signIn());
  }

  /** Learns who we are, and asks for a key where one is needed. */
  async begin() {
    try {
      await this.learn();
    } catch (error) {
      if (error.status !== 401) throw error;
      await this.present();
    }
  }

  async learn() {
    const before = this.who;
    const { value: who } = await send("GET", "whoami");
    // What is shown belongs to whoever signed in before: somebody else begins with an empty page.
    if (before && (before.name !== who.name || before.tenant !== who.tenant || before.role !== who.role)) location.reload();
    this.who = who;
    setCsrf(who.csrf ?? null);
    byId("local-banner").hidden = !who.local;
    byId("sign-out").hidden = who.local;
    byId("signed-out").hidden = true;
    setText(byId("process"), [who.process.host, `pid ${who.process.pid}`, who.local ? null : `${who.name} (${who.role})`].filter(Boolean).join(" · "));
  }

  mayOperate = () => this.who !== null && RANK[this.who.role] >= RANK.operator;

  /** After an answer that the session is over; `isChange`: a person has pressed. Returns whether to ask again. */
  async renew(refused, isChange) {
    if (refused.status === 401) return !(this.isDeclined && !isChange) && this.signIn();
    await this.learn(); // another tab has signed in since, and our token is of the session before
    return true;
  }

  /** Resolves when somebody is signed in, however late. */
  present() {
    const present = new Promise((done) => this.waiting.push(done));
    if (!this.isDeclined) this.signIn();
    return present;
  }

  /** Asks for a key; one dialog for all who need it. Returns whether it was given. */
  signIn() {
    this.asking ??= this.askForKey().finally(() => { this.asking = null; });
    return this.asking;
  }

  async askForKey() {
    const done = await ask({
      title: "Sign in",
      body: [
        el("p", {}, this.who ? "Your session has ended. Nothing here is lost: sign in and go on." : "This service asks for a key."),
        field("Key", { name: "key", type: "password", required: true, autofocus: true, autocomplete: "off" }),
      ],
      ok: "Sign in",
      act: async (form) => {
        await send("POST", "session", { key: form.get("key") });
        await this.learn();
      },
    });
    this.isDeclined = !done;
    byId("signed-out").hidden = done;
    if (done) for (const told of this.waiting.splice(0)) told();
    return done;
  }

  async signOut() {
    await send("DELETE", "session").catch((error) => { if (error.status !== 401) throw error; });
    location.reload();
  }
}
