// The texts over the list: the one that stands where it has no lines, and the toast.

import { counted } from "./format.js";

/** The most rows of a filtered list, all of them gaps, that leave room for the text below them. */
const MAX_GAPS_ABOVE = 5;

const TOAST_MS = 4_000;
const MAX_TOAST_LENGTH = 300;

/** The text of an empty list. */
export class EmptyText {
  #element;
  #store;
  #find;
  #navigation;
  #channels;
  #drawnFor = "";

  constructor(element, { store, find, navigation, channels }) {
    this.#element = element;
    this.#store = store;
    this.#find = find;
    this.#navigation = navigation;
    this.#channels = channels;
  }

  /** Draws the text again if the rows have changed in a way that changes it. */
  update() {
    const { view, matchCount, isComplete } = this.#find;
    const state = `${view.end === view.first} ${matchCount === 0} ${isComplete}`;
    if (state !== this.#drawnFor) this.draw();
    this.#drawnFor = state;
  }

  draw() {
    const { view, isHiding } = this.#find;
    this.#element.replaceChildren();
    this.#element.classList.toggle("below", view.end > view.first);
    if (!this.#isNeeded()) return;
    if (isHiding && this.#store.length > 0) {
      const searched = counted(this.#store.length, "line");
      this.#say("Nothing matches", `None of ${searched} matches; new matches will appear here.`);
    } else if (this.#navigation.channels.length > 0) {
      this.#say("No line yet", "New lines will appear here as they come.");
    } else if (this.#channels.names.length > 0) {
      this.#say("Choose a channel", "They are listed at the side.");
    } else {
      const text = "Start something, and it will appear here:";
      this.#say("Nothing to show yet", text, "outrace run -- ping localhost");
    }
  }

  #isNeeded() {
    const { view, isHiding, matchCount, isComplete } = this.#find;
    const rows = view.end - view.first;
    if (!isHiding) return rows === 0;
    // A filter hides no gaps: only matches, or many gaps, take the place of the text.
    return !(matchCount > 0) && isComplete && rows <= MAX_GAPS_ABOVE;
  }

  #say(title, text, code) {
    const strong = document.createElement("strong");
    strong.textContent = title;
    this.#element.append(strong, document.createTextNode(text));
    if (!code) return;
    const example = document.createElement("code");
    example.textContent = code;
    this.#element.append(example);
  }
}

/** A short message that goes away by itself. */
export class Toast {
  #element;
  #timer = 0;

  constructor(element) {
    this.#element = element;
  }

  show(text) {
    clearTimeout(this.#timer);
    this.#element.textContent = text.slice(0, MAX_TOAST_LENGTH);
    this.#element.hidden = false;
    this.#timer = setTimeout(() => (this.#element.hidden = true), TOAST_MS);
  }
}
