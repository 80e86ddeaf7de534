// The kept rows: a ring, bounded in rows and in characters. Pure.
//
// Row ids are consecutive. `first` is the oldest, and `end` is one after the newest. `replace`
// renumbers the rows after the replaced ones and calls `onReplace`.

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
  #channels;
  #seqs;
  #times;
  #names = [];
  #indexOfName = new Map();
  first = 0;
  end = 0;
  onReplace = () => {};

  /** `maxCharacters` counts UTF-16 units. Each kept unit takes one or two bytes. */
  constructor({ capacity = 200_000, maxCharacters = 100_000_000 } = {}) {
    this.#capacity = capacity;
    this.#maxCharacters = maxCharacters;
    this.#values = new Array(capacity);
    this.#kinds = new Uint8Array(capacity);
    this.#flags = new Uint8Array(capacity);
    this.#channels = new Uint16Array(capacity);
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

  /**
   * Adds a row. `value` is the text of a line, or the object of any other row. `seq` and `time` (ms
   * since 1970) are NaN if unknown.
   */
  push(kind, channel, seq, time, value, flags = 0) {
    if (this.length === this.#capacity) this.#evict();
    const slot = this.end % this.#capacity;
    this.#values[slot] = value;
    this.#kinds[slot] = kind;
    this.#flags[slot] = flags;
    this.#channels[slot] = this.#intern(channel);
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
    return this.#names[this.#channels[id % this.#capacity]];
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
   * -1. Linear in rows.
   */
  findSeq(channel, seq) {
    for (let id = this.end - 1; id >= this.first; id -= 1) {
      if (this.channel(id) !== channel) continue;
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
    const after = [];
    for (let i = id + removed; i < this.end; i += 1) after.push(this.row(i));
    this.#cut(id);
    for (const row of rows) this.#pushRow(row);
    for (const row of after) this.#pushRow(row);
    this.onReplace(id, removed, rows.length);
  }

  /**
   * Inserts rows by their time, such as those of a channel that was opened later. Linear in all
   * rows.
   */
  merge(rows) {
    if (rows.length === 0) return;
    const before = rows[0].time;
    let at = this.end;
    while (at > this.first && !(this.time(at - 1) <= before)) at -= 1;
    const merged = [];
    let next = 0;
    for (let id = at; id < this.end; id += 1) {
      const time = this.time(id);
      while (next < rows.length && rows[next].time < time) merged.push(rows[next++]);
      merged.push(this.row(id));
    }
    while (next < rows.length) merged.push(rows[next++]);
    this.replace(at, this.end - at, merged);
  }

  /** Keeps only the rows for which `isKept(channel)` is true. Linear in all rows. */
  keepChannels(isKept) {
    const kept = [];
    for (let id = this.first; id < this.end; id += 1)
      if (isKept(this.channel(id))) kept.push(this.row(id));
    this.replace(this.first, this.length, kept);
  }

  #pushRow({ kind, channel, seq, time, value, flags = 0 }) {
    this.push(kind, channel, seq, time, value, flags);
  }

  #cut(id) {
    for (let i = id; i < this.end; i += 1) this.#forget(i);
    this.end = id;
  }

  #evict() {
    this.#forget(this.first);
    this.first += 1;
  }

  #forget(id) {
    const slot = id % this.#capacity;
    if (this.#kinds[slot] === LINE) this.#characters -= this.#values[slot].length;
    this.#values[slot] = undefined;
  }

  #intern(name) {
    let index = this.#indexOfName.get(name);
    if (index === undefined) {
      index = this.#names.push(name) - 1;
      this.#indexOfName.set(name, index);
    }
    return index;
  }
}
