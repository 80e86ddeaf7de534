// The small bar that says how many lines are selected, and what can be done with them.

import { counted } from "./format.js";

export class SelectionBar {
  #elements;

  /** `actions` are called by the buttons of the same names in `elements`. */
  constructor(elements, actions) {
    this.#elements = elements;
    for (const [name, act] of Object.entries(actions))
      elements[name].addEventListener("click", () => act());
  }

  /** Shows how many lines are selected. */
  draw(lines) {
    const { bar, text } = this.#elements;
    bar.hidden = lines === 0;
    const label = counted(lines, "line");
    if (text.textContent !== label) text.textContent = label;
  }
}
