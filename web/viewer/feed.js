// Moves messages from the connection into the store: lines, gaps, statuses, replays and refetched
// messages. Knows no elements.

import { gapRow, newChannel, parseTime, restOf } from "./feed-channel.js";
import { FeedNotices } from "./feed-notices.js";
import { shortName } from "./format.js";
import { LateRows } from "./late-rows.js";
import { Parked } from "./parked.js";
import { Past } from "./past.js";
import { completes } from "./pieces.js";
import { GAP, LINE, NOTICE, STATUS, STDERR } from "./store.js";

/** The number of past messages to request at first. Older ones are loaded on request. */
const TAIL_MESSAGES = 10_000;

const MAX_NOTICE_LENGTH = 2_000;

const RESTARTED = "The server was restarted: numbers start again";

export class Feed {
  #client;
  #store;
  #late;
  #channels = new Map();
  /** The channels that have not been resumed since the connection was made. */
  #away = new Set();
  #notices;
  #parked = new Parked();
  /** What fetches earlier messages. */
  past;
  /** The channels that the server refuses to show, each with its reason. */
  refusals = new Map();
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
    this.#notices = new FeedNotices(store);
    this.#late.onPlaced = () => this.onReplaced();
    this.past = new Past(client, store, this.#channels);
    this.past.onReplaced = () => this.onReplaced();
    this.past.onProblem = (text) => this.onProblem(text);
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

  /** The messages of the shown channels that were received. */
  get received() {
    return this.#sum("count");
  }

  /** Those that were skipped. */
  get skipped() {
    return this.#sum("skipped");
  }

  /**
   * Those published before the first one requested. Received, skipped and these add up to all that
   * was published.
   */
  get before() {
    return this.#sum("before");
  }

  #sum(key) {
    let sum = 0;
    for (const channel of this.#channels.values()) sum += channel[key];
    return sum;
  }

  /** `{ count, mayLoad }`: the messages before those here, and whether some may be kept. */
  get older() {
    let older = 0;
    let mayLoad = false;
    for (const channel of this.#channels.values()) {
      if (!(channel.oldest > 1)) continue;
      older += channel.oldest - 1;
      mayLoad ||= channel.mayHaveOlder;
    }
    return { count: older, mayLoad };
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
    this.#late.place();
    const removed = new Map();
    const wanted = new Set(names);
    for (const [name, channel] of this.#channels) {
      if (wanted.has(name)) continue;
      this.#endPieces(channel);
      channel.position = this.#client.position(name);
      this.#client.unsubscribe(name);
      removed.set(name, channel);
      this.#channels.delete(name);
      this.#late.drop(name);
      this.refusals.delete(name);
      this.onPartial(name, "");
    }
    if (removed.size > 0) this.#park(removed);
    // What does not fit into the store is not asked for.
    const most = Math.max(1, Math.floor(this.#store.capacity / Math.max(1, names.length)));
    for (const name of names) {
      if (this.#channels.has(name)) continue;
      const parked = this.#parked.take(name);
      const channel = parked?.state ?? newChannel(name);
      this.#channels.set(name, channel);
      if (parked) {
        this.#store.setEpoch(name, channel.position.epoch);
        this.#late.give(name, parked.rows);
        this.#client.subscribe(name, { since: channel.position, partial: true });
        continue;
      }
      const place = placeOf(name);
      channel.asked = Math.min(TAIL_MESSAGES, most);
      const start = place
        ? { since: { epoch: place.epoch, seq: Math.max(0, place.seq - channel.asked) } }
        : { tail: channel.asked };
      this.#client.subscribe(name, { ...start, partial: true });
    }
    this.#late.place();
    this.#parked.trim(this.#store);
    this.onReplaced();
  }

  /** Keeps the rows of channels that are no longer shown, and where to go on with them. */
  #park(removed) {
    const rows = new Map([...removed.keys()].map((name) => [name, []]));
    for (const row of this.#store.takeChannels((name) => !this.#channels.has(name)))
      rows.get(row.channel)?.push(row);
    for (const [name, channel] of removed) {
      channel.refetched = null;
      channel.partial = "";
      if (channel.position) this.#parked.add(name, channel, rows.get(name));
    }
  }

  /** The rows were removed from the screen. Those that are kept by the server can be loaded. */
  cleared() {
    for (const channel of this.#channels.values()) {
      if (!(channel.last >= 0)) continue;
      channel.oldest = channel.last + 1;
      channel.mayHaveOlder = true;
    }
  }

  /** Returns the number of messages received from the channel. */
  count(name) {
    return this.#channels.get(name)?.count ?? 0;
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
    this.#parked.trim(this.#store);
    this.onChange();
  }

  // Rows that were fetched again take the place of a gap, those of a replay their place in time.
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
    channel.skipped += count;
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
    const { position } = channel;
    channel.position = null;
    if (position && position.epoch !== epoch) {
      this.#endEpoch(channel);
      this.#store.push(NOTICE, name, Number.NaN, Number.NaN, { text: RESTARTED });
      channel.oldest = 1;
    } else if (!position) {
      // What was lost is reported as a gap.
      channel.before = (seq ?? 0) - (lost ?? 0);
      channel.oldest = channel.before + 1;
      channel.mayHaveOlder = replayed >= channel.asked;
    }
    this.#store.setEpoch(name, epoch);
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
      this.#notices.connected();
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
    if (epochChanged) {
      this.#endEpoch(channel);
      // What came before is of another numbering, or a gap.
      channel.oldest = 1;
    }
    this.#store.setEpoch(name, epoch);
    const text = epochChanged
      ? RESTARTED
      : lost === null
        ? "Connected again: messages in between may be missing"
        : "Connected again";
    this.#notices.tellResumed(name, text, replayed, this.#away.delete(name));
    this.#expect(channel, seq, replayed);
    this.onReplaced();
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
    channel.skipped += due - last;
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
    // Without another channel, the page has no lines, and says this in their place.
    if (this.#channels.size > 1) this.#notices.tellRefused(this.refusals, name, reason);
    this.onReplaced();
  }
}
