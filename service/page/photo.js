/** Ways for a photo to come: chosen, taken, dropped, pasted, or a sample. */

import { sample } from "./client.js";
import { byId, el } from "./dom.js";

const SAMPLES = ["orange", "ladybird", "basketball", "mountain"];

/** Calls `take` with each photo and words for it; `fail` when a sample cannot be fetched. */
export function addPhotos(take, fail) {
  for (const id of ["file", "camera"]) {
    byId(id).addEventListener("change", ({ target }) => {
      if (target.files.length) take(target.files[0], target.files[0].name);
      // The same file may be chosen again.
      target.value = "";
    });
  }
  addDropping(take);
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])][0];
    if (file) take(file, "pasted photo");
  });
  byId("samples").replaceChildren(...SAMPLES.map((name) => sampleButton(name, take, fail)));
}

function sampleButton(name, take, fail) {
  const path = `page/samples/${name}.jpg`;
  const use = () => sample(path).then((photo) => take(photo, `sample: ${name}`), fail);
  return el("button", { type: "button", class: "sample", "aria-label": `Sample: drawn ${name}`, title: name, onclick: use },
    el("img", { src: path, alt: "", width: 64, height: 64 }));
}

/** Anywhere on the page: a drop beside the frame would else leave the page for the file. */
function addDropping(take) {
  let depth = 0;
  const mark = (change) => {
    depth = Math.max(depth + change, 0);
    document.body.classList.toggle("dropping", depth > 0);
  };
  document.addEventListener("dragenter", (event) => {
    event.preventDefault();
    mark(1);
  });
  document.addEventListener("dragleave", () => mark(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(-depth);
    const [file] = event.dataTransfer.files;
    if (file) take(file, file.name);
  });
}

let shown = null;

/** Shows it in the frame. */
export function showPhoto(photo, words) {
  if (shown) URL.revokeObjectURL(shown);
  shown = URL.createObjectURL(photo);
  const preview = byId("preview");
  preview.src = shown;
  preview.alt = words;
  preview.hidden = false;
  byId("empty").hidden = true;
  byId("stage").classList.remove("broken");
  preview.onerror = () => {
    // What the browser cannot show, the service may still be asked about; it will say what is wrong.
    preview.hidden = true;
    byId("empty").hidden = false;
  };
}
