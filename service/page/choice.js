/**
 * What budgets buy, as far as a page can know: the first half of the service's rule. The other half, who else waits,
 * only the service knows, so the page speaks of what "would" come, and the answer says what did.
 */

const NEVER = new Set(["dominated", "no_quicker", "outdated", "untrained", "unknown_accuracy"]);

/** Rows of the live table: each network for a photo of 0.2 megapixels, with all lanes at work. */
export const rowsOfTable = (table) =>
  table.variants.map((row) => ({
    name: row.name,
    top1: row.rank_top1,
    source: row.rank_source,
    trained: row.trained,
    expected: row.expected_ms,
    tail: row.tail_ms,
    routed: row.routed,
    input: row.input_size_px,
    weights: row.weights.kind,
    dataset: row.accuracy.dataset,
  }));

/** What a decision saw: what each network would have cost that photo in that moment. */
export const rowsOfDecision = (decision, trained) =>
  (decision.candidates ?? []).map((row) => ({
    name: row.variant,
    top1: row.top1,
    source: row.top1_source,
    trained: trained.get(row.variant) ?? true,
    expected: row.expected_ms,
    tail: row.tail_ms,
    routed: !NEVER.has(row.verdict),
  }));

/** What was gone of the budget when the decision fell, and is kept for the response. */
export const overheadOf = (decision, budget) => Math.max(budget - decision.remaining_ms, 0);

/** The most accurate that a budget can choose and whose tail fits; null when none does. */
export function bought(rows, budget, overhead = 0) {
  const fitting = rows.filter((row) => row.routed && row.tail <= budget - overhead);
  return fitting.reduce((best, row) => (best === null || row.top1 > best.top1 ? row : best), null);
}

/** The steps: each network that some budget buys, cheapest first. */
export function front(rows) {
  const found = [];
  for (const row of rows.filter((one) => one.routed).sort((a, b) => a.tail - b.tail)) {
    if (found.length === 0 || row.top1 > found.at(-1).top1) found.push(row);
  }
  return found;
}
