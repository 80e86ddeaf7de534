// Which lines match what is looked for. Pure.

import { plainText } from "./ansi.js";
import { LINE } from "./store.js";

/** Characters of a line that are looked at. */
const LOOKED_AT = 20_000;

/** Places in one line that are marked. */
const MOST_MARKS = 200;

/**
 * What finds `text`: `{ matches(line), ranges(plain) }`, where `ranges` are `[from, to]` pairs in order.
 *
 * Returns `{ error }` for a regular expression that is none, and null for an empty text.
 */
export function makeMatcher({ text, isRegex = false, isCaseSensitive = false }) {
  if (!text) return null;
  const source = isRegex ? text : text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const flags = isCaseSensitive ? "g" : "gi";
  let pattern;
  try {
    pattern = new RegExp(source, flags);
  } catch (error) {
    return { error: String(error.message).replace(/^Invalid regular expression: /, "") };
  }
  return {
    matches(line) {
      pattern.lastIndex = 0;
      return pattern.test(lookedAt(plainText(line)));
    },
    ranges(plain) {
      const found = [];
      const searched = lookedAt(plain);
      pattern.lastIndex = 0;
      for (let match; found.length < MOST_MARKS && (match = pattern.exec(searched)); ) {
        if (match[0] === "") pattern.lastIndex += 1;
        else found.push([match.index, match.index + match[0].length]);
      }
      return found;
    },
  };
}

function lookedAt(text) {
  return text.length > LOOKED_AT ? text.slice(0, LOOKED_AT) : text;
}

/**
 * The ids of the rows that match, oldest first, kept up to date a slice at a time. Rows that are no lines (gaps, statuses) are
 * among them when `hides`: a filter must not hide that something is missing.
 *
 * Has the shape of a view: `first`, `end`, `idAt(ordinal)`.
 */
export class Matches {
  #store;
  #matcher;
  #ids = [];
  #dropped = 0;
  #hides;
  scanned;

  constructor(store, matcher, { hides }) {
    this.#store = store;
    this.#matcher = matcher;
    this.#hides = hides;
    this.scanned = store.first;
  }

  get first() {
    return this.#dropped;
  }

  get end() {
    return this.#dropped + this.#ids.length;
  }

  get isComplete() {
    return this.scanned >= this.#store.end;
  }

  idAt(ordinal) {
    return this.#ids[ordinal - this.#dropped];
  }

  /** The ordinal of the first match at or after `id`. */
  ordinalOf(id) {
    let low = 0;
    let high = this.#ids.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ids[middle] < id) low = middle + 1;
      else high = middle;
    }
    return this.#dropped + low;
  }

  /** Looks at rows until `isTimeUp()`; true when all have been looked at. */
  advance(isTimeUp = () => false) {
    const store = this.#store;
    this.#dropEvicted();
    this.scanned = Math.max(this.scanned, store.first);
    for (let looked = 1; this.scanned < store.end; this.scanned += 1, looked += 1) {
      const id = this.scanned;
      const isMatch = store.kind(id) === LINE ? this.#matcher.matches(store.value(id)) : this.#hides;
      if (isMatch) this.#ids.push(id);
      if (looked % 256 === 0 && isTimeUp()) {
        this.scanned += 1;
        break;
      }
    }
    return this.isComplete;
  }

  /** Looks again at all from `id` on: rows there were replaced. */
  rewind(id) {
    this.#ids.length = this.ordinalOf(id) - this.#dropped;
    this.scanned = Math.min(this.scanned, id);
  }

  #dropEvicted() {
    const first = this.#store.first;
    let gone = 0;
    while (gone < this.#ids.length && this.#ids[gone] < first) gone += 1;
    if (gone === 0) return;
    this.#ids.splice(0, gone);
    this.#dropped += gone;
  }
}

/** All rows, as a view. */
export class Everything {
  #store;

  constructor(store) {
    this.#store = store;
  }

  get first() {
    return this.#store.first;
  }

  get end() {
    return this.#store.end;
  }

  idAt(ordinal) {
    return ordinal;
  }

  ordinalOf(id) {
    return Math.min(Math.max(id, this.#store.first), this.#store.end);
  }
}
