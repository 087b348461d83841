/** What the service is doing: the sign in the corner, the figures, the table. */

import { byId, el } from "./dom.js";
import { ms, percent } from "./figures.js";
import { WEIGHTS } from "./words.js";

const PILLS = {
  ready: ["ready", "live"],
  starting: ["waiting", "starting"],
  draining: ["away", "shutting down"],
  away: ["away", "away, trying again"],
};

export function showPill(status) {
  const [state, words] = PILLS[status];
  const pill = byId("pill");
  if (pill.dataset.state === state && byId("pill-text").textContent === words) return;
  pill.dataset.state = state;
  byId("pill-text").textContent = words;
}

function figures({ health, arrivals_per_s: arrivals, slowdown, last_minute: minute }) {
  const asked = minute.met + minute.missed + minute.refused + minute.failed;
  return [
    ["In time, last minute", asked ? percent(minute.met / asked, 0) : "–", asked ? `${minute.met} of ${asked}` : "nobody asked"],
    ["Late or refused", String(minute.missed + minute.refused + minute.failed), `${minute.missed} late, ${minute.refused} refused`],
    ["Arrivals", `${arrivals.toFixed(arrivals < 10 ? 1 : 0)}/s`, "over the last second"],
    ["Lanes at work", `${Math.min(health.running, health.lanes)} of ${health.lanes}`, `${health.waiting} waiting`],
    ["Backlog", ms(health.backlog_ms), "work for each lane"],
    ["Speed", percent(1 / slowdown, 0), "of calibration"],
  ];
}

/** Whether a budget can choose it, and if not, why. */
function buyable(row, rows) {
  if (row.routed) return "yes";
  const untrainedCount = rows.some((one) => one.routed && !one.trained);
  return row.trained || untrainedCount ? "no: another is better and quicker" : "no: untrained";
}

function tableRow(row, rows, minute) {
  const cells = [
    row.top1 === null ? "unknown" : percent(row.top1), ms(row.expected), ms(row.tail), `${row.input} px`,
    WEIGHTS[row.weights] ?? row.weights, String(minute.answers[row.name] ?? 0), buyable(row, rows),
  ];
  return el("tr", {}, el("th", { scope: "row" }, row.name), ...cells.map((cell) => el("td", {}, cell)));
}

/** With several workers, all of this is about the one that this page is connected to. */
function layout({ lanes, threads, worker, workers }) {
  const whose = workers > 1 ? `, worker ${worker} of ${workers} alone` : "";
  return `${lanes} ${lanes === 1 ? "lane" : "lanes"} of ${threads} ${threads === 1 ? "thread" : "threads"}${whose}`;
}

export function showLive(state, rows) {
  showPill(state.health.status);
  byId("layout").textContent = layout(state.health);
  byId("figures").replaceChildren(
    ...figures(state).map(([name, value, more]) => el("div", {}, el("dt", {}, name), el("dd", {}, el("strong", {}, value), el("small", {}, more)))),
  );
  byId("rows").replaceChildren(...rows.map((row) => tableRow(row, rows, state.last_minute)));
  byId("untrained").hidden = !rows.some((row) => row.routed) || rows.some((row) => row.routed && row.trained);
}
