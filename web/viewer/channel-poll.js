// Asks the server for its channels: at once, and then whenever another one has appeared.

/** The time between two requests to a server that does not hold a request back. */
const POLL_INTERVAL_MS = 2_000;

/**
 * The longest time that the server holds a request back (RFC 7240). The rates and the statuses of
 * channels that are not shown are as old as that.
 */
const WAIT_SECONDS = 5;

/** The time between two requests while channels appear one after the other. */
const MIN_INTERVAL_MS = 250;

export class ChannelPoll {
  #server;
  #timer = 0;
  /** `{ abort, waits }` while a request is under way. */
  #request = null;
  #isStopped = false;
  #hasProcesses = true;
  /** Takes the answers for the channels and, unless the server has none, for the processes. */
  onAnswer = () => {};
  /** The server requires a token, or another one. It is not asked until `poll` is called. */
  onRefused = () => {};

  constructor(server) {
    this.#server = server;
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#rest();
      else if (!this.#isStopped) this.poll();
    });
  }

  /** Asks now, and goes on asking. */
  poll() {
    this.#isStopped = false;
    if (this.#request && !this.#request.waits) return;
    this.#rest();
    this.#ask(null);
  }

  /** Ends a request that the server holds back, which takes one of the browser's connections. */
  #rest() {
    clearTimeout(this.#timer);
    if (!this.#request?.waits) return;
    this.#request.abort.abort();
    this.#request = null;
  }

  async #ask(version) {
    const request = { abort: new AbortController(), waits: version !== null };
    this.#request = request;
    const began = performance.now();
    const channels = await this.#server.ask("api/channels", {
      waits: request.waits ? { version, seconds: WAIT_SECONDS } : null,
      signal: request.abort.signal,
    });
    const processes =
      this.#hasProcesses && channels.status !== 401 && this.#request === request
        ? await this.#server.ask("api/processes")
        : null;
    // It was aborted, and another one is under way or will be.
    if (this.#request !== request) return;
    this.#request = null;
    if (channels.status === 401) {
      this.#isStopped = true;
      this.onRefused();
      return;
    }
    // A server without a supervisor never has processes: it is not asked again.
    if (processes?.status === 404) this.#hasProcesses = false;
    this.onAnswer(channels, processes);
    if (document.hidden) return;
    const isEarly = performance.now() - began < POLL_INTERVAL_MS / 2;
    const next = channels.status === 200 ? channels.version : null;
    // A server that answers at once without a change does not hold requests back now.
    const polls = next === null || (next === version && isEarly);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => this.#ask(polls ? null : next),
      polls ? POLL_INTERVAL_MS : MIN_INTERVAL_MS,
    );
  }
}
