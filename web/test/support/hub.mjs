// A small hub that speaks the wire protocol. Tests of clients use it where a server has to stall,
// break or lie at a chosen moment. It does not model the speed or the queues of the real one.

import { listen } from "./websocket.mjs";

export class Hub {
  #server;
  #channels = new Map();
  #clients = new Map();
  #epoch;
  #keeps;
  #hasExtensions;
  #batch;
  #now;
  #cut = Infinity;
  /** The parsed messages from clients, oldest first. */
  received = [];
  /** Takes the ranges that clients ask for, in place of the hub's own answer. */
  onRange = null;
  /** The channels that are refused, each with the server's reason. */
  refused = {};
  #waiters = [];

  /** `batch` is the most lines of one message, and `now` returns the time of what is published. */
  static async start({
    port = 0,
    batch = 500,
    now = () => new Date(),
    epoch = "e1",
    keeps = 1000,
    hasExtensions = true,
    onRequest,
    isAllowed,
  } = {}) {
    const hub = new Hub();
    hub.#epoch = epoch;
    hub.#keeps = keeps;
    hub.#hasExtensions = hasExtensions;
    hub.#batch = batch;
    hub.#now = now;
    hub.#server = await listen((peer) => hub.#join(peer), { port, onRequest, isAllowed });
    return hub;
  }

  get url() {
    return this.#server.url;
  }

  get port() {
    return this.#server.port;
  }

  get peers() {
    return [...this.#server.peers];
  }

  stop() {
    return this.#server.stop();
  }

  /** Sends nothing more on any present connection, and leaves it open, as a dead network does. */
  mute() {
    for (const peer of this.#server.peers) peer.left = -1;
  }

  /** Breaks every connection, as a network failure does. */
  breakAll() {
    for (const peer of this.#server.peers) peer.destroy();
  }

  /** Breaks the next connection after it was sent this many messages. */
  cutAfter(messages) {
    this.#cut = messages;
  }

  /** Begins another epoch, like a restarted server. */
  restart(epoch) {
    this.#epoch = epoch;
    this.#channels.clear();
    this.breakAll();
  }

  /**
   * Waits until a client has sent a message for which `matches` returns true. Each message counts
   * once.
   */
  heard(matches) {
    const at = this.received.findIndex(matches);
    if (at >= 0) return Promise.resolve(this.received.splice(at, 1)[0]);
    return new Promise((resolve) => this.#waiters.push({ matches, resolve }));
  }

  channel(name) {
    let channel = this.#channels.get(name);
    if (!channel) {
      channel = { name, seq: 0, kept: [], subscribers: 0, status: undefined };
      this.#channels.set(name, channel);
    }
    return channel;
  }

  channels() {
    return [...this.#channels.values()].map(({ name, seq, status }) => ({
      channel: name,
      subscribers: [...this.#clients.values()].filter((subscriptions) => subscriptions.has(name))
        .length,
      published: seq,
      skipped: 0,
      status: status ?? null,
    }));
  }

  output(name, ...lines) {
    this.detailed(name, {}, ...lines);
  }

  /** Publishes lines of one stream. With `continued`, the last one goes on in the next line. */
  detailed(name, { stream, past, continued }, ...lines) {
    this.#publish(
      name,
      lines.map((data, index) => ({
        type: "process_output",
        data,
        stream,
        past,
        continued: continued && index + 1 === lines.length ? true : undefined,
      })),
    );
  }

  /** Shows an unfinished line to the subscribers that asked for it. */
  partial(name, data) {
    for (const [peer, subscriptions] of this.#clients) {
      if (subscriptions.get(name)?.partial)
        say(peer, { type: "process_partial", channel: name, data });
    }
  }

  status(name, status, exitCode = 0) {
    this.channel(name).status = { status, exitCode };
    this.#publish(name, [{ type: "process_status", data: { status, exitCode } }]);
  }

  message(name, type, data) {
    this.#publish(name, [{ type, data }]);
  }

  /** Publishes lines that no subscriber gets. Those that asked for gaps are sent one. */
  skip(name, ...lines) {
    const channel = this.channel(name);
    const from = channel.seq + 1;
    for (const data of lines) this.#keep(channel, { type: "process_output", data });
    const data = { from, to: channel.seq, count: lines.length };
    for (const [peer, subscriptions] of this.#clients) {
      if (subscriptions.get(name)?.gaps) say(peer, { type: "gap", channel: name, data });
    }
  }

  /** Sends a message without a channel to all clients. */
  toAll(type, data) {
    for (const peer of this.#clients.keys()) say(peer, { type, data });
  }

  raw(frame) {
    for (const peer of this.#clients.keys()) peer.send(frame);
  }

  #join(peer) {
    this.#clients.set(peer, new Map());
    peer.left = this.#cut;
    this.#cut = Infinity;
    peer.on("close", () => this.#clients.delete(peer));
    peer.on("message", (text) => {
      const message = JSON.parse(text);
      this.#command(peer, message);
      const at = this.#waiters.findIndex((waiter) => waiter.matches(message));
      if (at >= 0) this.#waiters.splice(at, 1)[0].resolve(message);
      else this.received.push(message);
    });
  }

  #command(peer, { type, channel: name, options }) {
    const subscriptions = this.#clients.get(peer);
    if (type === "ping") {
      say(peer, { type: "pong" });
    } else if (type === "unsubscribe") {
      subscriptions?.delete(name);
    } else if (type === "subscribe") {
      if (/[^A-Za-z0-9_.:-]/.test(name)) {
        say(peer, { type: "error", data: "Subscribe: invalid channel name" });
      } else if (Object.hasOwn(this.refused, name)) {
        say(peer, { type: "error", data: this.refused[name] });
      } else if (!this.#hasExtensions) {
        subscriptions.set(name, {});
      } else if (options?.range && subscriptions.has(name)) {
        this.#replay(peer, subscriptions.get(name), this.channel(name), options.range);
      } else {
        this.#subscribe(peer, subscriptions, this.channel(name), options ?? {});
      }
    }
  }

  #subscribe(peer, subscriptions, channel, options) {
    subscriptions.set(channel.name, options);
    const { seq, kept } = channel;
    const { since, tail } = options;
    let after = seq;
    let lost = 0;
    if (since && since.epoch === this.#epoch) {
      after = Math.min(seq, Math.max(since.seq, seq - kept.length));
      lost = after - since.seq;
    } else if (since) {
      after = seq - kept.length;
    } else if (tail) {
      after = seq - Math.min(tail, kept.length);
    }
    const data = { epoch: this.#epoch, seq: after, replayed: seq - after, lost };
    say(peer, { type: "subscribed", channel: channel.name, data });
    this.#deliver(peer, options, channel, kept.slice(kept.length - (seq - after)));
  }

  #replay(peer, options, channel, range) {
    if (this.onRange) {
      this.onRange(range);
      return;
    }
    const oldest = channel.seq - channel.kept.length + 1;
    const isHere = range.epoch === this.#epoch;
    const from = Math.max(range.from, oldest);
    const to = isHere ? Math.min(range.to, channel.seq) : from - 1;
    const lost = range.to - range.from + 1 - Math.max(0, to - from + 1);
    const name = channel.name;
    say(peer, { type: "replay", channel: name, data: { epoch: this.#epoch, from, to, lost } });
    this.#deliver(
      peer,
      options,
      channel,
      channel.kept.slice(from - oldest, Math.max(0, to - oldest + 1)),
    );
    say(peer, { type: "replayed", channel: name, data: { from, to } });
  }

  #publish(name, messages) {
    const channel = this.channel(name);
    const timestamp = this.#now().toISOString();
    const numbered = messages.map((message) => this.#keep(channel, message, timestamp));
    for (const [peer, subscriptions] of this.#clients) {
      const options = subscriptions.get(name);
      if (options) this.#deliver(peer, options, channel, numbered);
    }
  }

  #keep(channel, message, timestamp = this.#now().toISOString()) {
    channel.seq += 1;
    const numbered = { ...message, seq: channel.seq, timestamp };
    channel.kept.push(numbered);
    if (channel.kept.length > this.#keeps)
      channel.kept.splice(0, channel.kept.length - this.#keeps);
    return numbered;
  }

  #deliver(peer, options, channel, messages) {
    const processId = channel.name.startsWith("process:")
      ? channel.name.slice("process:".length)
      : undefined;
    const origin = { channel: channel.name, processId };
    for (let at = 0; at < messages.length;) {
      let end = at + 1;
      if (options.batch && messages[at].type === "process_output") {
        const { seq, timestamp, stream, past } = messages[at];
        const belongs = (message) =>
          message?.type === "process_output" &&
          message.timestamp === timestamp &&
          message.stream === stream &&
          message.past === past;
        while (belongs(messages[end]) && !messages[end - 1].continued && end - at < this.#batch) end += 1;
        const data = messages.slice(at, end).map((message) => message.data);
        const { continued } = messages[end - 1];
        const detail = options.detail ? { stream, continued, past } : {};
        say(peer, { type: "process_output_batch", ...origin, data, seq, timestamp, ...detail });
      } else {
        const { type, data, timestamp, seq, stream, continued, past } = messages[at];
        const detail = options.detail ? { seq, stream, continued, past } : {};
        say(peer, { type, ...origin, data, timestamp, ...detail });
      }
      at = end;
    }
  }
}

function say(peer, message) {
  if (peer.left <= 0) return;
  peer.left -= 1;
  peer.send(JSON.stringify({ timestamp: new Date().toISOString(), ...message }));
  if (peer.left === 0) peer.hangUp();
}
