// The lines that processes are still writing, one row each, below the list. Text of a process only
// ever goes into text nodes.

import { shortName } from "./format.js";
import { describe, pieces } from "./line.js";
import { piece } from "./row.js";

/** The most rows that are shown. They take their place from the list. */
const MAX_ROWS = 8;

export class PartialRows {
  #element;
  #context;
  #texts = new Map();
  #frame = 0;

  /** Takes `context`, the one that the rows of the list are filled from. */
  constructor(element, context) {
    this.#element = element;
    this.#context = context;
  }

  /** Shows the unfinished line of a channel. An empty text says that there is none. */
  show(channel, text) {
    // The channel that changed last comes last, next to the end.
    this.#texts.delete(channel);
    if (text !== "") this.#texts.set(channel, text);
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw() {
    const shown = [...this.#texts].slice(-MAX_ROWS);
    this.#element.hidden = shown.length === 0;
    this.#element.replaceChildren(...shown.map(([channel, text]) => this.#row(channel, text)));
  }

  #row(channel, text) {
    const row = document.createElement("div");
    row.className = "row partial";
    const { showsChannel } = this.#context;
    const name = span(showsChannel ? `chan c${this.#context.colorOf(channel)}` : "chan");
    name.textContent = showsChannel ? shortName(channel) : "";
    const content = span("text");
    const line = describe(text);
    for (const { from, to, run } of pieces(line.text.length, line.runs, []))
      content.append(piece(line.text.slice(from, to), run, false));
    row.append(span("num"), span("time"), name, content);
    return row;
  }
}

function span(className) {
  const element = document.createElement("span");
  element.className = className;
  return element;
}
