// The dialog that asks for a token.

export class TokenDialog {
  #elements;
  #server;
  /**
   * Tries the server's current token. Resolves to a text that says why it failed, or to an empty
   * text.
   */
  onTry = async () => "";

  constructor(elements, server) {
    this.#elements = elements;
    this.#server = server;
    const { dialog, form } = elements;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    // The page is of no use without a token: Escape does not close the dialog.
    dialog.addEventListener("cancel", (event) => event.preventDefault());
  }

  get isOpen() {
    return this.#elements.dialog.open;
  }

  /** Asks for a token: the server refused the one of this tab, or another one `isWanted`. */
  open(isWanted = false) {
    if (this.isOpen) return;
    const text = "The server no longer accepts the token of this tab.";
    this.#say(this.#server.token && !isWanted ? text : "");
    this.#server.token = "";
    this.#elements.dialog.showModal();
  }

  async #submit() {
    const { dialog, token } = this.#elements;
    const given = token.value.trim();
    if (!given) return;
    this.#server.token = given;
    const why = await this.onTry();
    this.#say(why);
    if (why) {
      this.#server.token = "";
      token.select();
      return;
    }
    token.value = "";
    dialog.close();
  }

  #say(text) {
    const { wrong } = this.#elements;
    wrong.textContent = text;
    wrong.hidden = text === "";
  }
}
