// Graph: who needs whom, in layers: what needs nothing stands at the bottom. Of many the part that matters is drawn.

import { get } from "./api.js";
import { byId, el, setAttribute, setText, soon, svg, walk } from "./dom.js";
import { plural } from "./format.js";
import { kindOf } from "./store.js";

const GAP_X = 22;
const GAP_Y = 44;
const LINE_Y = 12; // between the lines of one layer
const HEIGHT = 34;
const WIDEST = 260;
const EDGE = 12;
const FEW = 24; // so many are drawn one by one
const ALIKE = 5; // of more than a few, so many of one layer and one state; the rest of them stands in one box
const REACH = 3; // steps from the one that is asked for
const AGAIN_MS = 400;
const MARKS = { healthy: "✓", degraded: "!", unhealthy: "✕", unknown: "?", quarantined: "⊘", missing: "?" };
const GRAVITY = ["quarantined", "unhealthy", "missing", "degraded"];

export function graph(store, show) {
  const place = byId("graph");
  const focus = byId("graph-focus");
  let known = { nodes: [], edges: [] };
  let drawn = "";
  let timer = null;

  const ask = async () => {
    timer = null;
    try {
      known = await get("dependencies");
    } catch {
      return; // the line is down; the next snapshot asks again
    }
    const linked = new Set(known.edges.flatMap((edge) => [edge.from, edge.to]));
    known.nodes = known.nodes.filter((node) => linked.has(node.id));
    byId("graph-names").replaceChildren(...known.nodes.map((node) => el("option", { value: node.id })));
    draw();
  };
  const draw = () => {
    for (const node of known.nodes) node.kind = node.missing ? "missing" : kindNow(store, node);
    const wanted = known.nodes.find((node) => node.id === focus.value.trim());
    const chosen = bundle(choose(known, wanted));
    const width = Math.max(280, place.clientWidth - 2 * EDGE);
    const look = JSON.stringify([store.pools.size > 0, width, wanted?.id, known.edges.length, known.nodes.length, chosen.map((node) => [node.id, node.kind])]);
    if (look === drawn) return;
    drawn = look;
    paint(place, chosen, known.edges, width, store.pools.size);
    for (const node of place.querySelectorAll("[data-id]")) {
      node.addEventListener("click", () => pick(node.dataset.id));
      node.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(node.dataset.id); }
        else walk(event, [...place.querySelectorAll("[data-id]")], ["ArrowLeft", "ArrowUp"], ["ArrowRight", "ArrowDown"]);
      });
    }
    tellRest(known, chosen, wanted);
  };
  const pick = (id) => { if (store.pools.has(id)) show(id); };

  store.addEventListener("members", () => { timer ??= setTimeout(ask, AGAIN_MS); });
  store.addEventListener("pools", soon(draw));
  focus.addEventListener("input", draw);
  new ResizeObserver(soon(draw)).observe(place);
}

const kindNow = (store, node) => (store.pools.has(node.id) ? kindOf(store.pools.get(node.id)) : node.quarantined ? "quarantined" : node.effective);

// ── which ──

/** All of them while they are few; else what surrounds the wanted one, or what is ill, the gravest and nearest first. */
function choose({ nodes, edges }, wanted) {
  if (nodes.length <= FEW && !wanted) return nodes;
  const byIds = new Map(nodes.map((node) => [node.id, node]));
  const beside = new Map(nodes.map((node) => [node.id, []]));
  for (const { from, to } of edges) {
    beside.get(from).push(to);
    beside.get(to).push(from);
  }
  const ill = nodes.filter((node) => GRAVITY.includes(node.kind)).sort((a, b) => GRAVITY.indexOf(a.kind) - GRAVITY.indexOf(b.kind));
  if (!wanted && !ill.length) return nodes;
  const far = new Map((wanted ? [wanted] : ill).map((node) => [node.id, 0]));
  for (const [id, steps] of far) {
    if (steps === (wanted ? REACH : 1)) continue;
    for (const next of beside.get(id)) if (!far.has(next)) far.set(next, steps + 1);
  }
  return [...far.keys()].map((id) => byIds.get(id));
}

/** Of many only some of each kind; a box says how many stand behind it. */
function bundle(nodes) {
  if (nodes.length <= FEW) return nodes;
  const groups = new Map();
  for (const node of nodes) {
    const name = `${node.level} ${node.kind}`;
    groups.set(name, [...(groups.get(name) ?? []), node]);
  }
  return [...groups.values()].flatMap((group) => {
    if (group.length <= ALIKE + 1) return group;
    const { level, kind } = group[0];
    const more = group.length - ALIKE;
    return [...group.slice(0, ALIKE), { id: `and ${more} more`, level, kind, more }];
  });
}

/** How many are left out, and of what kind. */
function tellRest({ nodes }, chosen, wanted) {
  const note = byId("graph-note");
  const isDrawn = new Set(chosen.filter((node) => !node.more));
  const rest = nodes.filter((node) => !isDrawn.has(node));
  note.hidden = !rest.length;
  const ill = rest.filter((node) => GRAVITY.includes(node.kind)).length;
  const isIll = chosen.some((node) => GRAVITY.includes(node.kind));
  const what = wanted ? `what surrounds ${wanted.id}` : isIll ? "what is ill and its neighbours" : "some of each layer";
  setText(note, `${plural(isDrawn.size, "resource")} drawn: ${what}. ${rest.length} of ${nodes.length} left out, ${ill ? `${ill} of them ill` : "none of them ill"}.`);
}

// ── where ──

/** A bundle has no id of its own: two may hold equally many. */
const keyOf = (node) => (node.more ? node : node.id);

/** A place for each: layers by level, each in as many lines as it needs, ordered by what stands below. */
function layout(nodes, edges, width) {
  const layers = new Map();
  for (const node of nodes) layers.set(node.level, [...(layers.get(node.level) ?? []), node]);
  const needs = new Map(nodes.map((node) => [node.id, []]));
  for (const { from, to } of edges) needs.get(from)?.push(to); // not of those in a bundle
  const at = new Map();
  const lines = []; // from the bottom up
  for (const level of [...layers.keys()].sort((a, b) => a - b)) {
    const middle = (node) => {
      const below = (needs.get(node.id) ?? []).map((id) => at.get(id)).filter(Boolean);
      if (node.more) return Infinity;
      return below.length ? below.reduce((sum, box) => sum + box.x + box.width / 2, 0) / below.length : 0;
    };
    const layer = layers.get(level).map((node) => ({ node, middle: middle(node) })).sort((a, b) => (a.middle === b.middle ? 0 : a.middle - b.middle));
    let first = true;
    for (const line of fold(layer.map(({ node }) => node), width)) {
      const long = line.reduce((sum, node) => sum + widthOf(node.id) + GAP_X, -GAP_X);
      let x = EDGE + Math.max(0, (width - long) / 2);
      for (const node of line) {
        at.set(keyOf(node), { x, line: lines.length, width: widthOf(node.id) });
        x += widthOf(node.id) + GAP_X;
      }
      lines.push(first ? GAP_Y : LINE_Y);
      first = false;
    }
  }
  let y = EDGE;
  const tops = [];
  for (let line = lines.length - 1; line >= 0; line -= 1) {
    tops[line] = y;
    y += HEIGHT + lines[line];
  }
  for (const box of at.values()) box.y = tops[box.line];
  return { at, height: tops[0] + HEIGHT + EDGE };
}

/** One layer in lines that are no wider than the place. */
function fold(layer, width) {
  const lines = [[]];
  let long = 0;
  for (const node of layer) {
    const own = widthOf(node.id) + GAP_X;
    if (long && long + own - GAP_X > width) {
      lines.push([]);
      long = 0;
    }
    lines.at(-1).push(node);
    long += own;
  }
  return lines;
}

const ruler = document.createElement("canvas").getContext("2d");
const measured = new Map();

/** Pixels of a label, as the page's own font has them. */
function widthOf(id) {
  if (!measured.has(id)) {
    ruler.font = `12.5px ${getComputedStyle(document.body).fontFamily}`;
    measured.set(id, Math.min(WIDEST, Math.max(76, Math.ceil(ruler.measureText(id).width) + 42)));
  }
  return measured.get(id);
}

// ── how ──

function paint(place, nodes, edges, width, total) {
  if (!nodes.length) {
    place.replaceChildren(el("p", { class: "muted" }, total ? "No resource needs another." : "Nothing is registered."));
    return;
  }
  const focused = document.activeElement?.dataset?.id;
  const { at, height } = layout(nodes, edges, width);
  const wide = Math.max(width, ...[...at.values()].map((box) => box.x + box.width)) + EDGE;
  const inside = edges.filter((edge) => at.has(edge.from) && at.has(edge.to));
  const needs = (id) => inside.filter((edge) => edge.from === id).map((edge) => edge.to);
  place.replaceChildren(
    svg("svg", { width: wide, height, viewBox: `0 0 ${wide} ${height}` },
      svg("defs", {}, svg("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
        svg("path", { class: "arrow", d: "M0,0 L8,4 L0,8 Z" }))),
      ...inside.map((edge) => line(at.get(edge.from), at.get(edge.to))),
      ...nodes.map((node, number) => box(node, at.get(keyOf(node)), needs(node.id), number === 0))),
  );
  if (focused) [...place.querySelectorAll("[data-id]")].find((node) => node.dataset.id === focused)?.focus();
  setAttribute(place, "aria-label", `Who needs whom: ${plural(nodes.filter((node) => !node.more).length, "resource")}, ${plural(inside.length, "need")}`);
}

function line(from, to) {
  const x1 = from.x + from.width / 2;
  const y1 = from.y + HEIGHT;
  const x2 = to.x + to.width / 2;
  const y2 = to.y - 2;
  const bend = Math.max(18, (y2 - y1) / 2);
  return svg("path", { class: "edge", d: `M${x1},${y1} C${x1},${y1 + bend} ${x2},${y2 - bend} ${x2},${y2}`, "marker-end": "url(#tip)" });
}

function box(node, { x, y, width }, needs, isFirst) {
  const room = width - 40;
  const label = svg("text", { x: x + 28, y: y + 22 }, fit(node.id, room));
  const said = node.more ? `${node.more} more that are ${node.kind}` : `${node.id}: ${node.kind}${needs.length ? `, needs ${needs.join(", ")}` : ""}`;
  const part = node.more
    ? { class: "node more", "data-kind": node.kind, role: "img", "aria-label": said }
    : { class: "node", "data-kind": node.kind, "data-id": node.id, role: "button", tabindex: isFirst ? 0 : -1, "aria-label": said };
  return svg("g", part,
    svg("title", {}, said),
    svg("rect", { x, y, width, height: HEIGHT, rx: 9 }),
    svg("text", { class: "mark", x: x + 12, y: y + 22 }, MARKS[node.kind]),
    label);
}

/** As much of a text as there is room for. */
function fit(text, room) {
  if (ruler.measureText(text).width <= room) return text;
  let length = text.length;
  while (length > 1 && ruler.measureText(`${text.slice(0, length)}…`).width > room) length -= 1;
  return `${text.slice(0, length)}…`;
}
