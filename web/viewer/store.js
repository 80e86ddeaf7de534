// The kept rows: a ring, bounded in rows and in characters. Pure.
//
// Row ids are consecutive. `first` is the oldest, and `end` is one after the newest. Whatever
// renumbers rows calls `onReplace(id, moved)`: rows from `id` on were replaced, and `moved` returns
// the id that a row has now.

export const LINE = 0;
export const GAP = 1;
export const STATUS = 2;
export const NOTICE = 3;

/** The flags of a row. The list sets the first two. */
export const UNFOLDED = 1;
export const WHOLE = 2;
/** The process wrote the line to standard error. */
export const STDERR = 4;

export class Store {
  #capacity;
  #maxCharacters;
  #characters = 0;
  #values;
  #kinds;
  #flags;
  /** The index of the channel and numbering of each row. */
  #origins;
  #seqs;
  #times;
  #known = [];
  #indexOf = new Map();
  #lastOrigin = -1;
  /** The present numbering of each channel. */
  #epochs = new Map();
  first = 0;
  end = 0;
  /** True if a row had to go because the store was full. */
  hasEvicted = false;
  onReplace = () => {};

  /** `maxCharacters` counts UTF-16 units. Each kept unit takes one or two bytes. */
  constructor({ capacity = 200_000, maxCharacters = 100_000_000 } = {}) {
    this.#capacity = capacity;
    this.#maxCharacters = maxCharacters;
    this.#values = new Array(capacity);
    this.#kinds = new Uint8Array(capacity);
    this.#flags = new Uint8Array(capacity);
    this.#origins = new Uint32Array(capacity);
    this.#seqs = new Float64Array(capacity);
    this.#times = new Float64Array(capacity);
  }

  get capacity() {
    return this.#capacity;
  }

  get length() {
    return this.end - this.first;
  }

  get characters() {
    return this.#characters;
  }

  get maxCharacters() {
    return this.#maxCharacters;
  }

  /** Returns the number of the first message at or after row `id`, or NaN. */
  firstSeq(id) {
    for (let at = id; at < this.end; at += 1) if (this.seq(at) > 0) return this.seq(at);
    return Number.NaN;
  }

  /**
   * Adds a row. `value` is the text of a line, or the object of any other row. `seq` and `time` (ms
   * since 1970) are NaN if unknown. `epoch` is the numbering of `seq`.
   */
  push(kind, channel, seq, time, value, flags = 0, epoch = this.epochOf(channel)) {
    if (this.length === this.#capacity) this.#evict();
    const slot = this.end % this.#capacity;
    this.#values[slot] = value;
    this.#kinds[slot] = kind;
    this.#flags[slot] = flags;
    this.#origins[slot] = this.#intern(channel, epoch);
    this.#seqs[slot] = seq;
    this.#times[slot] = time;
    this.end += 1;
    if (kind === LINE) {
      this.#characters += value.length;
      while (this.#characters > this.#maxCharacters && this.length > 1) this.#evict();
    }
  }

  has(id) {
    return id >= this.first && id < this.end;
  }

  kind(id) {
    return this.#kinds[id % this.#capacity];
  }

  value(id) {
    return this.#values[id % this.#capacity];
  }

  channel(id) {
    return this.#known[this.#origins[id % this.#capacity]].channel;
  }

  /** The name of the numbering that a row's number is of, or an empty text. */
  epoch(id) {
    return this.#known[this.#origins[id % this.#capacity]].epoch;
  }

  /** The present numbering of a channel, or an empty text. */
  epochOf(channel) {
    return this.#epochs.get(channel) ?? "";
  }

  /** Sets the numbering of the channel's rows from now on. */
  setEpoch(channel, epoch) {
    this.#epochs.set(channel, epoch ?? "");
  }

  seq(id) {
    return this.#seqs[id % this.#capacity];
  }

  time(id) {
    return this.#times[id % this.#capacity];
  }

  hasFlag(id, flag) {
    return (this.#flags[id % this.#capacity] & flag) !== 0;
  }

  toggleFlag(id, flag) {
    this.#flags[id % this.#capacity] ^= flag;
  }

  row(id) {
    const flags = this.#flags[id % this.#capacity];
    return {
      kind: this.kind(id),
      channel: this.channel(id),
      epoch: this.epoch(id),
      seq: this.seq(id),
      time: this.time(id),
      value: this.value(id),
      flags,
    };
  }

  /**
   * Returns the id of the row with this value, by identity, or -1: ids of gaps change when rows are
   * replaced. Linear in rows.
   */
  find(value) {
    for (let id = this.end - 1; id >= this.first; id -= 1) if (this.value(id) === value) return id;
    return -1;
  }

  /**
   * Returns the id of the channel's last line with number `seq`, or of the gap that contains it, or
   * -1. Without an `epoch`, it may be of any. Linear in rows.
   */
  findSeq(channel, seq, epoch = "") {
    for (let id = this.end - 1; id >= this.first; id -= 1) {
      if (this.channel(id) !== channel || (epoch && this.epoch(id) !== epoch)) continue;
      if (this.kind(id) === GAP) {
        const gap = this.value(id);
        if (gap.from <= seq && seq <= gap.to) return id;
      } else if (this.seq(id) === seq) {
        return id;
      }
    }
    return -1;
  }

  /** Replaces `removed` rows from `id` on by `rows`. Linear in the rows after them. */
  replace(id, removed, rows) {
    const change = rows.length - removed;
    const after = this.#rowsFrom(id + removed);
    this.#rebuild(id, [...rows, ...after], (old) => {
      if (old >= id + removed) return old + change;
      return Math.min(old, id + rows.length);
    });
  }

  /**
   * Inserts rows where they belong by time. `rows` are in order, and each has a `key`, the time it
   * is placed by. Of equal times the rows that are here come first or, if `isOlder`, last. Linear
   * in the rows after the first of them.
   */
  merge(rows, { isOlder = false } = {}) {
    if (rows.length === 0) return;
    const goesBefore = isOlder ? (key, time) => key <= time : (key, time) => key < time;
    let at = this.end;
    while (at > this.first && !(this.time(at - 1) <= rows[0].key)) at -= 1;
    if (isOlder) while (at > this.first && this.time(at - 1) === rows[0].key) at -= 1;
    const merged = [];
    const places = new Float64Array(this.end - at);
    let next = 0;
    for (let id = at; id < this.end; id += 1) {
      const time = this.time(id);
      while (next < rows.length && goesBefore(rows[next].key, time)) merged.push(rows[next++]);
      places[id - at] = at + merged.length;
      merged.push(this.row(id));
    }
    while (next < rows.length) merged.push(rows[next++]);
    const end = this.end;
    const added = rows.length;
    this.#rebuild(at, merged, (old) => {
      if (old < at) return old;
      return old < end ? places[old - at] : old + added;
    });
  }

  /** Removes all rows. */
  clear() {
    this.replace(this.first, this.length, []);
    this.hasEvicted = false;
  }

  /** Removes and returns the rows for which `isTaken(channel)` is true. Linear in all rows. */
  takeChannels(isTaken) {
    const { first, end } = this;
    const taken = [];
    const kept = [];
    const places = new Float64Array(end - first);
    for (let id = first; id < end; id += 1) {
      places[id - first] = first + kept.length;
      (isTaken(this.channel(id)) ? taken : kept).push(this.row(id));
    }
    if (taken.length > 0)
      this.#rebuild(first, kept, (old) => {
        if (old < first) return old;
        return old < end ? places[old - first] : old - taken.length;
      });
    if (this.length === 0) this.hasEvicted = false;
    return taken;
  }

  #rowsFrom(id) {
    const rows = [];
    for (let i = id; i < this.end; i += 1) rows.push(this.row(i));
    return rows;
  }

  #rebuild(id, rows, moved) {
    this.#cut(id);
    for (const { kind, channel, seq, time, value, flags = 0, epoch } of rows)
      this.push(kind, channel, seq, time, value, flags, epoch);
    this.onReplace(id, moved);
  }

  #cut(id) {
    for (let i = id; i < this.end; i += 1) this.#forget(i);
    this.end = id;
  }

  #evict() {
    this.hasEvicted = true;
    this.#forget(this.first);
    this.first += 1;
  }

  #forget(id) {
    const slot = id % this.#capacity;
    if (this.#kinds[slot] === LINE) this.#characters -= this.#values[slot].length;
    this.#values[slot] = undefined;
  }

  #intern(channel, epoch) {
    // Most rows are of the same channel as the one before.
    const last = this.#known[this.#lastOrigin];
    if (last?.channel === channel && last.epoch === epoch) return this.#lastOrigin;
    const key = `${channel} ${epoch}`;
    let index = this.#indexOf.get(key);
    if (index === undefined) {
      index = this.#known.push({ channel, epoch }) - 1;
      this.#indexOf.set(key, index);
    }
    this.#lastOrigin = index;
    return index;
  }
}
