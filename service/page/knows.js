/** The list of what the networks can tell apart. */

import { labels } from "./client.js";
import { byId, el } from "./dom.js";
import { otherNames, shortLabel } from "./words.js";

const MANY = 40;
let shown = null;

function draw(query) {
  const wanted = query.trim().toLowerCase();
  const found = shown.labels.filter(({ label }) => label.toLowerCase().includes(wanted));
  byId("knows-list").replaceChildren(
    ...found.map(({ label }) => el("li", {}, shortLabel(label), otherNames(label) ? el("small", {}, otherNames(label)) : null)),
  );
}

/** Opens the list of one network. */
async function open(variant) {
  byId("knows").showModal();
  byId("knows-text").textContent = "…";
  try {
    shown = await labels(variant);
  } catch (problem) {
    byId("knows-text").textContent = problem.message;
    return;
  }
  const count = shown.labels.length;
  byId("knows-text").textContent = `${variant} tells ${count.toLocaleString("en")} classes apart. Whatever a photo shows, the answer is one of them.`;
  byId("knows-find").hidden = count <= MANY;
  byId("knows-query").value = "";
  draw("");
}

/** `variant` says whose list is wanted. */
export function addKnows(variant) {
  byId("knows-open").addEventListener("click", () => open(variant()));
  byId("knows-query").addEventListener("input", (event) => draw(event.target.value));
  byId("knows").addEventListener("click", (event) => event.target === byId("knows") && byId("knows").close());
}
