// Graph: who needs whom, in layers: what needs nothing stands at the bottom.

import { get } from "./api.js";
import { byId, el, svg } from "./dom.js";

const GAP_X = 26;
const GAP_Y = 46;
const HEIGHT = 34;
const LETTER = 7.6;
const MOST = 150;
const MARKS = { healthy: "✓", degraded: "!", unhealthy: "✕", unknown: "?", quarantined: "⊘", missing: "?" };
const AGAIN_MS = 400;

export function graph(store) {
  const place = byId("graph");
  let timer = null;
  const draw = async () => {
    timer = null;
    try {
      show(place, await get("dependencies"));
    } catch {
      return; // the line is down; the next snapshot draws it again
    }
  };
  store.addEventListener("graph", () => { timer ??= setTimeout(draw, AGAIN_MS); });
}

function show(place, { nodes, edges }) {
  const linked = new Set(edges.flatMap((edge) => [edge.from, edge.to]));
  const drawn = nodes.filter((node) => linked.has(node.id));
  if (!drawn.length) {
    place.replaceChildren(el("p", { class: "muted" }, nodes.length ? "No resource needs another." : "Nothing is registered."));
    return;
  }
  if (drawn.length > MOST) {
    place.replaceChildren(el("p", { class: "muted" }, `${drawn.length} resources need each other: too many to draw. GET /dependencies?root=… shows a part.`));
    return;
  }
  const at = layout(drawn);
  const width = Math.max(...[...at.values()].map((box) => box.x + box.width)) + 12;
  const height = Math.max(...[...at.values()].map((box) => box.y)) + HEIGHT + 12;
  place.replaceChildren(
    svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` },
      svg("defs", {}, svg("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
        svg("path", { class: "arrow", d: "M0,0 L8,4 L0,8 Z" }))),
      ...edges.map((edge) => line(at.get(edge.from), at.get(edge.to))),
      ...drawn.map((node) => box(node, at.get(node.id)))),
  );
  place.setAttribute("aria-label", edges.map((edge) => `${edge.from} needs ${edge.to}`).slice(0, 40).join("; "));
}

/** A place for each node: layers by level, each in the order of what stands below. */
function layout(nodes) {
  const layers = new Map();
  for (const node of nodes) layers.set(node.level, [...(layers.get(node.level) ?? []), node]);
  const top = Math.max(...layers.keys());
  const widths = [...layers.values()].map((layer) => layer.reduce((sum, node) => sum + widthOf(node) + GAP_X, -GAP_X));
  const widest = Math.max(...widths);
  const at = new Map();
  for (const [level, layer] of layers) {
    const own = layer.reduce((sum, node) => sum + widthOf(node) + GAP_X, -GAP_X);
    let x = 12 + (widest - own) / 2;
    for (const node of layer) {
      at.set(node.id, { x, y: 12 + (top - level) * (HEIGHT + GAP_Y), width: widthOf(node) });
      x += widthOf(node) + GAP_X;
    }
  }
  return at;
}

const widthOf = (node) => Math.min(260, Math.max(90, node.id.length * LETTER + 40));

function line(from, to) {
  const x1 = from.x + from.width / 2;
  const y1 = from.y + HEIGHT;
  const x2 = to.x + to.width / 2;
  const y2 = to.y - 2;
  const bend = Math.max(18, (y2 - y1) / 2);
  return svg("path", { class: "edge", d: `M${x1},${y1} C${x1},${y1 + bend} ${x2},${y2 - bend} ${x2},${y2}`, "marker-end": "url(#tip)" });
}

function box(node, { x, y, width }) {
  const kind = node.missing ? "missing" : node.quarantined ? "quarantined" : node.effective;
  const letters = Math.floor((width - 34) / LETTER);
  const label = node.id.length > letters ? `${node.id.slice(0, letters - 1)}…` : node.id;
  return svg("g", { class: "node", "data-kind": kind },
    svg("title", {}, `${node.id}: ${kind}${node.own !== node.effective ? ` (by itself ${node.own})` : ""}`),
    svg("rect", { x, y, width, height: HEIGHT, rx: 9 }),
    svg("text", { class: "mark", x: x + 12, y: y + 22 }, MARKS[kind]),
    svg("text", { x: x + 28, y: y + 22 }, label));
}
