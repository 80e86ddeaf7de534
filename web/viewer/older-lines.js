// What stands above the first line: how many earlier ones there are, and a button that loads them.

import { count, counted } from "./format.js";

export class OlderLines {
  #text = document.createElement("span");
  #button = document.createElement("button");
  #feed;
  #store;

  /** Fills `element` and loads with `feed`. */
  constructor(element, feed, store) {
    this.#feed = feed;
    this.#store = store;
    this.#button.type = "button";
    this.#button.className = "plain";
    this.#button.textContent = "Load older";
    this.#button.addEventListener("click", () => feed.past.loadOlder());
    element.replaceChildren(this.#text, this.#button);
  }

  /** Draws the text. Returns whether there is one. */
  draw() {
    const { older, past } = this.#feed;
    const { hasEvicted, capacity, first, length } = this.#store;
    if (length === 0 || (older.count === 0 && !hasEvicted)) return false;
    const only = this.#feed.channels.length === 1;
    // Of the lines that had to go, the number is known if they are of one channel.
    const before = hasEvicted && only ? this.#store.firstSeq(first) - 1 : older.count;
    const isFull = hasEvicted || length >= capacity;
    const lines = counted(before, "earlier line");
    let text = older.mayLoad ? lines : `${lines} ${before === 1 ? "is" : "are"} gone`;
    if (isFull && (hasEvicted || older.mayLoad)) {
      const which = before > 0 && (only || !hasEvicted) ? lines : "Earlier lines";
      const verb = which === lines && before === 1 ? "is" : "are";
      const more = `?lines=${2 * capacity} keeps more`;
      text = `${which} ${verb} not here: this page keeps ${count(capacity)} (${more})`;
    }
    if (past.isLoading) text = `Loading of ${lines}…`;
    if (this.#text.textContent !== text) this.#text.textContent = text;
    this.#button.hidden = isFull || past.isLoading || !older.mayLoad;
    return true;
  }
}
