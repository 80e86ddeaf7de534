// Fetches what was published before: the messages of a gap, and those before the first ones here.

import { gapRow, olderKeys, restOf } from "./feed-channel.js";

/** The most messages that are fetched again in one request. */
const MAX_FETCHED = 20_000;

/** The most older messages of a channel that are loaded at once, and of how many channels. */
const OLDER_MESSAGES = 5_000;
const MAX_OLDER_CHANNELS = 100;

/** The lines that are loaded before one that was asked for. */
const LINES_BEFORE = 200;

export class Past {
  #client;
  #store;
  #channels;
  /** True while older messages are being loaded. */
  isLoading = false;
  /** Rows were replaced, or a row has another state. */
  onReplaced = () => {};
  onProblem = () => {};

  /** `channels` are the states of the shown channels by name. */
  constructor(client, store, channels) {
    this.#client = client;
    this.#store = store;
    this.#channels = channels;
  }

  /** Loads messages from before the first ones here, as far as they are kept and fit. */
  async loadOlder() {
    const channels = [...this.#channels.values()]
      .filter(({ oldest, mayHaveOlder }) => mayHaveOlder && oldest > 1)
      .slice(0, MAX_OLDER_CHANNELS);
    const room = this.#store.capacity - this.#store.length;
    const each = Math.min(OLDER_MESSAGES, Math.floor(room / channels.length));
    if (this.isLoading || !(each > 0)) return;
    this.isLoading = true;
    this.onReplaced();
    try {
      for (const channel of channels) await this.#loadOlder(channel, each);
    } catch (error) {
      this.onProblem(`Older lines could not be loaded: ${error.message}`);
    }
    this.isLoading = false;
    this.onReplaced();
  }

  /** Loads the messages from before number `seq` to the first ones here, if they fit. */
  async loadBack(name, seq, epoch) {
    const channel = this.#channels.get(name);
    if (!channel || !(seq < channel.oldest) || this.isLoading) return;
    if (epoch && epoch !== this.#store.epochOf(name)) return;
    const most = channel.oldest - seq + LINES_BEFORE;
    if (most > this.#store.capacity - this.#store.length) return;
    this.isLoading = true;
    this.onReplaced();
    // If it fails, the line is missing, and this is said.
    await this.#loadOlder(channel, most).catch(() => {});
    this.isLoading = false;
    this.onReplaced();
  }

  async #loadOlder(channel, most) {
    const to = channel.oldest - 1;
    const from = Math.max(1, to - most + 1);
    const { rows, lost } = await this.#refetch(channel, from, to);
    if (this.#channels.get(channel.name) !== channel || channel.oldest !== to + 1) return;
    channel.oldest = from + lost;
    channel.before -= to + 1 - channel.oldest;
    channel.count += to + 1 - channel.oldest;
    channel.mayHaveOlder = lost === 0 && from > 1;
    const isOnly = this.#channels.size === 1;
    if (isOnly) this.#store.replace(this.#store.first, 0, rows);
    else this.#store.merge(olderKeys(rows, this.#store, channel.name), { isOlder: true });
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
    this.onReplaced();
    try {
      const { rows, lost } = await this.#refetch(channel, from, to);
      gap.state = undefined;
      const before = [];
      if (from > gap.from) before.push(gapRow(name, gap.time, gap.from, from - 1, true));
      if (lost > 0) before.push(gapRow(name, gap.time, from, from + lost - 1, false));
      const id = this.#store.find(gap);
      if (id >= 0) this.#store.replace(id, 1, [...before, ...rows]);
    } catch (error) {
      gap.state = undefined;
      gap.error = error.message;
    }
    this.onReplaced();
  }

  /**
   * Fetches messages again. Returns their rows, with a gap for each that is missing among them, and
   * how many of the first ones are no longer kept.
   */
  async #refetch(channel, from, to) {
    const { name } = channel;
    channel.refetched ??= [];
    const { to: last, lost } = await this.#client.refetch(name, from, to);
    const all = [...(channel.refetched ?? []), ...restOf(channel.refetchedPieces, name)];
    const rows = all.filter(({ seq }) => seq >= from && seq <= to);
    channel.refetched = all.filter(({ seq }) => seq < from || seq > to);
    // The server kept fewer than it had announced.
    const rest = Math.max(last + 1, from + lost);
    if (rest <= to) rows.push(gapRow(name, Number.NaN, rest, to, false));
    return { rows, lost: Math.min(lost, to - from + 1) };
  }
}
