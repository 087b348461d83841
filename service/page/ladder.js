/** What other budgets would have bought: one button each, which takes that budget. */

import { bought } from "./choice.js";
import { el } from "./dom.js";
import { ms, percent, steps } from "./figures.js";

const MOST = 8;

function rung(budget, row, current, take) {
  const words = row ? `${ms(budget)} buys ${row.name}, ${percent(row.top1)}` : `${ms(budget)}: none in time`;
  return el("button", {
    type: "button", class: row ? "rung" : "rung none", "aria-pressed": String(budget === current), "aria-label": words,
    onclick: () => take(budget),
  }, el("span", {}, ms(budget)), el("strong", {}, row ? row.name : "–"), el("small", {}, row ? percent(row.top1) : "too little"));
}

/** Draws them anew, leaving the focus where it is. */
export function drawLadder(box, { rows, axis, overhead, budget }, take) {
  const all = steps(axis.least, axis.most);
  const shown = all.slice(-MOST);
  const focused = [...box.children].indexOf(document.activeElement);
  box.replaceChildren(...shown.map((one) => rung(one, bought(rows, one, overhead), budget, take)));
  if (focused >= 0) box.children[Math.min(focused, shown.length - 1)].focus();
}
