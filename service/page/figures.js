/** How figures look, and the logarithmic axis that plot, slider and steps have in common. */

export const percent = (share, digits = 1) => `${(share * 100).toFixed(digits)} %`;

/** Milliseconds, with as many digits as matter. */
export function ms(value) {
  const digits = value < 10 ? (value < 1 ? 2 : 1) : 0;
  return `${Number(value.toFixed(digits)).toLocaleString("en")} ms`;
}

/** 1, 2, 5, 10 … from `least` to `most`. */
export function steps(least, most) {
  const found = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power++) {
    for (const digit of [1, 2, 5]) {
      const value = Number((digit * 10 ** power).toPrecision(3));
      if (value >= least * 0.999 && value <= most * 1.001) found.push(value);
    }
  }
  return found;
}

/** The axis: from half of what the quickest takes to more than the slowest, ending on round figures. */
export function axisOf(rows) {
  const quickest = Math.min(...rows.map((row) => row.expected));
  const slowest = Math.max(...rows.map((row) => row.tail), 200);
  const round = steps(quickest / 20, slowest * 20);
  const least = round.findLast((step) => step <= quickest * 0.7);
  const most = round.find((step) => step >= slowest * 2);
  return new Axis(least, most);
}

export class Axis {
  constructor(least, most) {
    this.least = least;
    this.most = most;
  }

  /** Milliseconds → 0 to 1. */
  share(value) {
    const share = Math.log(value / this.least) / Math.log(this.most / this.least);
    return Math.min(Math.max(share, 0), 1);
  }

  /** 0 to 1 → milliseconds, as round as a hand on a slider can mean. */
  value(share) {
    const exact = this.least * (this.most / this.least) ** share;
    return Number(exact.toPrecision(2));
  }

  holds(rows) {
    return rows.every((row) => row.tail <= this.most && row.expected >= this.least);
  }
}
