// Dialog: one dialog for everything that is asked before it is done.

import { byId, el, setText } from "./dom.js";

/**
 * Asks. `body` is a list of nodes; `act(form)` does it: what it throws is shown, and the dialog stays open.
 * `act` left away: there is only something to read.
 */
export function ask({ title, body, ok, act }) {
  const dialog = byId("dialog");
  const form = byId("dialog-form");
  const problem = byId("dialog-problem");
  const button = byId("dialog-ok");
  const cancel = byId("dialog-cancel");
  setText(byId("dialog-title"), title);
  byId("dialog-body").replaceChildren(...body);
  button.hidden = !act;
  setText(button, ok ?? "");
  setText(cancel, act ? "Cancel" : "Close");
  problem.hidden = true;

  return new Promise((done) => {
    const end = () => { if (dialog.open) dialog.close(); };
    form.onsubmit = async (event) => {
      event.preventDefault();
      if (!act) return end();
      button.disabled = true;
      problem.hidden = true;
      try {
        await act(new FormData(form));
        end();
      } catch (error) {
        problem.hidden = false;
        setText(problem, describe(error));
      } finally {
        button.disabled = false;
      }
    };
    cancel.onclick = end;
    dialog.onclose = () => done();
    dialog.showModal();
    (byId("dialog-body").querySelector("[autofocus]") ?? (act ? button : cancel)).focus();
  });
}

/** What went wrong, in a sentence. */
export function describe(error) {
  const problem = error.problem;
  if (!problem) return "The service cannot be reached.";
  const why = problem.health ? ` The probe says ${problem.health.result}${problem.health.reason ? `: ${problem.health.reason}` : ""}.` : "";
  const fields = (problem.errors ?? []).map((each) => `${each.pointer.slice(1)} ${each.message}`).join("; ");
  return `${problem.title}${problem.detail ? `: ${problem.detail}` : ""}.${why}${fields ? ` ${fields}.` : ""}`;
}

/** A line for a text. */
export const field = (label, attributes) => el("label", { class: "form-row" }, el("span", {}, label), el("input", attributes));

/** One of several choices. */
export const choice = (name, value, label, hint, checked) =>
  el("label", { class: "choice" }, el("input", { type: "radio", name, value, checked }), el("span", {}, label), el("small", {}, hint));
