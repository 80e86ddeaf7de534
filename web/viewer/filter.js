// Decides which lines match a filter. Pure.

import { plainText } from "./ansi.js";
import { statusText } from "./format.js";
import { GAP, LINE, STATUS } from "./store.js";

/** The most characters of a line that are searched. */
const MAX_SEARCHED = 20_000;

/** The most matches that are marked in a line. */
const MAX_MARKS = 200;

/**
 * The most rows and characters of one piece of work for a worker. A piece takes a few milliseconds.
 */
const MAX_PIECE_ROWS = 2_000;
const MAX_PIECE_CHARACTERS = 250_000;

/**
 * Returns a matcher for `text`: `{ matches(line), ranges(plain), isCostly }`, where `ranges`
 * returns `[from, to]` pairs in order.
 *
 * A regular expression is costly: it may run practically forever (`(a+)+$`) and can't be
 * interrupted. It must not run where it would block the page.
 *
 * Returns `{ error }` for an invalid regular expression, and null for an empty text.
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
    isCostly: isRegex,
    matches(line) {
      pattern.lastIndex = 0;
      return pattern.test(searchedPart(plainText(line)));
    },
    ranges(plain) {
      const found = [];
      const searched = searchedPart(plain);
      pattern.lastIndex = 0;
      for (let match; found.length < MAX_MARKS && (match = pattern.exec(searched));) {
        if (match[0] === "") pattern.lastIndex += 1;
        else found.push([match.index, match.index + match[0].length]);
      }
      return found;
    },
  };
}

function searchedPart(text) {
  return text.length > MAX_SEARCHED ? text.slice(0, MAX_SEARCHED) : text;
}

/**
 * Returns the searched text of a row, or null for a gap: a filter must not hide that lines are
 * missing.
 */
function textOf(store, id) {
  const kind = store.kind(id);
  const value = store.value(id);
  if (kind === LINE) return value;
  if (kind === GAP) return null;
  return kind === STATUS ? `${statusText(value)} ${value.name}` : value.text;
}

/** Ids in ascending order, added at the end and dropped at the front. */
class Ids {
  #ids = [];
  #head = 0;
  /** The number of ids ever dropped at the front. */
  dropped = 0;

  get length() {
    return this.#ids.length - this.#head;
  }

  at(index) {
    return this.#ids[this.#head + index];
  }

  push(id) {
    this.#ids.push(id);
  }

  /** Returns the number of ids less than `id`. */
  before(id) {
    let low = this.#head;
    let high = this.#ids.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ids[middle] < id) low = middle + 1;
      else high = middle;
    }
    return low - this.#head;
  }

  dropBefore(id) {
    const gone = this.before(id);
    this.#head += gone;
    this.dropped += gone;
    // Moving the remaining ids is linear in their number, so it is not done with every drop.
    if (this.#head > 1_024 && this.#head > this.#ids.length / 2) {
      this.#ids.splice(0, this.#head);
      this.#head = 0;
    }
  }

  cutFrom(id) {
    this.#ids.length = this.#head + this.before(id);
  }
}

/**
 * The matching rows, oldest first. They are brought up to date piece by piece: here (`advance`), or
 * in a worker (`piece` and `take`).
 *
 * As a view (`first`, `end`, `idAt(ordinal)`) with `hides`, it also contains the gaps. Gaps are not
 * counted as matches.
 */
export class Matches {
  #store;
  #matcher;
  #hides;
  #shown = new Ids();
  #found;
  #generation = 0;
  scanned;

  constructor(store, matcher, { hides }) {
    this.#store = store;
    this.#matcher = matcher;
    this.#hides = hides;
    this.#found = hides ? new Ids() : this.#shown;
    this.scanned = store.first;
  }

  get first() {
    return this.#shown.dropped;
  }

  get end() {
    return this.#shown.dropped + this.#shown.length;
  }

  get isComplete() {
    return this.scanned >= this.#store.end;
  }

  idAt(ordinal) {
    return this.#shown.at(ordinal - this.#shown.dropped);
  }

  /** Returns the ordinal of the first row at or after `id`. */
  ordinalOf(id) {
    return this.#shown.dropped + this.#shown.before(id);
  }

  /** The number of matching rows. */
  get count() {
    return this.#found.length;
  }

  /** Returns the id of match number `index`, from 0. */
  match(index) {
    return this.#found.at(index);
  }

  /** Returns the number of matches before `id`. */
  matchesBefore(id) {
    return this.#found.before(id);
  }

  /** Searches rows until `isTimeUp()` returns true. Returns whether all rows have been searched. */
  advance(isTimeUp = () => false) {
    const store = this.#store;
    this.#dropEvicted();
    for (let looked = 1; this.scanned < store.end; looked += 1) {
      const text = textOf(store, this.scanned);
      this.#add(this.scanned, text !== null && this.#matcher.matches(text));
      if (looked % 256 === 0 && isTimeUp()) break;
    }
    return this.isComplete;
  }

  /** Returns the next rows to search: `{ from, texts, generation }`. */
  piece() {
    const store = this.#store;
    this.#dropEvicted();
    const from = this.scanned;
    const texts = [];
    let characters = 0;
    for (
      let id = from;
      id < store.end && texts.length < MAX_PIECE_ROWS && characters < MAX_PIECE_CHARACTERS;
      id += 1
    ) {
      const text = textOf(store, id);
      texts.push(text);
      characters += text?.length ?? 0;
    }
    return { from, texts, generation: this.#generation };
  }

  /**
   * Takes the results of a `piece`: one truthy or falsy value for each text. Ignores them if rows
   * have been replaced in the meantime.
   */
  take({ from, generation }, isMatch) {
    if (generation !== this.#generation) return;
    for (let i = this.scanned - from; i < isMatch.length; i += 1) this.#add(from + i, isMatch[i]);
    this.#dropEvicted();
  }

  /** Searches the rows from `id` on again, because they were replaced. */
  rewind(id) {
    this.#generation += 1;
    this.#shown.cutFrom(id);
    if (this.#found !== this.#shown) this.#found.cutFrom(id);
    this.scanned = Math.min(this.scanned, id);
  }

  #add(id, isMatch) {
    this.scanned = id + 1;
    if (isMatch) this.#found.push(id);
    if (this.#found === this.#shown) return;
    if (isMatch || this.#store.kind(id) === GAP) this.#shown.push(id);
  }

  #dropEvicted() {
    const { first } = this.#store;
    this.#shown.dropBefore(first);
    if (this.#found !== this.#shown) this.#found.dropBefore(first);
    this.scanned = Math.max(this.scanned, first);
  }
}

/** All rows, as a view. */
export class AllRows {
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
