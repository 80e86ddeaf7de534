// The lines that were chosen by a click on their number: one line, or a range in one channel. Pure.

import { GAP } from "./store.js";

export class Selection {
  #range = null;

  get isEmpty() {
    return this.#range === null;
  }

  get hasSeveral() {
    return this.#range !== null && this.#range.from !== this.#range.to;
  }

  has(channel, seq, kind) {
    const range = this.#range;
    if (range === null || kind === GAP || channel !== range.channel) return false;
    return seq >= range.from && seq <= range.to;
  }

  /** Chooses one line, `{ channel, seq }`, or none if `line` is null. */
  choose(line) {
    this.#range = line && { channel: line.channel, from: line.seq, to: line.seq };
  }

  /** Extends the range to the line. Returns false if nothing of its channel is chosen yet. */
  extendTo({ channel, seq }) {
    const range = this.#range;
    if (range?.channel !== channel) return false;
    this.#range = { channel, from: Math.min(range.from, seq), to: Math.max(range.to, seq) };
    return true;
  }

  clear() {
    this.#range = null;
  }
}
