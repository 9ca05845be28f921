// Dialog: everything that is asked before it is done; one may stand on another.

import { el, goHome, setText } from "./dom.js";

let number = 0;

/**
 * Asks. `body` is a list of nodes; `act(form)` does it: what it throws is shown, and the dialog stays open with all that
 * was typed. `act` left away: there is only something to read. Resolves to whether it was done.
 */
export function ask({ title, body, ok, act }) {
  const heading = el("h2", { id: `dialog-${(number += 1)}` }, title);
  const problem = el("p", { class: "problem", role: "alert", hidden: true });
  const button = act ? el("button", { type: "submit", class: "primary" }, ok) : null;
  const cancel = el("button", { type: "button", class: "quiet" }, act ? "Cancel" : "Close");
  const form = el("form", { method: "dialog" }, heading, el("div", { class: "dialog-body" }, ...body), problem,
    el("div", { class: "dialog-buttons" }, cancel, button));
  const dialog = el("dialog", { "aria-labelledby": heading.id }, form);
  const opener = document.activeElement;
  document.body.append(dialog);

  return new Promise((told) => {
    let done = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (!act) return dialog.close();
      button.disabled = true;
      problem.hidden = true;
      try {
        await act(new FormData(form));
        done = true;
        dialog.close();
      } catch (error) {
        problem.hidden = false;
        setText(problem, describe(error));
      } finally {
        button.disabled = false;
      }
    });
    cancel.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (!opener.checkVisibility()) goHome();
      told(done);
    });
    dialog.showModal();
    (dialog.querySelector("[autofocus]") ?? button ?? cancel).focus();
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
