// Shows the state of the connection, and asks for a token when the server refuses it.

/** The status by which a server asks for a WebSocket. */
const UPGRADE_REQUIRED = 426;

const MAX_REASON_LENGTH = 200;

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
  #wasOpen = false;
  /** Why the last attempts failed, or an empty text while that is not known. */
  #reason = "";
  onChange = () => {};

  constructor(elements, client, server, tokenDialog) {
    this.#elements = elements;
    this.#client = client;
    this.#server = server;
    this.#tokenDialog = tokenDialog;
    elements.retry.addEventListener("click", () => this.retry());
    client.on("state", (change) => this.#changed(change));
    this.#draw(client.state, 0);
    setInterval(() => this.#drawBanner(), 1_000);
  }

  /** What is wrong with the connection, as a sentence, or an empty text. */
  get trouble() {
    if (this.#elements.banner.hidden || this.#tokenDialog.isOpen) return "";
    return this.#reason || "The server cannot be reached.";
  }

  /** Connects at once. */
  retry() {
    this.#client.reconnect();
  }

  /** Pauses the client and asks for a token. With `isWanted`, the present one is not wrong. */
  refuse(isWanted = false) {
    this.#client.pause();
    this.#tokenDialog.open(isWanted);
    this.#draw(this.#client.state, 1);
  }

  #changed({ state, attempt, delay }) {
    if (delay !== null) this.#retryAt = performance.now() + delay;
    const hasBroken = this.#wasOpen;
    if (state === "open") this.#reason = "";
    if (state !== "connecting") this.#wasOpen = state === "open";
    this.#draw(state, attempt);
    if (state === "waiting" && delay !== Infinity) this.#findReason(hasBroken);
    this.onChange();
  }

  /** A browser hides why a WebSocket was refused; an ordinary request shows it. */
  async #findReason(hasBroken) {
    const { status, text } = await this.#server.ask("ws");
    if (this.#client.state === "open") return;
    if (status === 401) {
      this.refuse();
      return;
    }
    const said = text.trim().split("\n")[0].slice(0, MAX_REASON_LENGTH);
    if (status === 0) this.#reason = "The server does not answer.";
    else if (status !== UPGRADE_REQUIRED)
      this.#reason = `The server refuses the connection: ${status} ${said}`.trim();
    // The server asks for a WebSocket, which this was not.
    else if (!hasBroken)
      this.#reason =
        "The server answers, but no WebSocket opens: a proxy in between may not pass it on (426).";
    this.#drawBanner();
    this.onChange();
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
    const why = this.#reason && ` · ${this.#reason.replace(/\.$/, "")}`;
    bannerText.textContent = `No connection to the server${why} · ${next}`;
  }
}
