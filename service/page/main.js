/** The page: one state, the events that change it, and what shows it. */

import { answered, failed } from "./answer.js";
import { bought, overheadOf, rowsOfDecision, rowsOfTable } from "./choice.js";
import { Problem, classify, watch } from "./client.js";
import { byId, el } from "./dom.js";
import { axisOf, ms } from "./figures.js";
import { addKnows } from "./knows.js";
import { drawLadder } from "./ladder.js";
import { showLive, showPill } from "./live.js";
import { addPhotos, showPhoto } from "./photo.js";
import { MARGIN, Plot } from "./plot.js";
import { explained } from "./timeline.js";
import { accuracyWords, spoken } from "./words.js";

const SETTLED_MS = 150;
/** How long the hand on the slider has to rest before the photo is asked about again. */
const STEPS = 240;

const state = {
  budget: 100,
  photo: null,
  answer: null,
  table: [],
  axis: null,
  /** `rows`, `overhead` and `waited` of a photo of 0.2 megapixels that came now … */
  any: null,
  /** … and of the photo that was answered. */
  own: null,
};
const plot = new Plot(byId("plot"));
let asking = new AbortController();
let settling = 0;

function show() {
  const figures = state.own ?? state.any;
  if (state.axis === null || figures === null) return;
  const seen = { ...figures, axis: state.axis, budget: state.budget };
  const answer = state.answer;
  plot.show({ ...seen, chosen: answer?.decision.variant, took: answer?.budget.spent_ms });
  drawLadder(byId("ladder"), seen, setBudget);
  byId("ladder-title").textContent = state.own ? "This photo would have got" : "A photo would get now";
  const row = bought(seen.rows, seen.budget, seen.overhead);
  const words = row ? `${row.name}, ${accuracyWords(row)}` : "nothing in time";
  byId("buys").textContent = `${ms(state.budget)} buys ${words}`;
  const slider = byId("slider");
  slider.setAttribute("aria-valuetext", `${ms(state.budget)}, buys ${words}`);
  if (document.activeElement !== slider) slider.value = Math.round(state.axis.share(state.budget) * STEPS);
  if (document.activeElement !== byId("budget")) byId("budget").value = state.budget;
}

function setFigure(budget) {
  state.budget = budget;
  byId("budget").value = budget;
}

function setBudget(budget) {
  setFigure(budget);
  if (state.axis) byId("slider").value = Math.round(state.axis.share(budget) * STEPS);
  changed();
}

/** The budget or the way to ask is another: show it now, and ask again once it has settled. */
function changed() {
  show();
  clearTimeout(settling);
  if (state.photo) settling = setTimeout(ask, SETTLED_MS);
}

function takePhoto(photo, words) {
  Object.assign(state, { photo, answer: null, own: null });
  showPhoto(photo, words);
  ask();
}

async function ask() {
  clearTimeout(settling);
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const anytime = document.querySelector("[name=how]:checked").value === "anytime";
  busy(true);
  let first = true;
  try {
    await classify(state.photo, { budget: state.budget, strict: byId("strict").checked, anytime }, (answer) => {
      if (signal.aborted) return;
      onAnswer(answer, first);
      first = false;
    }, signal);
  } catch (error) {
    if (signal.aborted) return;
    onProblem(error instanceof Problem ? error : Problem.gone(error));
  }
  if (!signal.aborted) busy(false);
}

function onAnswer(answer, first) {
  state.answer = answer;
  const rows = rowsOfDecision(answer.decision, trained());
  // Later answers of one question were decided when part of the budget was spent on the first.
  const { overhead, waited } = first
    ? { overhead: overheadOf(answer.decision, answer.budget.requested_ms), waited: answer.timing_ms.receive + answer.timing_ms.queue }
    : state.own;
  state.own = { rows, overhead, waited };
  byId("answer-body").replaceChildren(...answered(answer));
  byId("time-body").replaceChildren(...explained(answer));
  byId("said").textContent = spoken(answer);
  settleAxis(rows);
  show();
}

const trained = () => new Map(state.table.map((row) => [row.name, row.trained]));

function onProblem(problem) {
  Object.assign(state, { answer: null, own: null });
  const actions = [];
  const least = problem.document.smallest_feasible_budget_ms;
  if (least) actions.push([`Use ${ms(Math.ceil(least * 1.2))}`, () => setBudget(Math.ceil(least * 1.2))]);
  if (problem.kind === "infeasible-budget") actions.push(["Answer late instead", () => { byId("strict").checked = false; ask(); }]);
  if (["gone", "queue-full", "draining", "upload-timeout", "internal"].includes(problem.kind)) actions.push(["Try again", ask]);
  byId("answer-body").replaceChildren(...failed(problem, actions));
  byId("time-body").replaceChildren(el("p", { class: "quiet" }, "There was no answer, so there is nothing to explain."));
  byId("said").textContent = "";
  show();
}

function busy(on) {
  byId("answer").setAttribute("aria-busy", String(on));
  byId("progress").hidden = !on;
}

function settleAxis(rows) {
  if (state.axis === null || !state.axis.holds(rows)) state.axis = axisOf(rows);
}

function onState(live) {
  const { budget_ms: budget, decision } = live.plan;
  state.table = rowsOfTable(live.table);
  state.any = { rows: rowsOfDecision(decision, trained()), overhead: overheadOf(decision, budget), waited: 0 };
  if (state.axis === null && !state.photo) setFigure(budget);
  settleAxis(state.any.rows);
  showLive(live, state.table);
  show();
}

function addControls() {
  const slider = byId("slider");
  const box = byId("slider-box");
  box.style.setProperty("--left", `${MARGIN.left}px`);
  box.style.setProperty("--right", `${MARGIN.right}px`);
  slider.addEventListener("input", () => {
    if (state.axis === null) return;
    setFigure(state.axis.value(slider.value / STEPS));
    changed();
  });
  byId("budget").addEventListener("input", ({ target }) => {
    if (!target.checkValidity() || target.value === "") return;
    state.budget = Number(target.value);
    if (state.axis) slider.value = Math.round(state.axis.share(state.budget) * STEPS);
    changed();
  });
  for (const control of [byId("strict"), ...document.querySelectorAll("[name=how]")]) control.addEventListener("change", changed);
}

addControls();
addKnows(() => state.answer?.decision.variant ?? state.table.findLast((row) => row.routed)?.name ?? state.table[0]?.name);
addPhotos(takePhoto, onProblem);
watch(onState, () => showPill("away"));
