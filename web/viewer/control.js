// The buttons that start, restart and stop a process, where the server lets one.

const ENDED = new Set(["exited", "crashed", "stopped"]);

export class Control {
  #elements;
  #server;
  #id = "";
  /** Which is to be stopped if that is confirmed. */
  #asked = "";
  #isBusy = false;
  onProblem = () => {};
  onDone = () => {};

  constructor(elements, server) {
    this.#elements = elements;
    this.#server = server;
    const { start, restart, stop, sure } = elements;
    start.addEventListener("click", () => this.#act("process.start", this.#id));
    restart.addEventListener("click", () => this.#act("process.restart", this.#id));
    stop.addEventListener("click", () => this.#ask());
    sure.addEventListener(
      "close",
      () => sure.returnValue === "stop" && this.#act("process.stop", this.#asked),
    );
  }

  /** `process` is what the server says of it; nothing is shown unless it is `controllable`. */
  show(process, status) {
    const { group, start, restart, stop } = this.#elements;
    this.#id = process?.controllable === true ? process.id : "";
    group.hidden = this.#id === "";
    if (this.#id === "") return;
    const now = status?.status ?? process.status;
    const isRunning = now === "running";
    start.hidden = isRunning;
    restart.hidden = !isRunning;
    // What waits to be started again can be told not to.
    stop.hidden = ENDED.has(now);
  }

  #ask() {
    const { sure, title } = this.#elements;
    this.#asked = this.#id;
    title.textContent = `Stop ${this.#asked}?`;
    sure.returnValue = "";
    sure.showModal();
  }

  async #act(action, id) {
    if (this.#isBusy || !id) return;
    this.#isBusy = true;
    const { status, value, text } = await this.#server.ask("api/actions", {
      body: { action, process_id: id },
    });
    this.#isBusy = false;
    if (value?.accepted === false)
      this.onProblem(`${id} takes no orders now: it has enough, or all is being stopped`);
    else if (status !== 200)
      this.onProblem(
        text.trim() ||
          (status === 0 ? "The server does not answer" : `The server refused: ${status}`),
      );
    this.onDone();
  }
}
