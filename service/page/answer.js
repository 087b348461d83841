/** What was seen, and what went wrong. */

import { SIGNS, el, sign } from "./dom.js";
import { ms, percent } from "./figures.js";
import { otherNames, problemWords, shortLabel } from "./words.js";

/** In time or late, in words, sign and colour. */
export function verdict({ met, spent_ms: spent, requested_ms: requested }) {
  const words = met ? `in time: ${ms(spent)} of ${ms(requested)}` : `late: ${ms(spent)} instead of ${ms(requested)}`;
  return el("span", { class: `badge ${met ? "met" : "missed"}` }, sign(met ? SIGNS.met : SIGNS.missed), words);
}

function prediction({ label, probability }) {
  const bar = el("span", { class: "bar" });
  bar.style.setProperty("--share", probability);
  return el("li", {}, el("span", { class: "label", title: label }, shortLabel(label)), bar, el("span", { class: "figure" }, percent(probability)));
}

/** The answer to a photo. */
export function answered(answer) {
  const [first, ...others] = answer.predictions;
  const share = el("span", { class: "bar" });
  share.style.setProperty("--share", first.probability);
  return [
    ...answer.warnings.map((text) => el("p", { class: "notice" }, sign(SIGNS.warning), text)),
    el("div", { class: "first" },
      el("p", { class: "seen" }, shortLabel(first.label), el("small", {}, otherNames(first.label))),
      el("p", { class: "sure" }, percent(first.probability, 0), el("small", {}, "sure"))),
    share,
    el("p", { class: "badges" },
      verdict(answer.budget),
      el("span", { class: "badge" }, `by ${answer.members.join(" and ")}`),
      answer.final ? null : el("span", { class: "badge" }, "a better one may follow")),
    el("ol", { class: "others", start: 2, "aria-label": "Next guesses" }, ...others.map(prediction)),
  ];
}

/** What went wrong and what can be done about it. `actions` are pairs of words and what they do. */
export function failed(problem, actions) {
  const { document } = problem;
  const [title, text] = problemWords(document);
  const technical = [document.status, document.kind, document.detail].filter(Boolean).join(" · ");
  return [
    el("div", { class: "problem", role: "alert" },
      el("h3", {}, sign(SIGNS.warning), title),
      el("p", {}, text),
      el("p", { class: "buttons" }, ...actions.map(([words, act]) => el("button", { type: "button", class: "button", onclick: act }, words))),
      el("details", {}, el("summary", {}, "In the service's words"),
        el("p", {}, technical),
        document.request_id ? el("p", {}, "Request id: ", el("code", {}, document.request_id)) : null)),
  ];
}
