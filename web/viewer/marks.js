// The places that a costly matcher marks in the visible lines. A worker finds them, and they are
// cached.

/** The most texts in the cache: several screens of lines. */
const MAX_KNOWN = 600;

export class Marks {
  #searcher;
  #known = new Map();
  #wanted = new Set();
  #isAsking = false;
  #isOver = false;
  #onFound;
  #onFailed;

  constructor(searcher, onFound, onFailed) {
    this.#searcher = searcher;
    this.#onFound = onFound;
    this.#onFailed = onFailed;
  }

  /**
   * Returns the known places of a text. Requests unknown ones, and calls `onFound` when they are
   * known.
   */
  ranges(text) {
    const known = this.#known.get(text);
    if (known) return known;
    this.#wanted.add(text);
    if (!this.#isAsking && !this.#isOver) {
      this.#isAsking = true;
      // One request covers all rows of a frame.
      setTimeout(() => this.#ask());
    }
    return [];
  }

  end() {
    this.#isOver = true;
  }

  async #ask() {
    const texts = [...this.#wanted];
    this.#wanted.clear();
    try {
      if (this.#isOver) return;
      const found = await this.#searcher.ranges(texts);
      if (this.#isOver) return;
      if (this.#known.size > MAX_KNOWN) this.#known.clear();
      texts.forEach((text, i) => this.#known.set(text, found[i]));
      this.#isAsking = false;
      this.#onFound();
    } catch (error) {
      if (!this.#isOver) this.#onFailed(error);
    }
  }
}
