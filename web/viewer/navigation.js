// The page's address: reads what its link names, and changes it.

import { ALL, formatLink, isProcess, parseLink } from "./links.js";

/** The most processes that are shown together when the address names no channel. */
const MAX_DEFAULT_PROCESSES = 12;

export class Navigation {
  #link = { channels: [], line: null, filter: null };
  #hasNamedChannels = false;
  /** The address was read: `({ channelsChanged })` tells whether it names other channels now. */
  onRead = () => {};

  constructor() {
    addEventListener("hashchange", () => this.read());
  }

  /** The channels that the link names, `ALL` among them if it stands for all processes. */
  get channels() {
    return this.#link.channels;
  }

  get line() {
    return this.#link.line;
  }

  get filter() {
    return this.#link.filter;
  }

  /** The channel of a link that names exactly one, or null. */
  get onlyChannel() {
    const { channels } = this.#link;
    return channels.length === 1 && channels[0] !== ALL ? channels[0] : null;
  }

  read() {
    const next = parseLink(location.hash);
    const channelsChanged = next.channels.join() !== this.#link.channels.join();
    this.#link = next;
    if (next.channels.length > 0) this.#hasNamedChannels = true;
    this.onRead({ channelsChanged });
  }

  /**
   * Changes the given parts of the link. A step becomes an entry of the browser's history and is
   * read like any other address; every other change replaces the current entry.
   */
  write(change, { isStep = false } = {}) {
    const hash = formatLink({ ...this.#link, ...change });
    if (hash === location.hash || (hash === "#" && location.hash === "")) return;
    if (isStep) {
      location.hash = hash;
    } else {
      history.replaceState(null, "", hash);
      this.#link = parseLink(hash);
    }
  }

  /** The link to one line among the channels and with the filter that are shown now. */
  hrefOf(channel, seq, epoch) {
    return formatLink({ ...this.#link, line: { channel, seq, epoch } });
  }

  /**
   * Opens the processes if they are few, or else the first channel, for a visitor whose address
   * has named no channel so far.
   */
  openDefault({ names, processes }) {
    if (this.#hasNamedChannels || names.length === 0) return;
    const areFew = processes.length > 1 && processes.length <= MAX_DEFAULT_PROCESSES;
    history.replaceState(null, "", formatLink({ channels: [areFew ? ALL : names[0]] }));
    this.read();
  }

  /** Adds a channel to the link or removes it. `shown` are the channels that are shown now. */
  toggle(name, isShown, shown) {
    let others = this.#link.channels.filter((channel) => channel !== name);
    if (name === ALL && isShown) others = others.filter((channel) => !isProcess(channel));
    // All processes but one: the link names each of them.
    if (isProcess(name) && others.includes(ALL)) {
      others = others.filter((channel) => channel !== ALL);
      others.push(...shown.filter((other) => isProcess(other) && other !== name));
    }
    this.write({ channels: isShown ? [...others, name] : others, line: null }, { isStep: true });
  }

  /** Opens the next (1) or the previous (-1) of the channels `names`, round and round. */
  step(direction, names) {
    if (names.length === 0) return;
    const [first] = this.#link.channels;
    const at = first === ALL && direction < 0 ? 0 : names.indexOf(first);
    const next = names[(at + direction + names.length) % names.length];
    this.write({ channels: [next], line: null }, { isStep: true });
  }
}

/** Shows the line that the address names as soon as it has arrived. */
export class LineSeeker {
  #store;
  #list;
  #line = null;
  /** The line is given up: `({ channel, seq, epoch })`. */
  onMissing = () => {};

  constructor(store, list) {
    this.#store = store;
    this.#list = list;
  }

  /** Seeks `{ channel, seq, epoch }`, or nothing if `line` is null. */
  seek(line) {
    this.#line = line;
    this.retry();
  }

  retry() {
    if (!this.#line) return;
    const { channel, seq, epoch } = this.#line;
    const id = this.#store.findSeq(channel, seq, epoch);
    if (id < 0) {
      const present = this.#store.epochOf(channel);
      // A line of another numbering will not come.
      if (epoch && present && epoch !== present) this.giveUp();
      return;
    }
    this.#line = null;
    this.#list.show(id);
  }

  giveUp() {
    if (!this.#line) return;
    const line = this.#line;
    this.#line = null;
    this.onMissing(line);
  }
}
