// Moves messages from the connection into the store: lines, gaps, statuses, replays and refetched
// messages. Knows no elements.

import { count, counted, shortName } from "./format.js";
import { LateRows } from "./late-rows.js";
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

/** The most channels that a notice names. */
const MAX_NAMED = 3;

export class Feed {
  #client;
  #store;
  #late;
  #channels = new Map();
  /** The channels that have not been resumed since the connection was made. */
  #away = new Set();
  /** The notices of this connection by kind: `{ value, replayed }`. */
  #notices = new Map();
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
  /** The channels that the server refuses to show, each with its reason. */
  refusals = new Map();
  #refusalNotices = new Map();
  onChange = () => {};
  onReplaced = () => {};
  onStatus = () => {};
  /** The unfinished line of a channel has changed: its name, and the text or "". */
  onPartial = () => {};
  onProblem = () => {};

  constructor(client, store) {
    this.#client = client;
    this.#store = store;
    this.#late = new LateRows(store);
    this.#late.onPlaced = () => this.onReplaced();
    client.on("state", ({ state }) => this.#connectionChanged(state));
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

  /** True once the server has answered for each channel. */
  get isAnswered() {
    for (const { name, isAnswered } of this.#channels.values())
      if (!isAnswered && !this.refusals.has(name)) return false;
    return true;
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
      this.#late.drop(name);
      this.refusals.delete(name);
      this.onPartial(name, "");
      isRemoved = true;
    }
    if (isRemoved) this.#store.takeChannels((name) => !this.#channels.has(name));
    for (const name of names) {
      if (this.#channels.has(name)) continue;
      this.#channels.set(name, {
        name,
        count: 0,
        isAnswered: false,
        // The numbers of the last message that came, and of the last one that was promised.
        last: Number.NaN,
        due: Number.NaN,
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
      const { to: last, lost } = await this.#client.refetch(name, from, to);
      gap.state = undefined;
      channel.refetched.push(...restOf(channel.refetchedPieces, name));
      const rows = channel.refetched.filter(({ seq }) => seq >= from && seq <= to);
      channel.refetched = channel.refetched.filter(({ seq }) => seq < from || seq > to);
      const before = [];
      if (from > gap.from) before.push(gapRow(name, gap.time, gap.from, from - 1, true));
      if (lost > 0) before.push(gapRow(name, gap.time, from, from + lost - 1, false));
      // The server kept fewer than it had announced.
      const rest = Math.max(last + 1, from + lost);
      const after = rest <= to ? [gapRow(name, gap.time, rest, to, false)] : [];
      const id = this.#store.find(gap);
      if (id >= 0) this.#store.replace(id, 1, [...before, ...rows, ...after]);
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
    if (refetched || this.#late.holds(name)) {
      const rows = pieces
        .take(stream, texts, first, time, continued)
        .map((line) => ({ kind: LINE, channel: name, flags, ...line }));
      this.#holdBack(channel, rows, refetched, texts.length, first);
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
    this.#late.passed(name, time);
    this.#countUp(channel, texts.length, first);
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
    if (this.#late.holds(channel.name)) {
      this.#late.add(channel.name, rows, 0);
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
    if (refetched || this.#late.holds(channel.name)) {
      this.#holdBack(channel, [row], refetched, 1, row.seq);
      return;
    }
    this.#store.push(kind, row.channel, row.seq, row.time, value);
    this.#late.passed(channel.name, row.time);
    this.#countUp(channel, 1, row.seq);
  }

  #countUp(channel, number, first) {
    channel.count += number;
    channel.last = first + number - 1;
    this.received += number;
    this.onChange();
  }

  // Rows that were fetched again take the place of a gap, and those of a replay their place in time.
  #holdBack(channel, rows, refetched, messages, first) {
    if (refetched) {
      if (channel.refetched) for (const row of rows) channel.refetched.push(row);
      return;
    }
    this.#late.add(channel.name, rows, messages);
    this.#countUp(channel, messages, first);
  }

  #gap({ channel: name, from, to, count, isKept, refetched, timestamp }) {
    const channel = this.#channels.get(name);
    if (!channel) return;
    const row = gapRow(name, parseTime(timestamp), from, to, refetched ? false : isKept);
    if (refetched) {
      channel.refetched?.push(...restOf(channel.refetchedPieces, name), row);
      return;
    }
    this.skipped += count;
    this.#endPieces(channel);
    channel.last = to;
    if (this.#late.holds(name)) {
      // Those that were lost before the replay are none of its messages.
      this.#late.add(name, [row], timestamp === null ? 0 : count);
      this.onChange();
      return;
    }
    this.#late.passed(name, row.time);
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

  #subscribed({ channel: name, epoch, seq, lost, replayed }) {
    const channel = this.#channels.get(name);
    if (!channel) return;
    channel.isAnswered = true;
    this.refusals.delete(name);
    this.#store.setEpoch(name, epoch);
    // What was lost is reported as a gap.
    this.before += (seq ?? 0) - (lost ?? 0);
    this.#expect(channel, seq, replayed);
    this.onChange();
  }

  /** Prepares for a replay. Among several channels, its rows are placed by time. */
  #expect(channel, seq, replayed) {
    channel.last = seq ?? Number.NaN;
    channel.due = (seq ?? Number.NaN) + replayed;
    if (replayed > 0 && this.#channels.size > 1) this.#late.begin(channel.name, replayed);
  }

  #connectionChanged(state) {
    if (state === "open") {
      this.#away = new Set(this.#channels.keys());
      this.#notices.clear();
      return;
    }
    // What came of a replay is shown. The rest comes with the next connection.
    this.#late.end();
  }

  #reconnected({ channel: name, epoch, seq, epochChanged, lost, replayed }) {
    const channel = this.#channels.get(name);
    if (!channel) return;
    this.refusals.delete(name);
    this.#late.end();
    channel.refetched = null;
    channel.refetchedPieces.flush();
    if (epochChanged !== false || lost > 0) this.#endPieces(channel);
    if (epochChanged) this.#endEpoch(channel);
    this.#store.setEpoch(name, epoch);
    const text = epochChanged
      ? "The server was restarted: numbers start again"
      : lost === null
        ? "Connected again: messages in between may be missing"
        : "Connected again";
    this.#tellResumed(name, text, replayed);
    this.#expect(channel, seq, replayed);
    this.onReplaced();
  }

  /** Tells once for all channels that they were resumed, and how many messages follow. */
  #tellResumed(name, text, replayed) {
    const isFirst = this.#away.delete(name);
    let notice = isFirst ? this.#notices.get(text) : undefined;
    if (!notice) {
      notice = { value: { text }, replayed: 0 };
      if (isFirst) this.#notices.set(text, notice);
      // Without a time it stays behind the rows that were here.
      this.#store.push(NOTICE, name, Number.NaN, Number.NaN, notice.value);
    }
    notice.replayed += replayed;
    if (notice.replayed > 0)
      notice.value.text = `${text} · caught up with ${counted(notice.replayed, "message")}`;
  }

  /**
   * Ends the earlier epoch: the server no longer knows its numbers. What it had announced and not
   * sent is lost.
   */
  #endEpoch(channel) {
    const store = this.#store;
    const { name, last, due } = channel;
    for (let id = store.first; id < store.end; id += 1) {
      if (store.kind(id) === GAP && store.channel(id) === name) store.value(id).isKept = false;
    }
    if (!(last < due)) return;
    this.skipped += due - last;
    const row = gapRow(name, Number.NaN, last + 1, due, false);
    store.push(GAP, name, row.seq, row.time, row.value);
  }

  #notice(name, text, time = Date.now()) {
    this.#store.push(NOTICE, name, Number.NaN, time, { text });
    this.onChange();
  }

  #error({ kind, message, channel }) {
    if (kind === "refused") this.#refused(channel, message.replace(/^Subscribe: /, ""));
    else if (kind === "server") this.onProblem(message);
  }

  #refused(name, reason) {
    if (!this.#channels.has(name) || this.refusals.get(name) === reason) return;
    this.refusals.set(name, reason);
    this.onChange();
    // Without another channel, the page has no lines, and says this in their place.
    if (this.#channels.size < 2) return;
    const names = [...this.refusals].filter(([, why]) => why === reason).map(([known]) => known);
    let value = this.#refusalNotices.get(reason);
    if (!value) {
      this.#refusalNotices.set(reason, (value = { text: "" }));
      this.#store.push(NOTICE, name, Number.NaN, Date.now(), value);
    }
    const some = names.slice(0, MAX_NAMED).map(shortName).join(", ");
    const others = names.length > MAX_NAMED ? ` and ${count(names.length - MAX_NAMED)} more` : "";
    value.text = `Not shown: ${some}${others}: the server refuses it (${reason})`;
    this.onReplaced();
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
