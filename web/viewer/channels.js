// The list of channels: every channel of the server with its status and rate, and whether it is
// shown. Channels of several servers are grouped by the node that has them.

import { ChannelPoll } from "./channel-poll.js";
import { counted, rate, shortName, statusText, statusTone } from "./format.js";
import { ALL, formatLink, isProcess } from "./links.js";

/** The most channels that are listed. The list says how many others there are. */
const MAX_LISTED = 5_000;

/** What the row of a node begins with. No channel's name does. */
const NODE = "node ";

/** The row that says how many channels are not listed. */
const MORE = " more";

const NAME_ORDER = new Intl.Collator("en", { numeric: true });

export class Channels {
  #list;
  #none;
  #poll;
  #items = new Map();
  #known = new Map();
  #processes = new Map();
  /** The place of each channel that appeared after the first answer, when it was first listed. */
  #places = new Map();
  #isListed = false;
  #unlisted = 0;
  #frame = 0;
  #shown = new Set();
  #showsAll = false;
  #colors = new Map();
  onToggle = () => {};
  /** The server has answered. The channels may have changed. */
  onChange = () => {};
  /** The server requires a token, or another one. It is not asked until `poll` is called. */
  onRefused = () => {};

  constructor({ list, none }, server) {
    this.#list = list;
    this.#none = none;
    this.#poll = new ChannelPoll(server);
    this.#poll.onRefused = () => this.onRefused();
    this.#poll.onAnswer = (channels, processes) => {
      if (processes) this.#takeProcesses(processes);
      // If the server does not answer, or lacks this endpoint, the list stays as it is. The state
      // of the connection is shown elsewhere.
      if (channels.status === 200) this.#take(channels.value);
    };
    list.addEventListener("change", (event) => {
      const channel = event.target.closest("li")?.dataset.channel;
      if (channel) this.onToggle(channel, event.target.checked);
    });
  }

  /** All known names: node by node, this server's own first, and processes first in each. */
  get names() {
    return [...this.#known.keys()].sort(
      (a, b) =>
        NAME_ORDER.compare(this.#node(a), this.#node(b)) ||
        isProcess(b) - isProcess(a) ||
        NAME_ORDER.compare(a, b),
    );
  }

  /** Returns the node that has a channel. An empty text is the server itself. */
  #node(name) {
    return this.#known.get(name)?.node || this.#processes.get(name)?.node || "";
  }

  get processes() {
    return this.names.filter(isProcess);
  }

  /**
   * Takes the names of the shown channels, whether they are shown as "all processes", and the color
   * number of each.
   */
  show(names, showsAll, colors) {
    this.#shown = new Set(names);
    this.#showsAll = showsAll;
    this.#colors = colors;
    for (const name of names) this.#channel(name);
    this.#drawSoon();
  }

  /** Returns `{ status, exitCode }`, or undefined if the status is unknown. */
  status(channel) {
    return this.#known.get(channel)?.status ?? statusOf(this.#processes.get(channel));
  }

  /**
   * Returns the server's description of the process behind a channel, `{ id, pid, restarts,
   * controllable, … }`, or undefined.
   */
  process(channel) {
    return this.#processes.get(channel);
  }

  /**
   * Returns `{ epoch, seq }` for a channel that appeared while the page was open: its numbering,
   * and its last message when it was found. Undefined for any other channel.
   */
  place(channel) {
    return this.#places.get(channel);
  }

  rate(channel) {
    return this.#known.get(channel)?.rate ?? 0;
  }

  setStatus(channel, status) {
    this.#channel(channel).status = status;
    this.#drawSoon();
  }

  /**
   * Sets the rate of a channel that this page receives: it is more recent than the rate that is
   * derived from polling.
   */
  setRate(channel, perSecond) {
    this.#channel(channel).rate = perSecond;
  }

  #channel(name) {
    let channel = this.#known.get(name);
    if (!channel)
      this.#known.set(
        name,
        (channel = { status: undefined, rate: 0, published: null, at: 0, node: "" }),
      );
    return channel;
  }

  /** Asks the server for its channels now, and then whenever another one has appeared. */
  poll() {
    this.#poll.poll();
  }

  #takeProcesses({ status, value }) {
    if (status !== 200 || !Array.isArray(value)) return;
    this.#processes = new Map(
      value
        .filter((entry) => typeof entry?.id === "string")
        .map((entry) => [`process:${entry.id}`, entry]),
    );
  }

  #take(answer) {
    if (!Array.isArray(answer)) return;
    const now = performance.now();
    // A process without any output is listed too.
    const present = new Set([...this.#shown, ...this.#processes.keys()]);
    for (const name of present) this.#channel(name);
    for (const entry of answer.slice(0, MAX_LISTED)) {
      if (typeof entry?.channel !== "string") continue;
      present.add(entry.channel);
      const { published, status, epoch, seq } = entry;
      if (this.#isListed && !this.#known.has(entry.channel) && typeof epoch === "string")
        this.#places.set(entry.channel, { epoch, seq: Number.isSafeInteger(seq) ? seq : 0 });
      const channel = this.#channel(entry.channel);
      channel.node = typeof entry.node === "string" ? entry.node : "";
      if (Number.isSafeInteger(published)) {
        const isLater =
          channel.published !== null && published >= channel.published && now > channel.at;
        if (isLater && !this.#shown.has(entry.channel)) {
          channel.rate = ((published - channel.published) * 1_000) / (now - channel.at);
        }
        channel.published = published;
        channel.at = now;
      }
      channel.status = statusOf(status) ?? channel.status;
    }
    for (const name of [...this.#known.keys()]) {
      if (present.has(name)) continue;
      this.#known.delete(name);
      this.#places.delete(name);
    }
    this.#isListed = true;
    this.#unlisted = Math.max(0, answer.length - MAX_LISTED);
    this.#drawSoon();
    this.onChange();
  }

  /** Draws with the next frame: many channels may change at once. */
  #drawSoon() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  /** Updates the elements. Touches only those that have changed. */
  #draw() {
    const { names } = this;
    const processes = names.filter(isProcess);
    const rows = this.#withNodes(names);
    if (processes.length > 1 || this.#showsAll) rows.unshift(ALL);
    if (this.#unlisted > 0) rows.push(MORE);
    const present = new Set(rows);
    for (const [name, item] of this.#items) {
      if (present.has(name)) continue;
      item.element.remove();
      this.#items.delete(name);
    }
    rows.forEach((name, place) => {
      let item = this.#items.get(name);
      if (!item) {
        item = isHeading(name) ? makeHeading(name) : makeItem(name);
        this.#items.set(name, item);
      }
      if (this.#list.children[place] !== item.element)
        this.#list.insertBefore(item.element, this.#list.children[place] ?? null);
      if (name === ALL) this.#drawAll(item, processes);
      else if (name === MORE)
        set(item.element, `${counted(this.#unlisted, "channel")} more, not listed`);
      else if (!isHeading(name)) this.#drawItem(item, name);
    });
    this.#none.hidden = names.length > 0;
  }

  /** Puts a row before the channels of each node, unless all channels are of one. */
  #withNodes(names) {
    if (new Set(names.map((name) => this.#node(name))).size < 2) return [...names];
    const rows = [];
    let last = null;
    for (const name of names) {
      const node = this.#node(name);
      if (node !== last) rows.push(NODE + node);
      last = node;
      rows.push(name);
    }
    return rows;
  }

  #drawAll(item, processes) {
    let perSecond = 0;
    let bad = 0;
    for (const name of processes) {
      perSecond += this.rate(name);
      const status = this.status(name);
      if (status && statusTone(status) === "bad") bad += 1;
    }
    const shown = processes.filter((name) => this.#shown.has(name)).length;
    item.box.indeterminate = !this.#showsAll && shown > 1;
    drawShown(item, this.#showsAll, this.#showsAll);
    set(item.lines, counted(processes.length, "process", "processes"));
    set(item.speed, rate(perSecond));
    item.badge.hidden = bad === 0;
    set(item.badge, `${bad} failed`);
    item.badge.className = "badge bad";
  }

  #drawItem(item, name) {
    const { rate: perSecond, published } = this.#known.get(name);
    const status = this.status(name);
    const isShown = this.#shown.has(name);
    drawShown(item, isShown, isShown && !(this.#showsAll && isProcess(name)));
    set(
      item.lines,
      published === null
        ? isProcess(name)
          ? "process"
          : "channel"
        : counted(published, "message"),
    );
    set(item.speed, rate(perSecond));
    const color = isShown && this.#shown.length > 1 ? this.#colors.get(name) : undefined;
    item.name.className = color === undefined ? "name" : `name c${color}`;
    item.badge.hidden = !status;
    if (!status) return;
    set(item.badge, statusText(status));
    item.badge.className = `badge ${statusTone(status)}`;
  }
}

function statusOf(entry) {
  if (typeof entry?.status !== "string") return undefined;
  return {
    status: entry.status,
    exitCode: Number.isSafeInteger(entry.exitCode) ? entry.exitCode : 0,
  };
}

function drawShown(item, isShown, isCurrent) {
  item.element.classList.toggle("shown", isCurrent);
  item.box.checked = isShown;
  if (isCurrent) item.link.setAttribute("aria-current", "true");
  else item.link.removeAttribute("aria-current");
}

function makeItem(channel) {
  const make = (tag, className, text = "") => {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    return made;
  };
  const isAll = channel === ALL;
  const element = make("li", isAll ? "all" : "");
  element.dataset.channel = channel;
  const box = make("input", "");
  box.type = "checkbox";
  box.setAttribute(
    "aria-label",
    isAll ? "Show all processes, including later ones" : `Show ${channel} with the others`,
  );
  const link = make("a", "");
  link.href = formatLink({ channels: [channel] });
  link.title = channel;
  const name = make("span", "name", isAll ? "All processes" : shortName(channel));
  const badge = make("span", "badge");
  badge.hidden = true;
  const more = make("span", "more");
  const lines = make("span", "amount");
  const speed = make("span", "speed");
  more.append(lines, speed);
  link.append(name, badge, more);
  element.append(box, link);
  return { element, box, link, name, badge, lines, speed };
}

function isHeading(row) {
  return row === MORE || row.startsWith(NODE);
}

function makeHeading(row) {
  const element = document.createElement("li");
  element.className = "node";
  element.textContent = row.slice(NODE.length) || "this server";
  return { element };
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
