// Selects rows with the pointer. Within one line the browser selects text; a drag to another line
// selects whole lines, also those that are scrolled to meanwhile.

/** The rows that one step of scrolling past an edge moves, for each row of distance. */
const MAX_STEP_PX = 60;

export class RowDrag {
  #element;
  #list;
  #selection;
  #begun = -1;
  #isDragging = false;
  #y = 0;
  #frame = 0;

  constructor(element, list, selection) {
    this.#element = element;
    this.#list = list;
    this.#selection = selection;
    element.addEventListener("mousedown", (event) => this.#pressed(event));
    addEventListener("mousemove", (event) => this.#moved(event));
    addEventListener("mouseup", () => this.#released());
    addEventListener("blur", () => this.#released());
  }

  #pressed(event) {
    const isText = event.target instanceof Element && event.target.closest(".row");
    if (event.button !== 0 || !isText || event.target.closest("a, button")) return;
    const id = this.#list.idAt(event.clientY);
    if (id < 0) return;
    if (event.shiftKey && !this.#selection.isEmpty) {
      event.preventDefault();
      this.#list.setFollowing(false);
      this.#selection.select(this.#selection.anchor, id);
      return;
    }
    this.#selection.clear();
    this.#begun = id;
  }

  #moved(event) {
    if (this.#begun < 0) return;
    if ((event.buttons & 1) === 0) {
      this.#released();
      return;
    }
    this.#y = event.clientY;
    if (!this.#isDragging && this.#list.idAt(this.#y) === this.#begun) return;
    if (!this.#isDragging) {
      this.#isDragging = true;
      this.#list.setFollowing(false);
      this.#element.classList.add("selecting");
    }
    document.getSelection()?.removeAllRanges();
    this.#extend();
    this.#frame ||= requestAnimationFrame(() => this.#scroll());
  }

  #extend() {
    const id = this.#list.idAt(this.#y);
    if (id >= 0) this.#selection.select(this.#begun, id);
  }

  /** Scrolls while the pointer is beyond an edge. */
  #scroll() {
    this.#frame = 0;
    if (!this.#isDragging) return;
    const { top, bottom } = this.#element.getBoundingClientRect();
    const beyond = this.#y < top ? this.#y - top : Math.max(0, this.#y - bottom);
    if (beyond === 0) return;
    this.#list.scrollBy(Math.max(-MAX_STEP_PX, Math.min(MAX_STEP_PX, beyond)));
    this.#extend();
    this.#frame = requestAnimationFrame(() => this.#scroll());
  }

  #released() {
    this.#begun = -1;
    this.#isDragging = false;
    this.#element.classList.remove("selecting");
  }

  /** Handles a renumbering during a drag. */
  replaced(moved) {
    if (this.#begun >= 0) this.#begun = moved(this.#begun);
  }
}
