// One row of the list. Its elements are used again for other rows. Text of a process only ever goes
// into text nodes.

import { count, counted, shortName, size, statusText, statusTone, timeOfDay } from "./format.js";
import { LEVEL_NAMES, levelOf } from "./levels.js";
import { describe, pieces } from "./line.js";
import { GAP, LINE, STATUS, STDERR, UNFOLDED, WHOLE } from "./store.js";

/** Everything beside the store that decides how a row looks. */
export class RowContext {
  #navigation;
  #selection;
  #rowSelection;
  /** Raised with every change: rows that were filled under another version are filled again. */
  version = 0;
  /** Finds the places to mark, or null. */
  matcher = null;
  showsChannel = false;
  unfolds = false;
  /** The id of the match that was stepped to, or -1. */
  foundId = -1;
  colors = new Map();

  constructor(navigation, selection, rowSelection) {
    this.#navigation = navigation;
    this.#selection = selection;
    this.#rowSelection = rowSelection;
  }

  colorOf(channel) {
    return this.colors.get(channel) ?? 0;
  }

  hrefOf(channel, seq, epoch) {
    return this.#navigation.hrefOf(channel, seq, epoch);
  }

  isSelected(id) {
    return this.#rowSelection.has(id);
  }

  isChosen(channel, seq, kind, epoch) {
    return this.#selection.has(channel, seq, kind, epoch);
  }
}

export class Row {
  element = document.createElement("div");
  ordinal = -1;
  id = -1;
  version = -1;
  /** True if the row may be higher than one line without wrapping. */
  isTall = false;
  #number = document.createElement("a");
  #time = document.createElement("span");
  #channel = document.createElement("span");
  #text = document.createElement("span");
  #only = document.createTextNode("");

  constructor() {
    this.#number.className = "num";
    this.#number.tabIndex = -1;
    this.#time.className = "time";
    this.#channel.className = "chan";
    this.#text.className = "text";
    this.#text.append(this.#only);
    this.element.append(this.#number, this.#time, this.#channel, this.#text);
  }

  fill(store, id, context) {
    this.id = id;
    this.version = context.version;
    const kind = store.kind(id);
    const seq = store.seq(id);
    const channel = store.channel(id);
    const isNumbered = kind !== GAP && seq > 0;
    setText(this.#number, isNumbered ? String(seq) : "");
    if (isNumbered) this.#number.href = context.hrefOf(channel, seq, store.epoch(id));
    else this.#number.removeAttribute("href");
    setText(this.#time, timeOfDay(store.time(id)));
    setText(this.#channel, context.showsChannel ? shortName(channel) : "");
    this.#channel.className = context.showsChannel ? `chan c${context.colorOf(channel)}` : "chan";
    this.isTall = false;
    this.#text.removeAttribute("title");

    let classes = "row";
    if (kind === LINE) classes += this.#fillLine(store, id, context);
    else if (kind === GAP) classes += this.#fillGap(store.value(id));
    else if (kind === STATUS) classes += this.#fillStatus(store.value(id), context.showsChannel);
    else classes += this.#fillNotice(store.value(id));
    if (context.isChosen(channel, seq, kind, store.epoch(id))) classes += " chosen";
    if (id === context.foundId) classes += " found";
    if (context.isSelected(id)) classes += " selected";
    this.element.className = classes;
  }

  #fillLine(store, id, context) {
    const isUnfolded = store.hasFlag(id, UNFOLDED) !== context.unfolds;
    const line = describe(store.value(id), { isWhole: store.hasFlag(id, WHOLE), isUnfolded });
    const { text, runs } = line;
    const marks = context.matcher ? context.matcher.ranges(text) : [];
    this.isTall = line.isUnfolded;
    let classes = line.isJson ? " json" : "";
    const level = levelOf(text);
    if (level > 0) classes += ` l-${LEVEL_NAMES[level]}`;
    if (runs.length > 0) classes += " styled";
    if (store.hasFlag(id, STDERR)) {
      classes += " stderr";
      this.#text.title = "Standard error";
    }

    if (runs.length === 0 && marks.length === 0 && line.rest === 0 && !line.isJson) {
      this.#showOnly(text);
      return classes;
    }
    const parts = document.createDocumentFragment();
    if (line.isJson) parts.append(foldButton(isUnfolded));
    for (const { from, to, run, isMarked } of pieces(text.length, runs, marks)) {
      parts.append(piece(text.slice(from, to), run, isMarked));
    }
    if (line.rest > 0)
      parts.append(button("whole", `… ${size(line.rest)} more`, "Show the whole line"));
    this.#text.replaceChildren(parts);
    return classes;
  }

  #fillGap(gap) {
    const number = gap.to - gap.from + 1;
    const label = document.createElement("span");
    label.className = "label";
    const range = number === 1 ? count(gap.from) : `${count(gap.from)} to ${count(gap.to)}`;
    label.textContent = `${counted(number, "message")} skipped`;
    const where = document.createElement("span");
    where.className = "range";
    where.textContent = gap.isKept ? range : `${range} · no longer kept`;
    const parts = [label, where];
    if (gap.state === "fetching") where.textContent = `${range} · fetching…`;
    else if (gap.isKept) parts.push(button("fetch", "Fetch", `Fetch messages ${range} again`));
    if (gap.error) where.textContent = `${range} · ${gap.error}`;
    this.#text.replaceChildren(...parts);
    return " gap";
  }

  #fillStatus(status, showsChannel) {
    const badge = document.createElement("span");
    badge.className = `badge ${statusTone(status)}`;
    badge.textContent = statusText(status);
    this.#text.replaceChildren(badge);
    if (!showsChannel) this.#text.append(` ${status.name}`);
    return " status";
  }

  #fillNotice(notice) {
    this.#showOnly(notice.text);
    return " notice";
  }

  #showOnly(text) {
    if (this.#text.firstChild !== this.#only || this.#text.childNodes.length !== 1)
      this.#text.replaceChildren(this.#only);
    if (this.#only.data !== text) this.#only.data = text;
  }
}

/** Returns a text as it is shown, with its style and its mark. */
export function piece(text, run, isMarked) {
  if (!run && !isMarked) return document.createTextNode(text);
  const element = document.createElement(isMarked ? "mark" : "span");
  element.textContent = text;
  if (run) {
    element.className = run.classes;
    if (run.fg) element.style.color = run.fg;
    if (run.bg) element.style.backgroundColor = run.bg;
  }
  return element;
}

function foldButton(isUnfolded) {
  const fold = button("fold", isUnfolded ? "▾" : "▸", isUnfolded ? "Fold" : "Unfold");
  fold.setAttribute("aria-expanded", String(isUnfolded));
  return fold;
}

function button(action, text, label) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = action;
  element.dataset.action = action;
  element.textContent = text;
  element.setAttribute("aria-label", label);
  return element;
}

function setText(element, text) {
  const node = element.firstChild;
  if (!node) element.append(text);
  else if (node.data !== text) node.data = text;
}
