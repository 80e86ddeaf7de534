// The rows of channels that were shown before, kept for when they are shown again. Pure.

export class Parked {
  #channels = new Map();
  #rows = 0;
  #characters = 0;

  /** Keeps what is known of a channel, `state`, and its rows. */
  add(name, state, rows) {
    const characters = rows.reduce((sum, { value }) => sum + (value.length ?? 0), 0);
    this.#channels.set(name, { state, rows, characters });
    this.#rows += rows.length;
    this.#characters += characters;
  }

  /** Returns and forgets `{ state, rows }` of a channel, or undefined. */
  take(name) {
    const parked = this.#channels.get(name);
    if (!parked) return undefined;
    this.#channels.delete(name);
    this.#rows -= parked.rows.length;
    this.#characters -= parked.characters;
    return parked;
  }

  /** Forgets the channels that were left longest ago, until the rest fits beside the store. */
  trim(store) {
    for (const name of this.#channels.keys()) {
      const isFitting =
        this.#rows + store.length <= store.capacity &&
        this.#characters + store.characters <= store.maxCharacters;
      if (isFitting) return;
      this.take(name);
    }
  }
}
