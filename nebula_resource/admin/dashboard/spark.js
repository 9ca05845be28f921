// Spark: a small curve of what was in use, and of who waited, in the last two minutes.

import { setAttribute, svg } from "./dom.js";

const WIDTH = 132;
const HEIGHT = 26;
const SAMPLES = 120;

/** A curve; draw(samples) moves it. */
export function spark() {
  const area = svg("path", { class: "spark-area" });
  const used = svg("polyline", { class: "spark" });
  const ground = svg("line", { class: "spark-ground", x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1 });
  const waiting = svg("polyline", { class: "spark-wait" });
  const node = svg(
    "svg",
    { width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" },
    ground, area, used, waiting,
  );

  const draw = (samples) => {
    if (!samples || samples.length < 2) return;
    const top = Math.max(1, ...samples.map((each) => Math.max(each.max, each.waiting)));
    const x = (place) => WIDTH - (samples.length - 1 - place) * (WIDTH / (SAMPLES - 1));
    const y = (value) => HEIGHT - 2 - (value / top) * (HEIGHT - 4);
    const line = (pick) => samples.map((each, place) => `${x(place).toFixed(1)},${y(pick(each)).toFixed(1)}`).join(" ");
    const points = line((each) => each.used);
    setAttribute(used, "points", points);
    setAttribute(area, "d", `M${x(0).toFixed(1)},${HEIGHT} L${points.replaceAll(" ", " L")} L${WIDTH},${HEIGHT} Z`);
    setAttribute(waiting, "points", samples.some((each) => each.waiting) ? line((each) => each.waiting) : "");
  };
  return { node, draw };
}
