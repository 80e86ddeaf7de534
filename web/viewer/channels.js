// The list of channels: what there is, how each does, and which are shown.

import { rate, statusText, statusTone } from "./format.js";
import { formatLink } from "./links.js";
import { shortName } from "./row.js";

/** Milliseconds between two looks at what channels there are. */
const INTERVAL = 2_000;

/** Channels that are listed: a list of ten thousand helps nobody. */
const MOST_LISTED = 500;

const ORDER = new Intl.Collator("en", { numeric: true });

export class Channels {
  #list;
  #none;
  #all;
  #items = new Map();
  #known = new Map();
  #shown = [];
  #timer = 0;
  #url;
  onToggle = () => {};
  onToggleAll = () => {};
  onChange = () => {};

  constructor({ list, none, all }, url) {
    this.#list = list;
    this.#none = none;
    this.#all = all;
    all.addEventListener("change", () => this.onToggleAll(all.checked));
    this.#url = url;
    list.addEventListener("change", (event) => {
      const channel = event.target.closest("li")?.dataset.channel;
      if (channel) this.onToggle(channel, event.target.checked);
    });
    document.addEventListener("visibilitychange", () => document.hidden || this.#poll());
    this.#poll();
  }

  /** The names there are, processes first. */
  get names() {
    return [...this.#known.keys()].sort((a, b) => isProcess(b) - isProcess(a) || ORDER.compare(a, b));
  }

  set shown(channels) {
    this.#shown = channels;
    for (const channel of channels) this.#channel(channel);
    this.#draw();
  }

  /** `{ status, exitCode }`, or undefined while it is not known. */
  status(channel) {
    return this.#known.get(channel)?.status;
  }

  rate(channel) {
    return this.#known.get(channel)?.rate ?? 0;
  }

  setStatus(channel, status) {
    this.#channel(channel).status = status;
    this.#draw();
  }

  /** Lines per second of channels that one takes oneself: fresher than what the server is asked for. */
  setRate(channel, perSecond) {
    this.#channel(channel).rate = perSecond;
  }

  #channel(name) {
    let channel = this.#known.get(name);
    if (!channel) this.#known.set(name, (channel = { status: undefined, rate: 0, published: null, at: 0 }));
    return channel;
  }

  async #poll() {
    clearTimeout(this.#timer);
    try {
      const response = await fetch(this.#url, { headers: { Accept: "application/json" } });
      if (response.ok) this.#take(await response.json());
    } catch {
      // No server, or one without this: what is shown stays, and the connection's own state tells the rest.
    }
    clearTimeout(this.#timer);
    if (!document.hidden) this.#timer = setTimeout(() => this.#poll(), INTERVAL);
  }

  #take(answer) {
    if (!Array.isArray(answer)) return;
    const now = performance.now();
    const present = new Set(this.#shown);
    for (const entry of answer.slice(0, MOST_LISTED)) {
      if (typeof entry?.channel !== "string") continue;
      present.add(entry.channel);
      const channel = this.#channel(entry.channel);
      const { published, status } = entry;
      if (Number.isSafeInteger(published)) {
        const isLater = channel.published !== null && published >= channel.published && now > channel.at;
        if (isLater && !this.#shown.includes(entry.channel)) {
          channel.rate = ((published - channel.published) * 1_000) / (now - channel.at);
        }
        channel.published = published;
        channel.at = now;
      }
      if (typeof status?.status === "string") {
        const exitCode = Number.isSafeInteger(status.exitCode) ? status.exitCode : 0;
        channel.status = { status: status.status, exitCode };
      }
    }
    for (const name of [...this.#known.keys()]) if (!present.has(name)) this.#known.delete(name);
    this.#draw();
    this.onChange();
  }

  /** Brings the elements in line with what is known, touching what has changed only. */
  #draw() {
    const names = this.names;
    for (const [name, item] of this.#items) {
      if (this.#known.has(name)) continue;
      item.element.remove();
      this.#items.delete(name);
    }
    names.forEach((name, place) => {
      let item = this.#items.get(name);
      if (!item) this.#items.set(name, (item = makeItem(name)));
      if (this.#list.children[place] !== item.element) this.#list.insertBefore(item.element, this.#list.children[place] ?? null);
      this.#drawItem(item, name);
    });
    this.#none.hidden = names.length > 0;
    this.#all.closest("label").hidden = names.length < 2;
    this.#all.checked = this.#shown.length > 0 && this.#shown.length === names.length;
    this.#all.indeterminate = !this.#all.checked && this.#shown.length > 1;
  }

  #drawItem(item, name) {
    const { status, rate: perSecond } = this.#known.get(name);
    const isShown = this.#shown.includes(name);
    item.element.classList.toggle("shown", isShown);
    item.box.checked = isShown;
    if (isShown) item.link.setAttribute("aria-current", "true");
    else item.link.removeAttribute("aria-current");
    set(item.speed, rate(perSecond));
    item.badge.hidden = !status;
    if (!status) return;
    set(item.badge, statusText(status));
    item.badge.className = `badge ${statusTone(status)}`;
  }
}

function isProcess(name) {
  return name.startsWith("process:");
}

function makeItem(name) {
  const make = (tag, className, text = "") => {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    return made;
  };
  const element = make("li", "");
  element.dataset.channel = name;
  const box = make("input", "");
  box.type = "checkbox";
  box.setAttribute("aria-label", `Show ${name} with the others`);
  const link = make("a", "");
  link.href = formatLink({ channels: [name] });
  link.title = name;
  const badge = make("span", "badge");
  badge.hidden = true;
  const more = make("span", "more");
  const kind = isProcess(name) ? "process" : "channel";
  const speed = make("span", "speed");
  more.append(make("span", "alias", kind), speed);
  link.append(make("span", "name", shortName(name)), badge, more);
  element.append(box, link);
  return { element, box, link, badge, speed };
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
