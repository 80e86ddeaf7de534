// Moves messages from the connection into the store: lines, gaps, statuses, replays and refetched
// messages. Knows no elements.

import { shortName } from "./format.js";
import { GAP, LINE, NOTICE, STATUS } from "./store.js";

/**
 * The number of past messages to request. It exceeds what a server keeps by default, so that all of
 * them come.
 */
const TAIL_MESSAGES = 10_000;

/** The most messages that are fetched again in one request. */
const MAX_FETCHED = 20_000;

const MAX_NOTICE_LENGTH = 2_000;

export class Feed {
  #client;
  #store;
  #channels = new Map();
  /**
   * The messages of shown channels that were received, and those that were skipped, since the page
   * was opened.
   */
  received = 0;
  skipped = 0;
  /**
   * The messages published before the first one requested. Received, skipped and these add up to
   * everything that was published.
   */
  before = 0;
  onChange = () => {};
  onReplaced = () => {};
  onStatus = () => {};
  onProblem = () => {};

  constructor(client, store) {
    this.#client = client;
    this.#store = store;
    client.on("lines", (run) => this.#lines(run));
    client.on("status", (status) => this.#status(status));
    client.on("gap", (gap) => this.#gap(gap));
    client.on("subscribed", (subscribed) => this.#subscribed(subscribed));
    client.on("reconnected", (reconnected) => this.#reconnected(reconnected));
    client.on("message", (message) => this.#message(message));
    client.on("error", (error) => this.#error(error));
  }

  get channels() {
    return [...this.#channels.keys()];
  }

  get shows() {
    return this.#channels.size > 0;
  }

  /**
   * Shows exactly these channels. Removes the rows of all others.
   *
   * `placeOf` returns the numbering and the last message of a channel that appeared meanwhile, or
   * undefined. Such a channel is shown from its first message, or from as many as of any other. Of
   * these, the messages that are no longer kept are shown as a gap.
   */
  show(names, placeOf = () => undefined) {
    let isRemoved = false;
    for (const name of this.channels) {
      if (names.includes(name)) continue;
      this.#client.unsubscribe(name);
      this.#channels.delete(name);
      isRemoved = true;
    }
    if (isRemoved) this.#store.keepChannels((name) => this.#channels.has(name));
    for (const name of names) {
      if (this.#channels.has(name)) continue;
      this.#channels.set(name, { name, count: 0, replay: null, refetched: null });
      const place = placeOf(name);
      const since = place && { epoch: place.epoch, seq: Math.max(0, place.seq - TAIL_MESSAGES) };
      this.#client.subscribe(name, since ? { since } : { tail: TAIL_MESSAGES });
    }
    this.onReplaced();
  }

  /** Returns the number of messages received from the channel. */
  count(name) {
    return this.#channels.get(name)?.count ?? 0;
  }

  /**
   * Fetches the messages of a gap again and puts them in its place. Of a long gap, fetches only the
   * end.
   */
  async fetch(gap, name) {
    const channel = this.#channels.get(name);
    if (!channel || gap.state === "fetching" || !gap.isKept) return;
    gap.state = "fetching";
    gap.error = undefined;
    const from = Math.max(gap.from, gap.to - MAX_FETCHED + 1);
    const { to } = gap;
    channel.refetched ??= [];
    this.onReplaced();
    try {
      const { lost } = await this.#client.refetch(name, from, to);
      gap.state = undefined;
      const rows = channel.refetched.filter(({ seq }) => seq >= from && seq <= to);
      channel.refetched = channel.refetched.filter(({ seq }) => seq < from || seq > to);
      const missing = [];
      if (from > gap.from) missing.push(gapRow(name, gap.time, gap.from, from - 1, true));
      if (lost > 0) missing.push(gapRow(name, gap.time, from, from + lost - 1, false));
      const id = this.#store.find(gap);
      if (id >= 0) this.#store.replace(id, 1, [...missing, ...rows]);
    } catch (error) {
      gap.state = undefined;
      gap.error = error.message;
    }
    this.onReplaced();
  }

  #lines({ channel: name, texts, seq, refetched, timestamp }) {
    const channel = this.#channels.get(name);
    if (!channel) return;
    const time = parseTime(timestamp);
    const first = seq ?? Number.NaN;
    if (refetched || channel.replay) {
      const rows = texts.map((value, i) => ({
        kind: LINE,
        channel: name,
        seq: first + i,
        time,
        value,
      }));
      this.#holdBack(channel, rows, refetched);
      return;
    }
    for (let i = 0; i < texts.length; i += 1)
      this.#store.push(LINE, name, first + i, time, texts[i]);
    this.#countUp(channel, texts.length);
  }

  #status({ channel: name, status, exitCode, seq, refetched, timestamp }) {
    const channel = this.#channels.get(name);
    if (!channel) return;
    const value = { status, exitCode, name: shortName(name) };
    this.#single(channel, STATUS, seq, timestamp, value, refetched);
    if (!refetched) this.onStatus(name, { status, exitCode });
  }

  #message({ type, channel: name, data, seq, refetched, timestamp }) {
    const value = typeof data === "string" ? data : JSON.stringify(data);
    const text = (data === undefined ? type : `${type} ${value}`).slice(0, MAX_NOTICE_LENGTH);
    const channel = this.#channels.get(name);
    if (channel) this.#single(channel, NOTICE, seq, timestamp, { text }, refetched);
    else if (name === null && this.#channels.size > 0)
      this.#notice(this.channels[0], text, parseTime(timestamp));
  }

  #single(channel, kind, seq, timestamp, value, refetched) {
    const row = {
      kind,
      channel: channel.name,
      seq: seq ?? Number.NaN,
      time: parseTime(timestamp),
      value,
    };
    if (refetched || channel.replay) {
      this.#holdBack(channel, [row], refetched);
      return;
    }
    this.#store.push(kind, row.channel, row.seq, row.time, value);
    this.#countUp(channel, 1);
  }

  #countUp(channel, number) {
    channel.count += number;
    this.received += number;
    this.onChange();
  }

  // Holds rows back until all of them have arrived, because they belong before the rows that are
  // already shown.
  #holdBack(channel, rows, refetched) {
    if (refetched) {
      if (channel.refetched) for (const row of rows) channel.refetched.push(row);
      return;
    }
    for (const row of rows) channel.replay.rows.push(row);
    channel.replay.left -= rows.length;
    if (channel.replay.left <= 0) {
      const { replay } = channel;
      // The lost messages have no time of their own.
      if (replay.lost) replay.rows.unshift({ ...replay.lost, time: replay.rows[0].time });
      this.#store.merge(replay.rows);
      channel.replay = null;
      this.onReplaced();
    }
    this.#countUp(channel, rows.filter(({ kind }) => kind !== GAP).length);
  }

  #gap({ channel: name, from, to, count, isKept, refetched, timestamp }) {
    const channel = this.#channels.get(name);
    if (!channel || refetched) return;
    this.skipped += count;
    const row = gapRow(name, parseTime(timestamp), from, to, isKept);
    if (channel.replay && timestamp === null) {
      // These were lost before the first replayed message.
      channel.replay.lost = row;
      return;
    }
    if (channel.replay) {
      channel.replay.left -= count - 1;
      this.#holdBack(channel, [row], false);
      return;
    }
    const last = this.#store.end - 1;
    if (
      this.#store.has(last) &&
      this.#store.kind(last) === GAP &&
      this.#store.channel(last) === name
    ) {
      const before = this.#store.value(last);
      if (before.to + 1 === from && before.isKept === isKept && before.state === undefined) {
        before.to = to;
        this.onReplaced();
        return;
      }
    }
    this.#store.push(GAP, name, from, row.time, row.value);
    this.onChange();
  }

  #subscribed({ channel: name, seq, lost, replayed }) {
    const channel = this.#channels.get(name);
    if (!channel) return;
    // What was lost is reported as a gap.
    this.before += (seq ?? 0) - (lost ?? 0);
    // With several channels, the replay of each is merged into the rows of the others.
    if (replayed > 0 && this.#channels.size > 1) {
      channel.replay = { left: replayed, rows: [], lost: null };
    }
    this.onChange();
  }

  #reconnected({ channel: name, epochChanged, lost, replayed }) {
    const channel = this.#channels.get(name);
    if (!channel) return;
    channel.replay = null;
    channel.refetched = null;
    const caughtUp =
      replayed > 0 ? ` · caught up with ${replayed.toLocaleString("en")} messages` : "";
    if (epochChanged) {
      this.#endEpoch(name);
      this.#notice(name, `The server was restarted: numbers start again${caughtUp}`);
    } else if (lost === null) {
      this.#notice(name, "Connected again: messages in between may be missing");
    } else {
      this.#notice(name, `Connected again${caughtUp}`);
    }
    this.onReplaced();
  }

  /** Marks the gaps of the earlier epoch as lost: the server no longer knows its numbers. */
  #endEpoch(name) {
    const store = this.#store;
    for (let id = store.first; id < store.end; id += 1) {
      if (store.kind(id) === GAP && store.channel(id) === name) store.value(id).isKept = false;
    }
  }

  #notice(name, text, time = Date.now()) {
    this.#store.push(NOTICE, name, Number.NaN, time, { text });
    this.onChange();
  }

  #error({ kind, message, channel }) {
    if (kind === "refused") this.onProblem(`${channel}: ${message}`);
    else if (kind === "server") this.onProblem(message);
  }
}

function gapRow(channel, time, from, to, isKept) {
  return {
    kind: GAP,
    channel,
    seq: from,
    time,
    value: { from, to, isKept, time, state: undefined, error: undefined },
  };
}

function parseTime(timestamp) {
  return timestamp === null ? Number.NaN : Date.parse(timestamp);
}
