// The menu of the view. It closes when one of its buttons, or anything outside it, is clicked.

export class ViewMenu {
  #menu;

  /** `actions` are pairs of a button in the menu and what it does. */
  constructor(menu, actions) {
    this.#menu = menu;
    for (const [button, act] of actions) {
      button.addEventListener("click", () => {
        this.close();
        act();
      });
    }
    document.addEventListener("click", ({ target }) => {
      if (menu.open && !menu.contains(target)) this.close();
    });
  }

  close() {
    this.#menu.open = false;
  }
}
