// The height of each row in text lines, and the positions that follow from it. Pure.
//
// Rows are added at the end and dropped at the front. Sums over blocks make it cheap to find the
// offset of a row and the row at an offset: both are linear in rows / 256.

const BLOCK = 256;

export class Heights {
  #lines;
  #sums;
  #size;
  first = 0;
  end = 0;
  total = 0;

  constructor(capacity) {
    this.#size = Math.ceil((capacity + BLOCK) / BLOCK) * BLOCK;
    this.#lines = new Uint16Array(this.#size);
    this.#sums = new Float64Array(this.#size / BLOCK);
  }

  clear(first) {
    this.first = this.end = first;
    this.total = 0;
    this.#sums.fill(0);
  }

  push(lines) {
    if (this.end - this.first >= this.#size - BLOCK) this.dropUntil(this.first + 1);
    const slot = this.end % this.#size;
    this.#lines[slot] = 0;
    this.end += 1;
    this.set(this.end - 1, lines);
  }

  dropUntil(first) {
    while (this.first < Math.min(first, this.end)) {
      this.set(this.first, 0);
      this.first += 1;
    }
  }

  at(ordinal) {
    return this.#lines[ordinal % this.#size];
  }

  set(ordinal, lines) {
    const slot = ordinal % this.#size;
    const bounded = Math.min(lines, 65_535);
    const change = bounded - this.#lines[slot];
    this.#lines[slot] = bounded;
    this.#sums[Math.floor(slot / BLOCK)] += change;
    this.total += change;
  }

  /** Returns the number of text lines above `ordinal`. */
  offsetOf(ordinal) {
    let lines = 0;
    let at = this.first;
    while (at < ordinal) {
      const blockEnd = at + BLOCK - (at % BLOCK);
      if (at % BLOCK === 0 && blockEnd <= ordinal) {
        lines += this.#sums[Math.floor((at % this.#size) / BLOCK)];
        at = blockEnd;
      } else {
        lines += this.at(at);
        at += 1;
      }
    }
    return lines;
  }

  /**
   * Returns the row that contains text line `offset`, and how many of its own lines are above it.
   */
  rowAt(offset) {
    let left = Math.max(0, offset);
    let at = this.first;
    while (at < this.end) {
      const blockEnd = at + BLOCK - (at % BLOCK);
      const isWhole = at % BLOCK === 0 && blockEnd <= this.end;
      const lines = isWhole ? this.#sums[Math.floor((at % this.#size) / BLOCK)] : this.at(at);
      if (lines > left) {
        if (!isWhole) return { ordinal: at, into: left };
        while (this.at(at) <= left) left -= this.at(at++);
        return { ordinal: at, into: left };
      }
      left -= lines;
      at = isWhole ? blockEnd : at + 1;
    }
    return { ordinal: Math.max(this.first, this.end - 1), into: 0 };
  }
}
