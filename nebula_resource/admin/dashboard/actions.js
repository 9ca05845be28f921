// Actions: what an operator may do, each asked for with its reason.

import { getWithTag, post } from "./api.js";
import { ask, choice, field } from "./dialog.js";
import { el } from "./dom.js";
import { clock, plural } from "./format.js";

const path = (id) => encodeURIComponent(id);
const reasonField = (required) =>
  field(required ? "Reason (it stands in the audit)" : "Reason (optional)", {
    name: "reason", maxlength: 500, required, autofocus: true, autocomplete: "off",
  });
const given = (form, name) => (form.get(name) ?? "").toString().trim();

/** Lets a resource out of quarantine. */
export const release = (entry) =>
  ask({
    title: `Release ${entry.id}`,
    body: [
      el("p", {}, `Isolated since ${clock(entry.since)}: ${entry.detail}`),
      entry.dependents ? el("p", { class: "muted" }, `${plural(entry.dependents, "resource")} depend${entry.dependents === 1 ? "s" : ""} on it.`) : null,
      choice("mode", "probe", "Probe", "Let it out only if its health checks pass now.", true),
      choice("mode", "force", "Force", "Let it out at once; real callers find out whether it works.", false),
      reasonField(false),
    ].filter(Boolean),
    ok: "Release",
    act: (form) => {
      const body = { mode: form.get("mode") };
      if (given(form, "reason")) body.reason = given(form, "reason");
      return post(`quarantine/${path(entry.id)}/release`, body);
    },
  });

/** Keeps callers away from a resource. */
export const isolate = (pool, dependents) =>
  ask({
    title: `Quarantine ${pool.id}`,
    body: [
      el("p", {}, `Callers are refused until somebody releases it.${pool.quarantine ? " It is left alone: no more probes." : ""}`),
      dependents.length ? el("p", { class: "muted" }, `Touches ${plural(dependents.length, "dependent")}: ${dependents.join(", ")}`) : null,
      reasonField(true),
      field("Ends by itself after (seconds, optional)", { name: "expires", type: "number", min: 1, step: "any" }),
    ].filter(Boolean),
    ok: "Quarantine",
    act: (form) => {
      const body = { resource_id: pool.id, reason: given(form, "reason") };
      if (given(form, "expires")) body.expires_in = Number(given(form, "expires"));
      return post("quarantine", body);
    },
  });

/** Looks at a resource's health now. */
export const check = (pool) => {
  const body = el("div", { class: "form-row" }, el("p", { class: "muted" }, "Checking …"));
  post(`resources/${path(pool.id)}/check`, {}).then(
    ({ probe }) => body.replaceChildren(
      el("p", {}, `${probe.result}${probe.reason ? `: ${probe.reason}` : ""}`),
      el("p", { class: "muted" }, `took ${(probe.duration_s * 1000).toFixed(1)} ms`),
    ),
    (error) => body.replaceChildren(el("p", { class: "bad" }, error.message)),
  );
  return ask({ title: `Check of ${pool.id}`, body: [body] });
};

/** Moves a pool's bounds, if nobody else did meanwhile. */
export async function resize(pool) {
  const { value, tag } = await getWithTag(`pools/${path(pool.id)}`);
  return ask({
    title: `Resize ${pool.id}`,
    body: [
      field("Least instances", { name: "min", type: "number", min: 0, value: value.size.min, required: true }),
      field("Most instances", { name: "max", type: "number", min: 1, value: value.size.max, required: true }),
      reasonField(true),
    ],
    ok: "Resize",
    act: (form) =>
      post(
        `pools/${path(pool.id)}/resize`,
        { min: Number(form.get("min")), max: Number(form.get("max")), reason: given(form, "reason") },
        { "If-Match": tag },
      ),
  });
}

const VERBS = {
  drain: ["Drain", "New callers are refused; what is out may end."],
  suspend: ["Suspend", "Callers wait until the pool is resumed."],
  resume: ["Resume", "The pool serves again."],
  recycle: ["Recycle", "Every instance is replaced: idle ones now, busy ones when they come back."],
};

/** One of the verbs that need a reason only. */
export const verb = (pool, name) =>
  ask({
    title: `${VERBS[name][0]} ${pool.id}`,
    body: [el("p", {}, VERBS[name][1]), reasonField(true)],
    ok: VERBS[name][0],
    act: (form) => post(`pools/${path(pool.id)}/${name}`, { reason: given(form, "reason") }),
  });
