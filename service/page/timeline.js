/** Why this network, and where the time went: a bar as long as the budget, or as what was spent if that is more. */

import { el } from "./dom.js";
import { ms } from "./figures.js";
import { STAGES, accuracyWords, stageWords } from "./words.js";

function segment(name, share) {
  const part = el("span", { class: `part ${name}` });
  part.style.width = `${share * 100}%`;
  return part;
}

function track(timing, { requested_ms: requested, spent_ms: spent }) {
  const whole = Math.max(requested, spent);
  const bar = el("div", { class: "track", "aria-hidden": "true" });
  bar.append(...Object.keys(STAGES).filter((name) => timing[name] > 0).map((name) => segment(name, timing[name] / whole)));
  if (spent > requested) {
    const limit = el("span", { class: "limit" });
    limit.style.left = `${(requested / whole) * 100}%`;
    bar.append(limit);
  }
  return bar;
}

const unspent = ({ requested_ms: requested, spent_ms: spent }) =>
  el("div", { class: `stage-row ${spent > requested ? "over" : "left"}` },
    el("dt", {}, spent > requested ? "Over the budget" : "Left of the budget"), el("dd", {}, ms(Math.abs(requested - spent))));

/** The decision and the stages of an answer. */
export function explained(answer) {
  const { decision, timing_ms: timing, budget, image } = answer;
  const row = { top1: decision.expected_top1, source: decision.expected_top1_source };
  const stages = Object.keys(STAGES).filter((name) => timing[name] > 0 || name !== "hold");
  return [
    el("p", { class: "why" }, el("strong", {}, decision.variant), `, ${accuracyWords(row)}. `, el("span", {}, `Why: ${decision.why}.`)),
    track(timing, budget),
    el("dl", { class: "stages" },
      ...stages.map((name) => el("div", { class: `stage-row ${name}` }, el("dt", {}, stageWords(name, decision)), el("dd", {}, ms(timing[name])))),
      unspent(budget)),
    el("p", { class: "quiet" }, `${image.format}, ${image.width_px} × ${image.height_px} pixels, ${Math.ceil(image.bytes / 1000)} kB`),
  ];
}
