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

  /** The chosen lines as `{ channel, seq, to, epoch }`, or null. */
  get line() {
    const range = this.#range;
    return range && { channel: range.channel, seq: range.from, to: range.to, epoch: range.epoch };
  }

  has(channel, seq, kind, epoch) {
    const range = this.#range;
    if (range === null || kind === GAP || channel !== range.channel) return false;
    if (range.epoch && range.epoch !== epoch) return false;
    return seq >= range.from && seq <= range.to;
  }

  /** Chooses the lines of `{ channel, seq, to, epoch }`, or none if `line` is null. */
  choose(line) {
    if (line === null) this.#range = null;
    else {
      const { channel, seq, to = seq, epoch = "" } = line;
      this.#range = { channel, from: seq, to, epoch, anchor: seq };
    }
  }

  /**
   * Chooses the lines from the first chosen one to this one. Returns false if none of its channel
   * and numbering is chosen yet.
   */
  extendTo({ channel, seq, epoch = "" }) {
    const range = this.#range;
    if (range?.channel !== channel || range.epoch !== epoch) return false;
    const { anchor } = range;
    this.#range = {
      ...range,
      from: Math.min(anchor, seq),
      to: Math.max(anchor, seq),
    };
    return true;
  }

  clear() {
    this.#range = null;
  }
}
