// The find box above the lines. It hides the lines that do not match (filter), or marks the matches
// and steps through them (find).

import { AllRows, makeMatcher, Matches } from "./filter.js";
import { count } from "./format.js";
import { Marks } from "./marks.js";
import { Searcher, SearchTimeout } from "./searcher.js";

/** The time of one frame that may be spent on searching. */
const SCAN_SLICE_MS = 6;

export class Find {
  #store;
  #allRows;
  #elements;
  #matcher = null;
  #matches = null;
  #marks = null;
  #searcher = new Searcher();
  #applied = "";
  /** The matches whose search is running, or null. */
  #scanning = null;
  #foundId = -1;
  /** True while the text is no expression, and the last one is in force. */
  #isWrong = false;
  #hid = false;
  /** The user has changed the filter. */
  onInput = () => {};
  /** The filter was applied: `(view, matcher)` are the rows to list and what marks them. */
  onApply = () => {};
  /** More matches are known. */
  onProgress = () => {};
  /** The marks of the visible lines are known. */
  onMarks = () => {};
  /** The search was given up: `(text)` says why. */
  onGivenUp = () => {};
  /** The match `(id)` is to be shown. */
  onStep = () => {};

  constructor(store, elements) {
    this.#store = store;
    this.#allRows = new AllRows(store);
    this.#elements = elements;
    const { text, regex, isCase, hides, previous, next } = elements;
    text.addEventListener("input", () => this.#changed());
    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.step(event.shiftKey ? 1 : -1);
    });
    for (const flag of [regex, isCase, hides]) {
      flag.addEventListener("click", () => {
        press(flag, !isPressed(flag));
        this.#changed();
      });
    }
    previous.addEventListener("click", () => this.step(-1));
    next.addEventListener("click", () => this.step(1));
  }

  /** The filter of the find box, or null if it is empty. */
  get filter() {
    const { text, regex, isCase, hides } = this.#elements;
    if (!text.value) return null;
    return {
      text: text.value,
      isRegex: isPressed(regex),
      isCaseSensitive: isPressed(isCase),
      hides: isPressed(hides),
    };
  }

  /** Takes the filter of a link. */
  set filter(filter) {
    const { text, regex, isCase, hides } = this.#elements;
    if (text !== document.activeElement) text.value = filter?.text ?? "";
    if (filter) {
      press(regex, filter.isRegex);
      press(isCase, filter.isCaseSensitive);
      press(hides, filter.hides);
    }
    this.#apply();
  }

  /** The rows to list. */
  get view() {
    return this.isHiding ? this.#matches : this.#allRows;
  }

  get isHiding() {
    return this.#matches !== null && isPressed(this.#elements.hides);
  }

  get foundId() {
    return this.#foundId;
  }

  /** Takes the focus. Without a text, it finds instead of hiding what does not match. */
  open() {
    const { text, hides } = this.#elements;
    if (!text.value) press(hides, false);
    this.#apply();
    text.select();
  }

  /** Clears the text. Returns whether there was one. */
  clear() {
    if (!this.#elements.text.value) return false;
    this.#elements.text.value = "";
    this.#changed();
    return true;
  }

  /** The number of matching lines, or null without a filter. */
  get matchCount() {
    return this.#matches ? this.#matches.count : null;
  }

  /** True if all lines have been searched. */
  get isComplete() {
    return !this.#matches || this.#matches.isComplete;
  }

  /** Searches the new lines, a piece at a time. */
  scan() {
    const matches = this.#matches;
    if (!matches || this.#scanning === matches) return;
    this.#scanning = matches;
    if (this.#matcher.isCostly) this.#scanInWorker(matches);
    else this.#scanHere(matches);
  }

  #scanHere(matches) {
    if (this.#matches !== matches) return;
    const until = performance.now() + SCAN_SLICE_MS;
    const isComplete = matches.advance(() => performance.now() > until);
    if (this.isHiding) this.onProgress();
    if (isComplete) this.#scanning = null;
    else requestAnimationFrame(() => this.#scanHere(matches));
  }

  async #scanInWorker(matches) {
    try {
      while (!matches.isComplete) {
        const piece = matches.piece();
        const isMatch = await this.#searcher.match(piece.texts);
        if (this.#matches !== matches) return;
        matches.take(piece, isMatch);
        if (this.isHiding) this.onProgress();
      }
    } catch (error) {
      if (this.#matches === matches) this.#giveUp(error);
    } finally {
      if (this.#scanning === matches) this.#scanning = null;
    }
  }

  /** Handles the replacement of rows from `id` on. `moved` returns the id that a row has now. */
  replaced(id, moved) {
    this.#matches?.rewind(id);
    if (this.#matches && !this.#matcher.isCostly) this.#matches.advance();
    if (this.#foundId >= id) this.#foundId = moved(this.#foundId);
  }

  /**
   * Steps to the next match (1) or the previous one (-1). The first step goes to the newest match.
   */
  step(direction) {
    const matches = this.#matches;
    if (!matches || matches.count === 0) return;
    let index = matches.count - 1;
    if (this.#foundId >= 0) {
      index = matches.matchesBefore(this.#foundId) + direction;
      if (index < 0) index = matches.count - 1;
      if (index >= matches.count) index = 0;
    }
    this.#foundId = matches.match(index);
    this.onStep(this.#foundId);
    this.draw();
  }

  /** Draws the number of matches. It changes too often to be drawn with every frame. */
  draw() {
    const matches = this.#matches;
    if (!matches || this.#isWrong) return;
    const at = this.#foundId >= 0 ? matches.matchesBefore(this.#foundId) + 1 : 0;
    const text = at > 0 ? `${count(at)} of ${count(matches.count)}` : count(matches.count);
    if (this.#elements.count.textContent !== text) this.#elements.count.textContent = text;
  }

  #changed() {
    this.#apply();
    this.onInput();
  }

  #apply() {
    const { text, hides } = this.#elements;
    text.placeholder = isPressed(hides) ? "Filter lines" : "Find in lines";
    const { filter } = this;
    const key = JSON.stringify(filter);
    if (key === this.#applied) return;
    this.#applied = key;
    const matcher = filter && makeMatcher(filter);
    const error = matcher?.error;
    this.#isWrong = error !== undefined;
    if (error !== undefined && this.#matches && this.#hid === filter.hides) {
      // The expression is being typed.
      this.#showError("not a regular expression", error);
      return;
    }
    this.#hid = filter?.hides ?? false;
    this.#startSearch(error ? null : matcher, filter);
    this.#showError(error ? "not a regular expression" : "", error);
    this.onApply(this.view, this.#marking());
  }

  #startSearch(matcher, filter) {
    this.#matcher = matcher;
    this.#matches = matcher && new Matches(this.#store, matcher, { hides: filter.hides });
    this.#foundId = -1;
    this.#marks?.end();
    this.#marks = null;
    if (matcher?.isCostly) {
      this.#searcher.filter = filter;
      this.#marks = new Marks(
        this.#searcher,
        () => this.onMarks(),
        (error) => this.#giveUp(error),
      );
    } else {
      this.#searcher.stop();
    }
    this.#elements.steps.hidden = !this.#matches;
    this.scan();
    this.draw();
  }

  /** The object that finds the places to mark in a text. */
  #marking() {
    return this.#marks ?? this.#matcher;
  }

  #showError(text, why = "") {
    const { box, count: counter } = this.#elements;
    box.classList.toggle("wrong", text !== "");
    if (text || !this.#matches) counter.textContent = text;
    counter.title = why;
  }

  #giveUp(error) {
    const isSlow = error instanceof SearchTimeout;
    this.#startSearch(null, null);
    this.#showError(isSlow ? "takes too long" : "failed", error.message);
    this.onApply(this.view, null);
    this.onGivenUp(
      isSlow ? "The search took too long and was stopped: all lines are shown" : error.message,
    );
  }
}

export function press(button, isOn) {
  button.setAttribute("aria-pressed", String(isOn));
}

export function isPressed(button) {
  return button.getAttribute("aria-pressed") === "true";
}
