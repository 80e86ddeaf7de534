// Shows the line that the address names as soon as it has arrived.

export class LineSeeker {
  #store;
  #list;
  #line = null;
  /** The line is given up: `({ channel, seq })`. */
  onMissing = () => {};

  constructor(store, list) {
    this.#store = store;
    this.#list = list;
  }

  /** Seeks `{ channel, seq }`, or nothing if `line` is null. */
  seek(line) {
    this.#line = line;
    this.retry();
  }

  retry() {
    if (!this.#line) return;
    const id = this.#store.findSeq(this.#line.channel, this.#line.seq);
    if (id < 0) return;
    this.#line = null;
    this.#list.show(id);
  }

  giveUp() {
    if (!this.#line) return;
    const line = this.#line;
    this.#line = null;
    this.onMissing(line);
  }
}
