// Dom: elements are made here, and every text that comes from outside becomes a text node.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** An HTML element; children are nodes or texts. */
export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

/** The same for SVG. */
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** Sets a text only when it differs, so that nothing is laid out again, and no selection lost, for nothing. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** The same for an attribute; null takes it away. */
export function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** Where the focus goes when what had it is gone: to the answer, with which everything begins. */
export const goHome = () => byId("verdict").focus();

/** A state as a mark and a word. */
export const stateBadge = (kind) => el("span", { class: "state", "data-kind": kind }, kind);

/** Draws with the next frame, however often it is asked to before. */
export function soon(draw) {
  let pending = false;
  return () => {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => { pending = false; draw(); });
  };
}

/** Puts nodes in this order at the end of a parent; what stands right already is not touched. */
export function arrange(parent, nodes) {
  let place = parent.firstElementChild;
  for (const node of nodes) {
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
}

/** Arrow keys go from one of these to the next; returns whether the key was one of them. */
export function walk(event, nodes, back, on) {
  const step = back.includes(event.key) ? -1 : on.includes(event.key) ? 1 : 0;
  const next = step ? nodes[nodes.indexOf(event.target) + step] : undefined;
  if (!next) return false;
  event.preventDefault();
  next.focus();
  return true;
}
