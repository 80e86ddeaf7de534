// The Outrace client: one ES module without dependencies, for browsers and for Node.
//
//   import { connect } from "/outrace.js";
//
//   const outrace = connect("ws://127.0.0.1:7223/ws");
//   outrace.on("line", ({ channel, seq, text }) => console.log(channel, seq, text));
//   outrace.on("gap", ({ channel, from, to }) => {
//     outrace.refetch(channel, from, to).catch(console.warn);
//   });
//   outrace.on("status", ({ channel, status, exitCode }) => {
//     console.log(channel, status, exitCode);
//   });
//   outrace.subscribe("process:web", { tail: 100 });
//
// It connects, and after a break it reconnects, subscribes again and resumes by itself. It knows
// the number of every message exactly: for each channel and epoch, received + skipped (`gap`) =
// published. It keeps no messages. Nothing that a server sends makes it throw.

/** The defaults of the options. Times are in milliseconds. */
const DEFAULTS = Object.freeze({
  initialDelay: 1_000,
  factor: 2,
  maxDelay: 30_000,
  retries: Infinity,
  heartbeat: 30_000,
  checkTimeout: 5_000,
  connectTimeout: 15_000,
  refetchTimeout: 15_000,
});

/** The most `refetch` calls that may wait in one channel. */
const MAX_REFETCHES = 64;

/**
 * The most messages that are sent at once, and those that may follow each second. A server closes
 * a connection that sends more than 2,048, and 100 each second.
 */
const MAX_BURST = 1_900;
const MAX_PER_SECOND = 90;

const PACE_INTERVAL_MS = 50;

const OPEN = 1;

/**
 * Message types that only concern subscribed channels. For any other channel they are stale, and
 * are ignored.
 */
const CHANNEL_TYPES = new Set([
  "process_output",
  "process_output_batch",
  "process_status",
  "process_partial",
  "gap",
  "subscribed",
  "replay",
  "replayed",
]);

const REFUSAL = /^(Subscribe: |(subscription|channel) limit exceeded)/;

/**
 * Connects to an Outrace (or go-ws) server. Without a URL, it connects to the `ws` beside this
 * module. A function is called for the URL at every attempt, for tokens that change.
 *
 * @throws {TypeError} if the URL is invalid, or if there is no WebSocket class.
 */
export function connect(url, options) {
  return new Outrace(url, options);
}

export class Outrace {
  #url;
  #urlSource;
  #options;
  #WebSocket;
  #state = "closed";
  #socket = null;
  #handlers = new Map();
  #channels = new Map();

  // The requests without an answer so far, in order. A ping follows each request. A `pong` that
  // comes before an answer therefore shows that this server sends none.
  #requests = [];

  #hasExtensions = false;
  #isProven = false;
  #hasReceived = false;
  #failures = 0;
  #retryTimer;
  #openTimer;
  #heartbeatTimer;
  #checkTimer;
  /** The messages that may be sent now, and the time for which that was computed. */
  #budget = MAX_BURST;
  #budgetAt = 0;
  /** The subscriptions that wait until they may be sent. */
  #delayed = [];
  #paceTimer;
  #isPaused = false;
  #wake = () => this.#isPaused || this.check();
  #shown = () => globalThis.document?.hidden || this.#wake();

  constructor(url = defaultUrl(), options = {}) {
    this.#urlSource = typeof url === "function" ? url : () => url;
    this.#url = typeof url === "function" ? "" : webSocketUrl(url);
    this.#options = { ...DEFAULTS, ...withoutUndefined(options) };
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    if (typeof this.#WebSocket !== "function") {
      throw new TypeError("There is no WebSocket here: pass one as options.WebSocket");
    }
    globalThis.addEventListener?.("online", this.#wake);
    globalThis.addEventListener?.("pageshow", this.#wake);
    globalThis.document?.addEventListener?.("visibilitychange", this.#shown);
    this.#open();
  }

  /** The state: `connecting`, `open`, `waiting` (for the next attempt) or `closed`. */
  get state() {
    return this.#state;
  }

  /** The URL of the current or the last connection. */
  get url() {
    return this.#url;
  }

  /**
   * Calls `handler` for each `event`. Returns a function that removes the handler. An exception of
   * a handler is reported and has no other effect.
   */
  on(event, handler) {
    if (typeof handler !== "function") throw new TypeError("A handler is a function");
    let handlers = this.#handlers.get(event);
    if (!handlers) this.#handlers.set(event, (handlers = new Set()));
    handlers.add(handler);
    return () => handlers.delete(handler);
  }

  /**
   * Subscribes now and after every break. Does nothing for a channel that is already subscribed.
   */
  subscribe(channel, options = {}) {
    if (typeof channel !== "string" || channel === "")
      throw new TypeError("A channel is a non-empty string");
    if (this.#state === "closed") throw new Error("The client is closed");
    if (this.#channels.has(channel)) return;
    const { gaps = true, batch = true, detail = true, partial = false, tail, since } = options;
    const subscription = {
      channel,
      gaps,
      batch,
      detail,
      partial,
      tail,
      since: since ? { epoch: since.epoch, seq: since.seq } : undefined,
      isAwaiting: false,
      wasActive: false,
      epoch: since?.epoch ?? null,
      seq: since?.seq ?? null,
      replay: null,
      refetches: [],
      hasPartial: false,
    };
    this.#channels.set(channel, subscription);
    if (this.#socket?.readyState === OPEN) this.#sendSubscribe(subscription);
  }

  unsubscribe(channel) {
    const subscription = this.#channels.get(channel);
    if (!subscription) return;
    this.#channels.delete(channel);
    failRefetches(subscription, "The channel was unsubscribed");
    this.#send({ type: "unsubscribe", channel });
  }

  /**
   * Returns the position of a channel, `{ epoch, seq }`, from which a later subscription can resume
   * (`since`). Returns null while it is unknown.
   */
  position(channel) {
    const subscription = this.#channels.get(channel);
    if (!subscription || subscription.seq === null || subscription.epoch === null) return null;
    return { epoch: subscription.epoch, seq: subscription.seq };
  }

  /**
   * Requests the messages `from` to `to` again. They are emitted like all others, marked
   * `refetched`, and before the promise resolves. It resolves to `{ from, to, lost }`: the range
   * that came (none if `to < from`), and how many messages the server no longer keeps.
   *
   * The promise is rejected if the connection breaks, or if the server does not support it.
   */
  refetch(channel, from, to) {
    const subscription = this.#channels.get(channel);
    const refuse = (text) => Promise.reject(new Error(text));
    if (!isCount(from) || !isCount(to) || from < 1 || to < from)
      return refuse("The range is not one");
    if (!subscription || subscription.isAwaiting || this.#socket?.readyState !== OPEN) {
      return refuse("The channel is not subscribed now");
    }
    if (subscription.epoch === null) return refuse("This server does not number its messages");
    if (subscription.refetches.length >= MAX_REFETCHES)
      return refuse("Too many ranges were asked for at once");
    return new Promise((resolve, reject) => {
      subscription.refetches.push({ from, to, resolve, reject, timer: undefined });
      if (subscription.refetches.length === 1) this.#sendRange(subscription);
    });
  }

  /**
   * Disconnects and makes no attempt until `reconnect`. The subscriptions are kept. Does nothing
   * when closed.
   */
  pause() {
    if (this.#state === "closed") return;
    this.#drop(1000, "");
    this.#endPartials();
    this.#isPaused = true;
    this.#enter("waiting", Infinity);
  }

  /** Starts the next attempt at once. Does nothing unless `waiting`. */
  reconnect() {
    if (this.#state === "waiting") this.#open();
  }

  /**
   * Asks for a sign of life at once. A connection without one within `checkTimeout` is given up,
   * and the next attempt starts. While `waiting`, that attempt starts at once.
   *
   * A browser's events `online`, `pageshow` and `visibilitychange` call it too.
   */
  check() {
    this.reconnect();
    if (this.#state === "open" && this.#checkTimer === undefined) this.#startCheck();
  }

  /** Closes the client. After this call, only the `state` event is emitted. */
  close(code = 1000, reason = "") {
    if (this.#state === "closed") return;
    this.#drop(code, reason);
    this.#enterClosed();
  }

  // The connection.

  #open() {
    clearTimeout(this.#retryTimer);
    this.#isPaused = false;
    this.#enter("connecting");
    if (this.#state !== "connecting") return;
    let socket;
    try {
      socket = new this.#WebSocket((this.#url = webSocketUrl(this.#urlSource())));
    } catch (error) {
      this.#emit("error", {
        kind: "connection",
        message: String(error?.message ?? error),
        channel: null,
      });
      this.#retry();
      return;
    }
    this.#socket = socket;
    const ifCurrent = (handle) => (event) => {
      if (this.#socket === socket) handle(event);
    };
    socket.addEventListener(
      "open",
      ifCurrent(() => this.#opened()),
    );
    socket.addEventListener(
      "message",
      ifCurrent((event) => this.#received(event.data)),
    );
    socket.addEventListener(
      "close",
      ifCurrent((event) => this.#connectionLost(event)),
    );
    // An error has no details of its own. The `close` that follows reports them.
    socket.addEventListener("error", () => {});
    this.#openTimer = setTimeout(
      () => this.#connectionLost({ reason: "no answer" }),
      this.#options.connectTimeout,
    );
  }

  #opened() {
    clearTimeout(this.#openTimer);
    this.#requests = [];
    this.#hasExtensions = false;
    this.#isProven = false;
    this.#hasReceived = true;
    const socket = this.#socket;
    this.#enter("open");
    if (this.#socket !== socket) return;
    for (const subscription of this.#channels.values()) this.#sendSubscribe(subscription);
    this.#heartbeat();
    this.#heartbeatTimer = setInterval(() => this.#heartbeat(), this.#options.heartbeat);
    this.#heartbeatTimer.unref?.();
  }

  // Only silence reveals a connection that is dead without having been closed. The test is whether
  // anything came between two beats. It does not use the clock, so that a page that was frozen does
  // not blame the server.
  #heartbeat() {
    if (!this.#hasReceived) {
      this.#connectionLost({ reason: "no sign of life" });
      return;
    }
    this.#hasReceived = false;
    this.#requests.push({ kind: "ping" });
    this.#send({ type: "ping" });
  }

  #startCheck() {
    this.#requests.push({ kind: "ping" });
    this.#send({ type: "ping" });
    const { checkTimeout } = this.#options;
    const due = performance.now() + checkTimeout;
    this.#checkTimer = setTimeout(() => {
      this.#checkTimer = undefined;
      // A page that was frozen meanwhile may have an answer that it has not read yet.
      if (performance.now() > due + checkTimeout) this.#startCheck();
      else this.#connectionLost({ reason: "no sign of life" });
    }, checkTimeout);
    this.#checkTimer.unref?.();
  }

  #endCheck() {
    clearTimeout(this.#checkTimer);
    this.#checkTimer = undefined;
  }

  #connectionLost({ code, reason }) {
    const wasOpen = this.#state === "open";
    this.#drop(1000, "");
    this.#endPartials();
    const why = [code, reason].filter(Boolean).join(" ");
    const what = wasOpen ? "The connection broke" : "Could not connect";
    this.#emit("error", {
      kind: "connection",
      message: why ? `${what}: ${why}` : what,
      channel: null,
    });
    if (this.#state !== "closed") this.#retry();
  }

  #retry() {
    const { initialDelay, factor, maxDelay, retries } = this.#options;
    if (this.#failures >= retries) {
      this.#emit("error", {
        kind: "gave-up",
        message: `Gave up after ${retries} attempts`,
        channel: null,
      });
      if (this.#state !== "closed") this.#enterClosed();
      return;
    }
    const most = Math.min(maxDelay, initialDelay * factor ** this.#failures);
    // Half of the delay is random, so that the clients do not all return to a restarted server at
    // once.
    const delay = most * (0.5 + Math.random() / 2);
    this.#failures += 1;
    this.#retryTimer = setTimeout(() => this.#open(), delay);
    this.#enter("waiting", delay);
  }

  #drop(code, reason) {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#openTimer);
    clearInterval(this.#heartbeatTimer);
    this.#endCheck();
    clearTimeout(this.#paceTimer);
    this.#paceTimer = undefined;
    this.#delayed = [];
    this.#budget = MAX_BURST;
    const socket = this.#socket;
    this.#socket = null;
    this.#requests = [];
    for (const subscription of this.#channels.values()) {
      subscription.isAwaiting = true;
      subscription.replay = null;
      failRefetches(subscription, "The connection broke");
    }
    try {
      socket?.close(code, reason);
    } catch {
      // The code may not be sent. The socket is closed without it.
      socket.close();
    }
  }

  #enterClosed() {
    globalThis.removeEventListener?.("online", this.#wake);
    globalThis.removeEventListener?.("pageshow", this.#wake);
    globalThis.document?.removeEventListener?.("visibilitychange", this.#shown);
    this.#channels.clear();
    this.#enter("closed");
    this.#handlers.clear();
  }

  #enter(state, delay = null) {
    this.#state = state;
    this.#emit("state", { state, attempt: this.#failures, delay });
  }

  #send(message) {
    if (this.#socket?.readyState !== OPEN) return;
    try {
      this.#budget -= 1;
      this.#socket.send(JSON.stringify(message));
    } catch {
      // The socket is changing its state. The `close` that follows handles it.
    }
  }

  // Requests.

  /** Returns whether `messages` may be sent now. */
  #mayBurst(messages) {
    const now = performance.now();
    const earned = ((now - this.#budgetAt) / 1_000) * MAX_PER_SECOND;
    this.#budget = Math.min(MAX_BURST, this.#budget + earned);
    this.#budgetAt = now;
    return this.#budget >= messages;
  }

  #sendDelayed() {
    this.#paceTimer = undefined;
    const waiting = this.#delayed;
    this.#delayed = [];
    for (const subscription of waiting) {
      const { channel } = subscription;
      if (this.#channels.get(channel) === subscription) this.#sendSubscribe(subscription);
    }
  }

  #sendSubscribe(subscription) {
    if (!this.#mayBurst(2)) {
      subscription.isAwaiting = true;
      this.#delayed.push(subscription);
      this.#paceTimer ??= setTimeout(() => this.#sendDelayed(), PACE_INTERVAL_MS);
      return;
    }
    const { channel, gaps, batch, detail, partial, tail, since, epoch, seq } = subscription;
    const options = { gaps, batch };
    if (detail) options.detail = true;
    if (partial) options.partial = true;
    // Without `gaps` the position is an estimate, so the subscription does not resume from it.
    if (epoch !== null && seq !== null && (gaps || since)) options.since = { epoch, seq };
    else if (tail !== undefined) options.tail = tail;
    subscription.isAwaiting = true;
    this.#requests.push({ kind: "subscribe", subscription, isAnswered: false });
    this.#send({ type: "subscribe", channel, options });
    this.#send({ type: "ping" });
  }

  #sendRange(subscription) {
    const refetch = subscription.refetches[0];
    const { channel, epoch } = subscription;
    this.#requests.push({ kind: "range", subscription, refetch, isAnswered: false });
    this.#restartTimeout(subscription, refetch);
    this.#send({
      type: "subscribe",
      channel,
      options: { range: { epoch, from: refetch.from, to: refetch.to } },
    });
    this.#send({ type: "ping" });
  }

  /** Gives up a refetch after some time without any part of its answer. */
  #restartTimeout(subscription, refetch) {
    if (subscription.refetches[0] !== refetch) return;
    clearTimeout(refetch.timer);
    refetch.timer = setTimeout(
      () => this.#failRefetch(subscription, refetch, "The server did not answer"),
      this.#options.refetchTimeout,
    );
  }

  #failRefetch(subscription, refetch, text) {
    if (subscription.refetches[0] !== refetch) return;
    subscription.refetches.shift();
    clearTimeout(refetch.timer);
    refetch.reject(new Error(text));
    if (subscription.refetches.length > 0) this.#sendRange(subscription);
  }

  // Messages.

  #received(frame) {
    this.#hasReceived = true;
    if (this.#checkTimer !== undefined) this.#endCheck();
    if (typeof frame !== "string") {
      this.#reportProtocolError("A binary message");
      return;
    }
    const whole = parse(frame);
    if (whole !== undefined) {
      this.#dispatch(whole);
      return;
    }
    // go-ws joins waiting messages with newlines. JSON contains no raw newline, so they can be
    // split.
    const socket = this.#socket;
    for (const line of frame.split("\n")) {
      if (line.trim() === "") continue;
      const message = parse(line);
      if (message === undefined) this.#reportProtocolError("A message that is not JSON");
      else this.#dispatch(message);
      if (this.#socket !== socket) return;
    }
  }

  #dispatch(message) {
    if (message === null || typeof message !== "object" || typeof message.type !== "string") {
      this.#reportProtocolError("A message without a type");
      return;
    }
    if (!this.#isProven) {
      this.#isProven = true;
      this.#failures = 0;
    }
    const { type } = message;
    if (type === "pong") {
      this.#pong();
      return;
    }
    const channel = typeof message.channel === "string" ? message.channel : "";
    if (type === "error" && channel === "") {
      this.#serverError(message);
      return;
    }
    const subscription = channel === "" ? undefined : this.#channels.get(channel);
    if (!subscription) {
      if (type === "subscribed") this.#markAnswered(channel);
      if (!CHANNEL_TYPES.has(type)) this.#other(message, channel, null, false);
      return;
    }
    if (type === "subscribed") {
      this.#subscribed(subscription, message.data);
      return;
    }
    // The message was sent before the server handled an unsubscribe. The new subscription begins
    // with its answer.
    if (subscription.isAwaiting && this.#hasExtensions) return;
    switch (type) {
      case "gap":
        this.#gap(subscription, message);
        break;
      case "replay":
        this.#replayBegins(subscription, message.data);
        break;
      case "replayed":
        this.#replayEnds(subscription);
        break;
      case "process_output_batch":
        this.#lineBatch(subscription, message);
        break;
      case "process_partial":
        this.#partial(subscription, message);
        break;
      default:
        this.#single(subscription, message);
    }
  }

  #pong() {
    const request = this.#requests.shift();
    if (!request || request.kind !== "subscribe" || request.isAnswered) return;
    const { subscription } = request;
    if (this.#channels.get(subscription.channel) !== subscription || !subscription.isAwaiting)
      return;
    // A server without extensions: the channel is subscribed, without a number.
    const wasActive = subscription.wasActive;
    subscription.isAwaiting = false;
    subscription.wasActive = true;
    subscription.epoch = null;
    subscription.seq = null;
    this.#emitSubscribed(subscription, wasActive, { epochChanged: null, lost: null, replayed: 0 });
  }

  #markAnswered(channel) {
    const request = this.#requests.find(
      (asked) =>
        asked.kind === "subscribe" && !asked.isAnswered && asked.subscription.channel === channel,
    );
    if (request) request.isAnswered = true;
  }

  #serverError(message) {
    const text = typeof message.data === "string" ? message.data : "";
    const request = this.#requests[0];
    if (REFUSAL.test(text) && request && request.kind !== "ping" && !request.isAnswered) {
      request.isAnswered = true;
      const { subscription } = request;
      if (request.kind === "range") this.#failRefetch(subscription, request.refetch, text);
      else this.#emit("error", { kind: "refused", message: text, channel: subscription.channel });
      return;
    }
    this.#emit("error", { kind: "server", message: text, channel: null });
  }

  #subscribed(subscription, data) {
    const { channel } = subscription;
    if (!isObject(data) || typeof data.epoch !== "string" || !isCount(data.seq)) {
      this.#reportProtocolError("A `subscribed` without epoch and seq", channel);
      return;
    }
    this.#hasExtensions = true;
    const request = this.#requests.find(
      (asked) => !asked.isAnswered && asked.subscription?.channel === channel,
    );
    if (request) request.isAnswered = true;
    if (request && request.subscription !== subscription) return;
    if (request?.kind === "range") {
      this.#failRefetch(subscription, request.refetch, "The server knows no ranges");
      return;
    }
    if (!subscription.isAwaiting && subscription.epoch === data.epoch) return;

    const { epoch, seq } = data;
    const wasActive = subscription.wasActive;
    const resumesFrom = subscription.seq;
    const epochChanged = subscription.epoch === null ? null : subscription.epoch !== epoch;
    let missedFrom = 0;
    if (epochChanged === true) {
      missedFrom = 1;
    } else if (epochChanged === false && resumesFrom !== null) {
      missedFrom = resumesFrom + 1;
      if (seq < resumesFrom)
        this.#reportProtocolError(`Numbers went back from ${resumesFrom} to ${seq}`, channel);
    }
    const lost = missedFrom > 0 ? Math.max(0, seq - missedFrom + 1) : wasActive ? null : 0;
    subscription.isAwaiting = false;
    subscription.wasActive = true;
    subscription.epoch = epoch;
    subscription.seq = seq;
    subscription.since = undefined;
    const replayed = isCount(data.replayed) ? data.replayed : 0;
    this.#emitSubscribed(subscription, wasActive, { epochChanged, lost, replayed });
    if (lost > 0) {
      this.#emit("gap", {
        channel,
        from: missedFrom,
        to: seq,
        count: lost,
        isKept: false,
        refetched: false,
        timestamp: null,
      });
    }
  }

  #emitSubscribed(subscription, wasActive, { epochChanged, lost, replayed }) {
    const { channel, epoch, seq } = subscription;
    if (wasActive) this.#emit("reconnected", { channel, epoch, seq, epochChanged, lost, replayed });
    else this.#emit("subscribed", { channel, epoch, seq, lost, replayed });
  }

  #gap(subscription, message) {
    const { data } = message;
    const { channel } = subscription;
    if (
      !isObject(data) ||
      !isCount(data.from) ||
      !isCount(data.to) ||
      data.to < data.from ||
      data.from < 1
    ) {
      this.#reportProtocolError("A `gap` without from and to", channel);
      return;
    }
    const { from, to } = data;
    const refetched = subscription.replay !== null;
    if (refetched) {
      subscription.replay.next = to + 1;
    } else {
      if (subscription.seq !== null && from !== subscription.seq + 1) {
        this.#reportProtocolError(
          `A gap from ${from} where ${subscription.seq + 1} was next`,
          channel,
        );
      }
      subscription.seq = to;
    }
    const timestamp = textOrNull(message.timestamp);
    this.#emit("gap", {
      channel,
      from,
      to,
      count: to - from + 1,
      isKept: true,
      refetched,
      timestamp,
    });
  }

  /**
   * Moves the cursor past `count` messages, and returns the number of the first. Messages of a
   * replay have a cursor of their own, because they are behind the live ones.
   */
  #advance(subscription, count, first) {
    const { replay, channel } = subscription;
    if (replay) {
      if (replay.refetch) this.#restartTimeout(subscription, replay.refetch);
      const at = first ?? replay.next;
      if (at + count - 1 <= replay.to) {
        replay.next = at + count;
        return { seq: at, refetched: true };
      }
      this.#reportProtocolError(
        `More than was promised: a replay went beyond ${replay.to}`,
        channel,
      );
      this.#replayEnds(subscription);
    }
    if (subscription.seq === null) return { seq: first ?? null, refetched: false };
    const next = subscription.seq + 1;
    const at = first ?? next;
    if (at < next)
      this.#reportProtocolError(`Numbers went back from ${next - 1} to ${at}`, channel);
    subscription.seq = at + count - 1;
    if (at > next) {
      this.#emit("gap", {
        channel,
        from: next,
        to: at - 1,
        count: at - next,
        isKept: true,
        refetched: false,
        timestamp: null,
      });
    }
    // Messages may have been skipped without notice, so the number derived from counting is only an
    // estimate.
    const isKnown = subscription.gaps || first !== undefined;
    return { seq: isKnown ? at : null, refetched: false };
  }

  #lineBatch(subscription, message) {
    const { data } = message;
    const { channel } = subscription;
    if (!Array.isArray(data) || data.length === 0 || !isCount(message.seq)) {
      this.#reportProtocolError("A batch without lines or seq", channel);
      return;
    }
    for (let i = 0; i < data.length; i += 1) {
      if (typeof data[i] !== "string") {
        this.#reportProtocolError("A batch with a line that is no text", channel);
        data[i] = "";
      }
    }
    const { seq, refetched } = this.#advance(subscription, data.length, message.seq);
    this.#lines(subscription, message, data, seq, refetched);
  }

  #single(subscription, message) {
    const { channel } = subscription;
    const told = subscription.detail && isCount(message.seq) && message.seq > 0;
    const { seq, refetched } = this.#advance(subscription, 1, told ? message.seq : undefined);
    const { type, data } = message;
    if (type === "process_output" && typeof data === "string") {
      this.#lines(subscription, message, [data], seq, refetched);
    } else if (type === "process_status" && isObject(data) && typeof data.status === "string") {
      this.#emit("status", {
        channel,
        processId: textOrNull(message.processId),
        status: data.status,
        exitCode: Number.isSafeInteger(data.exitCode) ? data.exitCode : 0,
        seq,
        refetched,
        timestamp: textOrNull(message.timestamp),
      });
    } else {
      this.#other(message, channel, seq, refetched);
    }
  }

  #lines(subscription, message, texts, seq, refetched) {
    const { channel } = subscription;
    const processId = textOrNull(message.processId);
    const timestamp = textOrNull(message.timestamp);
    const stream = message.stream === "stderr" ? "stderr" : null;
    const past = message.past === true;
    const origin = { channel, processId, stream, past, refetched, timestamp };
    this.#emit("lines", { ...origin, texts, seq, continued: message.continued === true });
    if (!this.#handlers.get("line")?.size) return;
    for (let i = 0; i < texts.length; i += 1) {
      // A handler may have unsubscribed or closed. Then the remaining lines are not emitted.
      if (this.#channels.get(channel) !== subscription) return;
      const number = seq === null ? null : seq + i;
      const continued = message.continued === true && i + 1 === texts.length;
      this.#emit("line", { ...origin, text: texts[i], seq: number, continued });
    }
  }

  #partial(subscription, { data, processId, timestamp }) {
    const { channel } = subscription;
    if (typeof data !== "string") {
      this.#reportProtocolError("An unfinished line that is no text", channel);
      return;
    }
    subscription.hasPartial = data !== "";
    this.#emit("partial", {
      channel,
      processId: textOrNull(processId),
      text: data,
      timestamp: textOrNull(timestamp),
    });
  }

  /** Emits that no line is unfinished any more: without a connection, nobody knows. */
  #endPartials() {
    for (const subscription of [...this.#channels.values()]) {
      if (!subscription.hasPartial) continue;
      subscription.hasPartial = false;
      const { channel } = subscription;
      this.#emit("partial", { channel, processId: null, text: "", timestamp: null });
    }
  }

  #other(message, channel, seq, refetched) {
    this.#emit("message", {
      type: message.type,
      channel: channel === "" ? null : channel,
      processId: textOrNull(message.processId),
      data: message.data,
      seq,
      refetched,
      timestamp: textOrNull(message.timestamp),
    });
  }

  #replayBegins(subscription, data) {
    const request = this.#requests.find(
      (asked) => asked.kind === "range" && asked.subscription === subscription,
    );
    if (request) request.isAnswered = true;
    const refetch = subscription.refetches[0];
    if (!isObject(data) || !isCount(data.from) || !isCount(data.to)) {
      this.#reportProtocolError("A `replay` without from and to", subscription.channel);
      if (refetch) this.#failRefetch(subscription, refetch, "The server's answer made no sense");
      return;
    }
    const lost = isCount(data.lost) ? data.lost : 0;
    // The answer to a request that was given up may still come. Its lines are valid, but it does
    // not answer the next request.
    const isItsOwn =
      refetch && (data.to < data.from || (data.from >= refetch.from && data.to <= refetch.to));
    const answers = isItsOwn ? refetch : null;
    subscription.replay = { from: data.from, to: data.to, next: data.from, lost, refetch: answers };
    if (answers) this.#restartTimeout(subscription, answers);
  }

  #replayEnds(subscription) {
    const { replay } = subscription;
    subscription.replay = null;
    const refetch = replay?.refetch;
    if (!refetch || subscription.refetches[0] !== refetch) return;
    subscription.refetches.shift();
    clearTimeout(refetch.timer);
    refetch.resolve({ from: replay.from, to: replay.next - 1, lost: replay.lost });
    if (subscription.refetches.length > 0) this.#sendRange(subscription);
  }

  #reportProtocolError(message, channel = null) {
    this.#emit("error", { kind: "protocol", message, channel });
  }

  #emit(event, detail) {
    const handlers = this.#handlers.get(event);
    if (!handlers) return;
    for (const handler of handlers) {
      try {
        handler(detail);
      } catch (error) {
        report(error);
      }
    }
  }
}

function failRefetches(subscription, text) {
  for (const refetch of subscription.refetches.splice(0)) {
    clearTimeout(refetch.timer);
    refetch.reject(new Error(text));
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function isCount(value) {
  return Number.isSafeInteger(value) && value >= 0;
}

function textOrNull(value) {
  return typeof value === "string" ? value : null;
}

function withoutUndefined(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function defaultUrl() {
  return new URL("ws", import.meta.url);
}

function webSocketUrl(url) {
  const parsed = new URL(url, globalThis.location?.href);
  if (parsed.protocol === "http:") parsed.protocol = "ws:";
  if (parsed.protocol === "https:") parsed.protocol = "wss:";
  if (parsed.protocol !== "ws:" && parsed.protocol !== "wss:") {
    throw new TypeError(`${parsed.href} is no address of a WebSocket server`);
  }
  parsed.hash = "";
  return parsed.href;
}

/**
 * Reports an error without throwing it: in Node, an exception in one handler would end the program.
 */
function report(error) {
  if (typeof globalThis.reportError === "function") globalThis.reportError(error);
  else console.error(error);
}
