// The figures around the lines: their rate, how many are kept, and how many were skipped.

import { count, counted, rate } from "./format.js";

/** The least time over which a rate is measured. */
const MIN_RATE_INTERVAL_MS = 900;

export class StatusBar {
  #elements;
  #store;
  #feed;
  #measuredAt = performance.now();
  #countsThen = new Map();
  /** The lines per second of a channel were measured: `(name, perSecond)`. */
  onRate = () => {};

  constructor(elements, store, feed) {
    this.#elements = elements;
    this.#store = store;
    this.#feed = feed;
  }

  /** Draws the figures. `shown` are the channels whose rates are measured. */
  draw(shown) {
    this.#drawRate(shown);
    const { kept, skipped, lines } = this.#elements;
    const { length, capacity } = this.#store;
    kept.textContent = counted(length, "line");
    const limit = `At most ${count(capacity)} lines are kept`;
    kept.title = `${limit}; ?lines=50000 in the address sets another limit`;
    const { received, skipped: missed, before } = this.#feed;
    skipped.textContent = missed > 0 ? `${count(missed)} skipped` : "";
    skipped.className = missed > 0 ? "lossy" : "";
    Object.assign(lines.dataset, { received, skipped: missed, before, kept: length });
  }

  #drawRate(shown) {
    const now = performance.now();
    const elapsed = now - this.#measuredAt;
    if (elapsed < MIN_RATE_INTERVAL_MS) return;
    let total = 0;
    for (const name of shown) {
      const received = this.#feed.count(name);
      const perSecond = ((received - (this.#countsThen.get(name) ?? received)) * 1_000) / elapsed;
      this.#countsThen.set(name, received);
      this.onRate(name, perSecond);
      total += perSecond;
    }
    this.#measuredAt = now;
    this.#elements.rate.textContent = rate(total);
  }
}
