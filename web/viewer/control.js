// The buttons that start, restart and stop a process, where the server allows it.

const ENDED = new Set(["exited", "crashed", "stopped"]);

export class Control {
  #elements;
  #server;
  #id = "";
  /** The process that is stopped if the dialog is confirmed. */
  #stopId = "";
  #isWaiting = false;
  onProblem = () => {};
  onDone = () => {};

  constructor(elements, server) {
    this.#elements = elements;
    this.#server = server;
    const { start, restart, stop, dialog } = elements;
    start.addEventListener("click", () => this.#act("process.start", this.#id));
    restart.addEventListener("click", () => this.#act("process.restart", this.#id));
    stop.addEventListener("click", () => this.#confirmStop());
    dialog.addEventListener(
      "close",
      () => dialog.returnValue === "stop" && this.#act("process.stop", this.#stopId),
    );
  }

  /**
   * Takes the server's description of the process. Hides the buttons unless it is `controllable`.
   */
  show(process, status) {
    const { group, start, restart, stop } = this.#elements;
    this.#id = process?.controllable === true ? process.id : "";
    group.hidden = this.#id === "";
    if (this.#id === "") return;
    const now = status?.status ?? process.status;
    const isRunning = now === "running";
    start.hidden = isRunning;
    restart.hidden = !isRunning;
    // A process that waits for its next start can be stopped too.
    stop.hidden = ENDED.has(now);
  }

  #confirmStop() {
    const { dialog, title } = this.#elements;
    this.#stopId = this.#id;
    title.textContent = `Stop ${this.#stopId}?`;
    dialog.returnValue = "";
    dialog.showModal();
  }

  async #act(action, id) {
    if (this.#isWaiting || !id) return;
    this.#isWaiting = true;
    const { status, value, text } = await this.#server.ask("api/actions", {
      body: { action, process_id: id },
    });
    this.#isWaiting = false;
    if (value?.accepted === false) {
      this.onProblem(`${id} takes no requests now: too many wait, or everything is being stopped`);
    } else if (status === 0) {
      this.onProblem("The server does not answer");
    } else if (status !== 200) {
      this.onProblem(text.trim() || `The server refused: ${status}`);
    }
    this.onDone();
  }
}
