// Moves messages from the connection into the store: lines, gaps, statuses, replays and refetched
// messages. Knows no elements.

import { shortName } from "./format.js";
import { completes, PieceJoiner } from "./pieces.js";
import { GAP, LINE, NOTICE, STATUS, STDERR } from "./store.js";

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
  /** The unfinished line of a channel has changed: its name, and the text or "". */
  onPartial = () => {};
  onProblem = () => {};

  constructor(client, store) {
    this.#client = client;
    this.#store = store;
    client.on("lines", (run) => this.#lines(run));
    client.on("partial", ({ channel, text }) => this.#partial(channel, text));
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
      this.onPartial(name, "");
      isRemoved = true;
    }
    if (isRemoved) this.#store.keepChannels((name) => this.#channels.has(name));
    for (const name of names) {
      if (this.#channels.has(name)) continue;
      this.#channels.set(name, {
        name,
        count: 0,
        replay: null,
        refetched: null,
        partial: "",
        pieces: new PieceJoiner(),
        refetchedPieces: new PieceJoiner(),
      });
      const place = placeOf(name);
      const start = place
        ? { since: { epoch: place.epoch, seq: Math.max(0, place.seq - TAIL_MESSAGES) } }
        : { tail: TAIL_MESSAGES };
      this.#client.subscribe(name, { ...start, partial: true });
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
      channel.refetched.push(...restOf(channel.refetchedPieces, name));
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

  #lines({ channel: name, texts, seq, stream, continued, refetched, timestamp }) {
    const channel = this.#channels.get(name);
    if (!channel) return;
    const time = parseTime(timestamp);
    const first = seq ?? Number.NaN;
    const flags = stream === "stderr" ? STDERR : 0;
    const pieces = refetched ? channel.refetchedPieces : channel.pieces;
    if (refetched || channel.replay) {
      const rows = pieces
        .take(stream, texts, first, time, continued)
        .map((line) => ({ kind: LINE, channel: name, flags, ...line }));
      this.#holdBack(channel, rows, refetched, texts.length);
      return;
    }
    if (channel.partial !== "" && texts.some((text) => completes(text, channel.partial)))
      this.#partial(name, "");
    if (continued || pieces.isOpen(stream)) {
      for (const line of pieces.take(stream, texts, first, time, continued))
        this.#store.push(LINE, name, line.seq, line.time, line.value, flags);
    } else {
      for (let i = 0; i < texts.length; i += 1)
        this.#store.push(LINE, name, first + i, time, texts[i], flags);
    }
    this.#countUp(channel, texts.length);
  }

  #partial(name, text) {
    const channel = this.#channels.get(name);
    if (!channel || channel.partial === text) return;
    channel.partial = text;
    this.onPartial(name, text);
  }

  /** Shows the pieces whose line will not be completed: messages after them are missing. */
  #endPieces(channel) {
    const rows = restOf(channel.pieces, channel.name);
    if (rows.length === 0) return;
    if (channel.replay) {
      this.#holdBack(channel, rows, false, 0);
      return;
    }
    for (const { seq, time, value, flags } of rows)
      this.#store.push(LINE, channel.name, seq, time, value, flags);
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
      this.#holdBack(channel, [row], refetched, 1);
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
  // already shown. `messages` of them came.
  #holdBack(channel, rows, refetched, messages, isGap = false) {
    if (refetched) {
      if (channel.refetched) for (const row of rows) channel.refetched.push(row);
      return;
    }
    for (const row of rows) channel.replay.rows.push(row);
    channel.replay.left -= messages;
    if (channel.replay.left <= 0) {
      const { replay } = channel;
      // The lost messages have no time of their own.
      if (replay.lost) replay.rows.unshift({ ...replay.lost, time: replay.rows[0].time });
      this.#store.merge(replay.rows);
      channel.replay = null;
      this.onReplaced();
    }
    if (!isGap) this.#countUp(channel, messages);
  }

  #gap({ channel: name, from, to, count, isKept, refetched, timestamp }) {
    const channel = this.#channels.get(name);
    if (!channel || refetched) return;
    this.skipped += count;
    this.#endPieces(channel);
    const row = gapRow(name, parseTime(timestamp), from, to, isKept);
    if (channel.replay && timestamp === null) {
      // These were lost before the first replayed message.
      channel.replay.lost = row;
      return;
    }
    if (channel.replay) {
      this.#holdBack(channel, [row], false, count, true);
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
    channel.refetchedPieces.flush();
    if (epochChanged !== false || lost > 0) this.#endPieces(channel);
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

/** Returns the rows of the pieces that are held back. */
function restOf(pieces, channel) {
  return pieces.flush().map(([stream, line]) => ({
    kind: LINE,
    channel,
    flags: stream === "stderr" ? STDERR : 0,
    ...line,
  }));
}

function parseTime(timestamp) {
  return timestamp === null ? Number.NaN : Date.parse(timestamp);
}
