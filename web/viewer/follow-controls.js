// The button and the pill that make the list follow new lines.

import { press } from "./find.js";
import { count } from "./format.js";

export class FollowControls {
  #elements;
  #list;

  constructor(elements, list) {
    this.#elements = elements;
    this.#list = list;
    const { button, pill, lines } = elements;
    button.addEventListener("click", () => list.setFollowing(!list.isFollowing));
    pill.addEventListener("click", () => {
      list.setFollowing(true);
      lines.focus({ preventScroll: true });
    });
    // The pill lies over the lines: a turn of the wheel on it scrolls them.
    const scroll = ({ deltaY }) => (lines.scrollTop += deltaY);
    pill.addEventListener("wheel", scroll, { passive: true });
  }

  draw() {
    const { button, pill, pillText } = this.#elements;
    const { isFollowing, unseen } = this.#list;
    press(button, isFollowing);
    pill.hidden = isFollowing;
    const text = unseen > 0 ? `${count(unseen)} new` : "Follow";
    if (pillText.textContent !== text) pillText.textContent = text;
  }
}
