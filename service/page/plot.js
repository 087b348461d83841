/**
 * Accuracy against latency: every network a point, the steps that budgets buy a line, the budget a limit.
 *
 * Made by hand: a dozen points need no library, and this way the axis is the slider's, to the pixel.
 */

import { bought, front } from "./choice.js";
import { svg } from "./dom.js";
import { ms, percent, steps } from "./figures.js";

export const MARGIN = { left: 46, right: 18, top: 26, bottom: 24 };
const LABEL_PX = { width: 7.6, height: 15 };
/** How wide the title of accuracies is, and how wide a budget's figure may be. */
const [TITLE_PX, FIGURE_PX] = [118, 64];

/** Accuracies → the vertical axis, on whole or half steps of percent. */
function accuracies(rows) {
  const known = rows.map((row) => row.top1);
  const [least, most] = [Math.min(...known), Math.max(...known)];
  const step = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2].find((one) => (most - least) / one <= 4.5) ?? 0.25;
  const from = Math.floor((least - step * 0.35) / step) * step;
  const to = Math.ceil((most + step * 0.35) / step) * step;
  const count = Math.round((to - from) / step);
  return { from, to, ticks: Array.from({ length: count + 1 }, (_, index) => from + index * step), digits: step < 0.01 ? 1 : 0 };
}

const overlap = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

/** A place for each name near its point, where it covers as little as possible: of texts and points least of all. */
function placed(points, lines, texts, frame) {
  const marks = points.map(({ x, y }) => ({ x: x - 7, y: y - 7, width: 14, height: 14 }));
  const thin = [...lines, ...points.map(({ x, y, from }) => ({ x: from, y: y - 2, width: Math.max(x - from, 1), height: 4 }))];
  const taken = [...texts];
  return points.map(({ x, y, name }) => {
    const width = name.length * LABEL_PX.width + 2;
    const { height } = LABEL_PX;
    const places = [
      { x: x - width / 2, y: y - 10 - height }, { x: x + 10, y: y - height - 2 }, { x: x - width - 10, y: y - height - 2 },
      { x: x + 11, y: y - height / 2 }, { x: x - width / 2, y: y + 10 }, { x: x + 10, y: y + 4 }, { x: x - width - 10, y: y + 4 },
      // Where it is crowded, a row further away.
      { x: x - width / 2, y: y - 10 - 2 * height }, { x: x - width / 2, y: y + 10 + height }, { x: x - width - 11, y: y - height / 2 },
    ].map((place) => ({ ...place, width, height }));
    const covered = (place, others) => others.filter((other) => overlap(place, other)).length;
    const outside = (place) => place.x < frame.left || place.x + width > frame.right || place.y < 0 || place.y + height > frame.bottom;
    const cost = (place) => 4 * covered(place, taken) + 4 * covered(place, marks) + covered(place, thin) + (outside(place) ? 10 : 0);
    const best = places.reduce((a, b) => (cost(b) < cost(a) ? b : a));
    taken.push(best);
    return { x: best.x + width / 2, y: best.y + height - 3.5 };
  });
}

const description = (row) => `${row.name}: ${percent(row.top1)} right, usually ${ms(row.expected)}, tail ${ms(row.tail)}`;

export class Plot {
  #box;
  #view = null;

  constructor(box) {
    this.#box = box;
    new ResizeObserver(() => this.#draw()).observe(box);
  }

  /**
   * `rows`, `axis`, `budget`; `overhead`, which has to fit beside a tail, and `waited`, what of it was not only kept in
   * reserve; and of an answer `chosen` and `took`.
   */
  show(view) {
    this.#view = view;
    this.#draw();
  }

  #draw() {
    const width = Math.floor(this.#box.clientWidth);
    const height = Math.floor(this.#box.clientHeight);
    if (this.#view === null || width === 0) return;
    const { rows, axis, budget, overhead, waited, chosen, took } = this.#view;
    const known = rows.filter((row) => row.top1 !== null);
    if (known.length === 0) return;
    const vertical = accuracies(known);
    const frame = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
    const x = (value) => frame.left + axis.share(value) * (frame.right - frame.left);
    const y = (share) => frame.bottom - ((share - vertical.from) / (vertical.to - vertical.from)) * (frame.bottom - frame.top);
    const points = known.map((row) => ({ name: row.name, row, x: x(row.tail + overhead), from: x(row.expected + waited), y: y(row.top1) }));
    const steps = corners(front(known).map((row) => [x(row.tail + overhead), y(row.top1)]), frame.right);
    const wouldBe = bought(known, budget, overhead);
    this.#box.replaceChildren(
      svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": this.#summary(known, wouldBe) },
        ...axes(axis, vertical, frame, x, y),
        ...titles(frame, x(budget)).map(({ text, ...where }) => svg("text", { class: "title", ...where }, text)),
        svg("rect", { class: "beyond", x: x(budget), y: frame.top, width: Math.max(frame.right - x(budget), 0), height: frame.bottom - frame.top }),
        svg("path", { class: "front", d: `M${steps.map((corner) => corner.join(" ")).join("L")}` }),
        ...limit(budget, x(budget), frame),
        ...points.map((point) => dot(point, point.name === chosen, point.name === wouldBe?.name)),
        ...names(
          points,
          [...segments(steps), { x: x(budget) - 2, y: frame.top, width: 4, height: frame.bottom }],
          [...titles(frame, x(budget)), figure(budget, x(budget), frame)].map(covers), frame, chosen,
        ),
        ...this.#answered(known.find((row) => row.name === chosen), took, x, y)),
    );
  }

  #answered(row, took, x, y) {
    if (!row || !took) return [];
    const at = x(took);
    const height = y(row.top1);
    return [svg("path", { class: "took", d: `M${at} ${height - 6}l6 6-6 6-6-6Z` }, svg("title", {}, `this photo: ${ms(took)}`))];
  }

  #summary(rows, wouldBe) {
    const { budget } = this.#view;
    const all = rows.map(description).join("; ");
    return `Accuracy against latency. A budget of ${ms(budget)} buys ${wouldBe ? wouldBe.name : "nothing in time"}. ${all}.`;
  }
}

function axes(axis, vertical, frame, x, y) {
  const across = apart(steps(axis.least, axis.most), x);
  return [
    ...vertical.ticks.flatMap((tick) => [
      svg("line", { class: "grid", x1: frame.left, x2: frame.right, y1: y(tick), y2: y(tick) }),
      svg("text", { class: "tick", x: frame.left - 8, y: y(tick) + 4, "text-anchor": "end" }, percent(tick, vertical.digits)),
    ]),
    ...across.flatMap((tick) => [
      svg("line", { class: "grid", x1: x(tick), x2: x(tick), y1: frame.bottom, y2: frame.bottom + 4 }),
      svg("text", { class: "tick", x: x(tick), y: frame.bottom + 18, "text-anchor": "middle" }, tick.toLocaleString("en")),
    ]),
    svg("line", { class: "base", x1: frame.left, x2: frame.right, y1: frame.bottom, y2: frame.bottom }),
  ];
}

/**
 * Where the title of accuracies stands, and on which side of its line the budget's figure: apart from each other. On a
 * phone there may be no room for both unless the figure stands on the other side of its line.
 */
function sides(frame, at) {
  const [left, right] = [frame.left - 38 + TITLE_PX, frame.right - TITLE_PX];
  const [fitsLeft, fitsRight] = [at - FIGURE_PX / 2 >= left, at + FIGURE_PX / 2 <= right];
  const onRight = fitsLeft || fitsRight ? !fitsLeft : at < left;
  const edge = at > frame.right - 24 ? "end" : "middle";
  return { onRight, anchor: fitsLeft || fitsRight ? edge : onRight ? "end" : "start" };
}

function titles(frame, at) {
  const { onRight } = sides(frame, at);
  return [
    { text: "right at first guess", x: onRight ? frame.right : frame.left - 38, y: 13, "text-anchor": onRight ? "end" : "start" },
    { text: "latency in ms", x: frame.right - 4, y: frame.bottom - 7, "text-anchor": "end" },
  ];
}

/** What a text covers. */
function covers({ text, x, y, "text-anchor": anchor }) {
  const width = text.length * LABEL_PX.width;
  const left = { start: x, middle: x - width / 2, end: x - width }[anchor];
  return { x: left, y: y - 12, width, height: LABEL_PX.height };
}

/** Those whose figures do not run into each other; the last is kept. */
function apart(ticks, x) {
  const kept = [];
  for (const tick of ticks.toReversed()) {
    const room = (String(tick).length + 2.5) * LABEL_PX.width;
    if (kept.length === 0 || x(kept.at(-1)) - x(tick) >= room) kept.push(tick);
  }
  return kept;
}

/** Points, leftmost first → the corners of the steps over them, out to the right. */
const corners = (points, right) => points.flatMap(([x, y], index) => [[x, y], [points[index + 1]?.[0] ?? right, y]]);

/** Lines between corners, as what they cover. */
const segments = (steps) => steps.slice(1).map(([x, y], index) => {
  const [before, above] = steps[index];
  return { x: Math.min(before, x) - 1, y: Math.min(above, y) - 1, width: Math.abs(x - before) + 2, height: Math.abs(y - above) + 2 };
});

/** The budget's figure, at the top of its line. */
const figure = (budget, at, frame) => ({ text: ms(budget), x: at, y: frame.top - 10, "text-anchor": sides(frame, at).anchor });

function limit(budget, at, frame) {
  const { text, ...where } = figure(budget, at, frame);
  return [
    svg("line", { class: "limit", x1: at, x2: at, y1: frame.top - 4, y2: frame.bottom }),
    svg("text", { class: "limit", ...where }, text),
  ];
}

function dot({ row, x, y, from }, chosen, wouldBe) {
  const kind = ["dot", row.routed ? "" : "aside", chosen ? "chosen" : "", wouldBe ? "would-be" : ""].join(" ");
  return svg("g", { class: kind },
    svg("title", {}, description(row)),
    svg("path", { class: "whisker", d: `M${from} ${y - 4}v8M${from} ${y}H${x}` }),
    wouldBe ? svg("circle", { class: "halo", cx: x, cy: y, r: 11 }) : null,
    svg("circle", { class: "mark", cx: x, cy: y, r: chosen ? 7 : 5.5 }));
}

function names(points, lines, texts, frame, chosen) {
  const places = placed(points, lines, texts, frame);
  return points.map(({ name, row }, index) =>
    svg("text", { class: `name ${name === chosen ? "chosen" : ""} ${row.routed ? "" : "aside"}`, x: places[index].x, y: places[index].y, "text-anchor": "middle" }, name));
}
