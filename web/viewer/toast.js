// A short message over the list, which goes away by itself.

const TOAST_MS = 4_000;
const MAX_TOAST_LENGTH = 300;

export class Toast {
  #element;
  #timer = 0;

  constructor(element) {
    this.#element = element;
  }

  show(text, ms = TOAST_MS) {
    clearTimeout(this.#timer);
    this.#element.textContent = text.slice(0, MAX_TOAST_LENGTH);
    this.#element.hidden = false;
    this.#timer = setTimeout(() => (this.#element.hidden = true), ms);
  }
}
