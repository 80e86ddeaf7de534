// Shows the state of the connection, and asks for a token when the server refuses it.

const NAMES = {
  connecting: "connecting",
  open: "live",
  waiting: "not connected",
  closed: "closed",
};

export class ConnectionState {
  #elements;
  #client;
  #server;
  #tokenDialog;
  #retryAt = 0;

  constructor(elements, client, server, tokenDialog) {
    this.#elements = elements;
    this.#client = client;
    this.#server = server;
    this.#tokenDialog = tokenDialog;
    elements.retry.addEventListener("click", () => client.reconnect());
    client.on("state", (change) => this.#changed(change));
    this.#draw(client.state, 0);
    setInterval(() => this.#drawBanner(), 1_000);
  }

  /** Pauses the client and asks for a token. */
  refuse() {
    this.#client.pause();
    this.#tokenDialog.open();
    this.#draw(this.#client.state, 1);
  }

  #changed({ state, attempt, delay }) {
    if (delay !== null) this.#retryAt = performance.now() + delay;
    this.#draw(state, attempt);
    if (state === "waiting" && delay !== Infinity) this.#findReason();
  }

  /** A browser hides why a WebSocket was refused; an ordinary request shows it. */
  async #findReason() {
    const { status } = await this.#server.ask("ws");
    if (status === 401 && this.#client.state !== "open") this.refuse();
  }

  #draw(state, attempt) {
    const { state: element, banner, retry } = this.#elements;
    element.textContent = NAMES[state];
    element.className = `state ${state}`;
    // The first attempt is no failure yet.
    const hasFailed =
      state === "waiting" || state === "closed" || (state === "connecting" && attempt > 0);
    banner.hidden = !hasFailed;
    retry.hidden = state !== "waiting" || this.#tokenDialog.isOpen;
    this.#drawBanner();
  }

  #drawBanner() {
    const { banner, bannerText } = this.#elements;
    if (banner.hidden) return;
    if (this.#tokenDialog.isOpen) {
      bannerText.textContent = "Not connected · waiting for a token";
      return;
    }
    const seconds = Math.ceil((this.#retryAt - performance.now()) / 1_000);
    const isWaiting = this.#client.state === "waiting" && seconds > 0;
    const next = isWaiting ? `next attempt in ${seconds} s` : "trying again…";
    bannerText.textContent = `No connection to the server · ${next}`;
  }
}
