// The selected rows: from one row to another, whatever is on the screen. Pure.

export class RowSelection {
  #anchor = -1;
  #head = -1;
  /** The selection has changed. */
  onChange = () => {};

  get isEmpty() {
    return this.#anchor < 0;
  }

  /** The row that the selection began with, or -1. */
  get anchor() {
    return this.#anchor;
  }

  /** The row that it was last extended to, or -1. */
  get head() {
    return this.#head;
  }

  has(id) {
    const isAfter = id >= Math.min(this.#anchor, this.#head);
    return this.#anchor >= 0 && isAfter && id <= Math.max(this.#anchor, this.#head);
  }

  /** Selects the rows from `anchor` to `head`, in either order. */
  select(anchor, head) {
    if (anchor === this.#anchor && head === this.#head) return;
    this.#anchor = anchor;
    this.#head = head;
    this.onChange();
  }

  clear() {
    this.select(-1, -1);
  }

  /** Returns the ordinals of the selected rows of a view, `{ from, end }`. */
  ordinals(view) {
    if (this.isEmpty) return { from: 0, end: 0 };
    return {
      from: view.ordinalOf(Math.min(this.#anchor, this.#head)),
      end: view.ordinalOf(Math.max(this.#anchor, this.#head) + 1),
    };
  }

  /** Handles a renumbering: `moved` returns the id that a row has now. */
  replaced(moved) {
    if (this.isEmpty) return;
    this.#anchor = moved(this.#anchor);
    this.#head = moved(this.#head);
  }
}
