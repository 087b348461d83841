/** Talking to the service: questions, answers as they come, and the live state. Paths are relative to the page. */

/** A refusal, as problem details (RFC 9457) say it; kind `gone` when nobody answered at all. */
export class Problem extends Error {
  constructor(document) {
    super(document.detail ?? document.title);
    this.document = document;
    this.kind = document.kind ?? "unknown";
  }

  static gone = (cause) => new Problem({ kind: "gone", title: "No answer from the service", detail: String(cause) });
}

async function asked(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : Problem.gone(error);
  }
  if (response.ok) return response;
  const document = await response.json().catch(() => ({}));
  throw new Problem({ title: `The service answered ${response.status}`, ...document });
}

export const labels = async (variant) => (await asked(`variants/${encodeURIComponent(variant)}/labels`)).json();
export const sample = async (path) => (await asked(path)).blob();

/** Asks about a photo; `onAnswer` gets each answer, the last with `final`. */
export async function classify(photo, { budget, strict, anytime }, onAnswer, signal) {
  const query = new URLSearchParams({ budget_ms: budget, mode: strict ? "strict" : "best_effort", explain: true });
  // What is no image is sent as bytes, so that the service looks at it and says what is wrong with it.
  const type = photo.type.startsWith("image/") ? photo.type : "application/octet-stream";
  const path = anytime ? "classify/anytime" : "classify";
  const response = await asked(`${path}?${query}`, {
    method: "POST", body: photo, headers: { "Content-Type": type }, signal,
  });
  if (!anytime) return onAnswer(await response.json());
  for await (const { name, data } of eventsOf(response.body)) {
    if (name === "error") throw new Problem(data);
    onAnswer(data);
  }
}

/** Server-sent events of a response to a POST, which `EventSource` cannot send. */
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (text + value).split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        const [name, data] = part.split("\n").map((line) => line.replace(/^\w+: /, ""));
        yield { name, data: JSON.parse(data) };
      }
    }
  } catch (error) {
    throw error.name === "AbortError" ? error : Problem.gone(error);
  }
}

const AGAIN_MS = 2000;

/** The live state while the page can be seen. `onState` gets each; `onAway` is told when there is none to be had. */
export function watch(onState, onAway) {
  let source = null;
  let again = 0;

  function open() {
    close();
    source = new EventSource("events");
    source.addEventListener("state", (event) => onState(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      close();
      onAway();
      again = setTimeout(open, AGAIN_MS);
    });
  }

  function close() {
    clearTimeout(again);
    source?.close();
    source = null;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  if (!document.hidden) open();
}
