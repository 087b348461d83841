/** What people read. Names of kinds and stages are the service's; this is the one place that says them in other words. */

import { ms, percent } from "./figures.js";

export const STAGES = {
  receive: "Receive",
  queue: "Wait for a lane",
  decode: "Decode the photo",
  inference: "Run the network",
  hold: "Hold, try a better one",
  respond: "Respond",
};

/** What a stage was. An answer that bettered another one came after that one's run, which is in its waiting. */
export const stageWords = (name, { reason }) =>
  name === "queue" && ["upgrades", "cascades"].includes(reason) ? "First answer, then wait for an idle core" : STAGES[name];

const megabytes = (bytes) => `${Number((bytes / 1e6).toFixed(1))} MB`;

/** Kind of problem → heading and sentence. Others are shown in the service's own words. */
const PROBLEMS = {
  gone: () => ["The service does not answer", "It may be stopped, or starting. Your photo is still here: try again when it is back."],
  "undecodable-image": () => ["That is not a photo we can read", "The file is no image, or it is cut short or damaged. JPEG, PNG, WebP, GIF and BMP work."],
  "empty-image": () => ["That file is empty", "It has no bytes. Choose another one."],
  "unsupported-media-type": () => ["That kind of image is not supported", "JPEG, PNG, WebP, GIF and BMP work. A screenshot or an export as JPEG will do."],
  "image-too-large": ({ limit_bytes: limit }) => ["That photo is too large", `A photo may have up to ${limit ? megabytes(limit) : "a limit of bytes"}. Choose a smaller one, or export it with less quality.`],
  "too-many-pixels": () => ["That photo has too many pixels", "Scale it down first; the networks look at a few hundred pixels a side anyway."],
  "infeasible-budget": ({ smallest_feasible_budget_ms: least }) => ["The budget is too small", `No network answers this photo so quickly${least ? `; ${ms(least)} would do now` : ""}. You asked to be refused rather than answered late.`],
  "queue-full": () => ["Too busy right now", "More is waiting than can be answered in time, so the service said so at once. Try again in a moment."],
  draining: () => ["The service is shutting down", "It takes nothing new. Try again when it is back."],
  "upload-timeout": () => ["The upload took too long", "The connection may be slow. Try again, or choose a smaller photo."],
  internal: () => ["The service failed", "This is a defect. The request id below leads to its cause in the log."],
};

export function problemWords(document) {
  const words = PROBLEMS[document.kind];
  return words ? words(document) : [document.title ?? "That did not work", document.detail ?? ""];
}

export const WEIGHTS = { trained: "trained here", checkpoint: "checkpoint", untrained: "untrained" };

/** How accurate a network is, and who says so. */
export function accuracyWords(row) {
  if (row.top1 === null) return "of unknown accuracy";
  return `right ${percent(row.top1)} of the time${row.source === "architecture" ? ", as published for its architecture" : ""}`;
}

export const shortLabel = (label) => label.split(",")[0];
export const otherNames = (label) => label.split(",").slice(1).join(",").trim();

/** For who does not see the page. */
export function spoken(answer) {
  const [first] = answer.predictions;
  const { requested_ms: budget, spent_ms: spent, met } = answer.budget;
  const warning = answer.warnings.length ? ` Warning: ${answer.warnings.join("; ")}.` : "";
  return `${shortLabel(first.label)}, ${percent(first.probability, 0)}. ${answer.final ? "Answered" : "First answer"} by ${answer.decision.variant} in ${ms(spent)} of ${ms(budget)}, ${met ? "in time" : "too late"}.${warning}`;
}
