// The field above the lines: hides the lines that do not match (filter), or marks and steps through those that do (find).

import { Everything, makeMatcher, Matches } from "./filter.js";
import { count } from "./format.js";

/** Milliseconds of a frame that looking for matches may take. */
const SLICE = 6;

export class Find {
  #store;
  #everything;
  #elements;
  #matcher = null;
  #matches = null;
  #applied = "";
  #isScanning = false;
  #foundId = -1;
  /** What is looked for was changed here, by hand. */
  onInput = () => {};
  /** Another view, or other marks: `(view, matcher)`. */
  onApply = () => {};
  /** More matches are known. */
  onProgress = () => {};
  /** The match with that id is to be shown. */
  onStep = () => {};

  constructor(store, elements) {
    this.#store = store;
    this.#everything = new Everything(store);
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

  /** What is looked for, or null. */
  get filter() {
    const { text, regex, isCase, hides } = this.#elements;
    if (!text.value) return null;
    return { text: text.value, isRegex: isPressed(regex), isCaseSensitive: isPressed(isCase), hides: isPressed(hides) };
  }

  /** As a link says it. */
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

  /** The rows that are to be listed. */
  get view() {
    return this.isHiding ? this.#matches : this.#everything;
  }

  get isHiding() {
    return this.#matches !== null && isPressed(this.#elements.hides);
  }

  get foundId() {
    return this.#foundId;
  }

  /** Whether there was something to clear. */
  clear() {
    if (!this.#elements.text.value) return false;
    this.#elements.text.value = "";
    this.#changed();
    return true;
  }

  /** Looks for matches among what is new, a slice at a time. */
  scan() {
    if (!this.#matches || this.#isScanning) return;
    const slice = () => {
      this.#isScanning = false;
      if (!this.#matches) return;
      const until = performance.now() + SLICE;
      const isComplete = this.#matches.advance(() => performance.now() > until);
      if (this.isHiding) this.onProgress();
      if (isComplete) return;
      this.#isScanning = true;
      requestAnimationFrame(slice);
    };
    slice();
  }

  /** Rows from `id` on were replaced. */
  replaced(id) {
    this.#matches?.rewind(id);
    this.#matches?.advance();
    if (this.#foundId >= id) this.#foundId = -1;
  }

  /** To the match after (1) or before (-1) the one found last; at first, to the newest. */
  step(direction) {
    const matches = this.#matches;
    if (!matches || matches.end === matches.first) return;
    let ordinal = matches.end - 1;
    if (this.#foundId >= 0) {
      ordinal = matches.ordinalOf(this.#foundId) + direction;
      if (ordinal < matches.first) ordinal = matches.end - 1;
      if (ordinal >= matches.end) ordinal = matches.first;
    }
    this.#foundId = matches.idAt(ordinal);
    this.onStep(this.#foundId);
    this.draw();
  }

  /** How many there are; not with every frame. */
  draw() {
    const matches = this.#matches;
    if (!matches) return;
    const number = matches.end - matches.first;
    const at = this.#foundId >= 0 ? matches.ordinalOf(this.#foundId) - matches.first + 1 : 0;
    const text = at > 0 ? `${count(at)} of ${count(number)}` : count(number);
    if (this.#elements.count.textContent !== text) this.#elements.count.textContent = text;
  }

  #changed() {
    this.#apply();
    this.onInput();
  }

  #apply() {
    const { box, text, count: counter, steps, hides } = this.#elements;
    text.placeholder = isPressed(hides) ? "Filter lines" : "Find in lines";
    const { filter } = this;
    const key = JSON.stringify(filter);
    if (key === this.#applied) return;
    this.#applied = key;
    const matcher = filter && makeMatcher(filter);
    const error = matcher?.error;
    box.classList.toggle("wrong", Boolean(error));
    counter.textContent = error ? "not a regular expression" : "";
    counter.title = error ?? "";
    this.#matcher = error ? null : matcher;
    this.#matches = this.#matcher && new Matches(this.#store, this.#matcher, { hides: filter.hides });
    this.#foundId = -1;
    steps.hidden = !this.#matches;
    this.scan();
    this.draw();
    this.onApply(this.view, this.#matcher);
  }
}

export function press(button, isOn) {
  button.setAttribute("aria-pressed", String(isOn));
}

export function isPressed(button) {
  return button.getAttribute("aria-pressed") === "true";
}
