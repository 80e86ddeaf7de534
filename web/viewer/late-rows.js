// The rows that come late: what several channels replay after a subscription or a break. They are
// held back and placed by time among the rows that are here. Knows no elements.

/** The most time that rows are held back after one channel's replay is complete. */
const MAX_HOLD_MS = 100;

/** The most rows that are held back. */
const MAX_HELD = 50_000;

export class LateRows {
  #store;
  #rows = [];
  /** The number of messages that each replaying channel still has to send. */
  #left = new Map();
  /** The time that the next row of a channel is placed at, or later. */
  #keys = new Map();
  #timer = 0;
  /** Rows were placed. */
  onPlaced = () => {};

  constructor(store) {
    this.#store = store;
  }

  /** Returns whether the rows of a channel are held back now. */
  holds(channel) {
    return this.#left.has(channel);
  }

  /** Holds back the next `messages` messages of a channel, and those that follow too soon. */
  begin(channel, messages) {
    this.#left.set(channel, messages);
  }

  /** Forgets a channel and its rows. */
  drop(channel) {
    this.#left.delete(channel);
    this.#keys.delete(channel);
    this.#rows = this.#rows.filter((row) => row.channel !== channel);
  }

  /** Takes a row that was shown at once: no later row of its channel is placed before it. */
  passed(channel, time) {
    if (!(this.#keys.get(channel) > time) && !Number.isNaN(time)) this.#keys.set(channel, time);
  }

  /** Takes rows of a channel in order. `place` places them. */
  give(channel, rows) {
    const epoch = this.#store.epochOf(channel);
    for (const row of rows) {
      this.passed(channel, row.time);
      this.#rows.push({ epoch, ...row, key: this.#keys.get(channel) ?? Number.NaN });
    }
  }

  /** Takes rows of a channel in order. They are of `messages` messages. */
  add(channel, rows, messages) {
    this.give(channel, rows);
    const left = this.#left.get(channel) - messages;
    this.#left.set(channel, left);
    if (left > 0 && this.#rows.length < MAX_HELD) return;
    for (const other of this.#left.values())
      if (other > 0 && this.#rows.length < MAX_HELD) {
        this.#timer ||= setTimeout(() => this.place(), MAX_HOLD_MS);
        return;
      }
    this.place();
  }

  /** Places the rows that are held back. */
  place() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    for (const [channel, left] of this.#left) if (left <= 0) this.#left.delete(channel);
    if (this.#rows.length === 0) return;
    const rows = withKeys(this.#rows);
    this.#rows = [];
    this.#store.merge(rows);
    this.onPlaced();
  }

  /** Places the rows that are here and expects no further ones: the connection broke. */
  end() {
    this.#left.clear();
    this.place();
  }
}

/**
 * Gives each row without a key that of the next row of its channel, or the last place, and returns
 * them in the order of their keys. Rows with the same key stay in the order of their arrival.
 */
function withKeys(rows) {
  const next = new Map();
  for (let i = rows.length - 1; i >= 0; i -= 1) {
    const row = rows[i];
    if (Number.isNaN(row.key)) row.key = next.get(row.channel) ?? Infinity;
    if (Number.isNaN(row.time) && row.key < Infinity) row.time = row.key;
    next.set(row.channel, row.key);
  }
  return rows.sort((a, b) => a.key - b.key || 0);
}
