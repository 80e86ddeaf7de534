// Takes the lines, or a link to them, out of the page: to the clipboard, or into a file.

import { plainText } from "./ansi.js";
import { counted, shortName, statusText } from "./format.js";
import { ALL } from "./links.js";
import { GAP, LINE, STATUS } from "./store.js";

/** The most lines that are copied at once. */
const MAX_COPIED_LINES = 100_000;

const MAX_FILE_NAME_LENGTH = 80;

const COPY_FAILED = "The browser does not let this page copy";

export class Exporter {
  #store;
  #find;
  #selection;
  #context;
  #rowSelection;
  /** There is something to tell: a text. */
  onMessage = () => {};

  constructor({ store, find, selection, rowSelection, context }) {
    this.#rowSelection = rowSelection;
    this.#store = store;
    this.#find = find;
    this.#selection = selection;
    this.#context = context;
  }

  /**
   * Copies the text selected in the browser or, without one, the selected, the chosen or all shown
   * lines. With `hasTimes`, the time of each precedes it.
   */
  async copy({ hasTimes = false } = {}) {
    const selected = String(document.getSelection() ?? "");
    if (selected) {
      this.#tell(await copyText(selected), "Copied the selection");
      return;
    }
    const lines = this.#lines(hasTimes);
    const taken = lines.slice(-MAX_COPIED_LINES);
    const part = taken.length < lines.length ? "the last " : "";
    this.#tell(await copyText(taken.join("")), `Copied ${part}${counted(taken.length, "line")}`);
  }

  /**
   * Downloads all lines that pass the filter, or with `isSelected` the selected ones, as a file
   * named after the channels of the link.
   */
  download(channels, { isSelected = false } = {}) {
    const lines = isSelected ? this.#lines() : this.#all();
    const names = channels.map((channel) => (channel === ALL ? "processes" : shortName(channel)));
    const name = names.join("+").replace(/[^A-Za-z0-9_.+-]/g, "-");
    downloadParts(`${name.slice(0, MAX_FILE_NAME_LENGTH) || "outrace"}.log`, lines);
  }

  /** Copies the page's address, without a token. */
  async share() {
    const url = new URL(location.href);
    url.searchParams.delete("token");
    this.#tell(await copyText(url.href), "Copied a link to what is shown");
  }

  #all() {
    const { showsChannel } = this.#context;
    return rowTexts(this.#store, this.#find.view, { hasTimes: false, showsChannel });
  }

  #lines(hasTimes = false) {
    const { view } = this.#find;
    const options = { hasTimes, showsChannel: this.#context.showsChannel };
    if (!this.#rowSelection.isEmpty) {
      const { from, end } = this.#rowSelection.ordinals(view);
      return rowTexts(this.#store, view, { ...options, from, end });
    }
    const selection = this.#selection;
    const isTaken = selection.hasSeveral ? (...row) => selection.has(...row) : () => true;
    return rowTexts(this.#store, view, { ...options, isTaken });
  }

  #tell(isCopied, text) {
    this.onMessage(isCopied ? text : COPY_FAILED);
  }
}

/**
 * Returns the rows of a view, from ordinal `from` to before `end`, for which `isTaken(channel, seq,
 * kind, epoch)` is true, each with a line end.
 */
function rowTexts(
  store,
  view,
  { from = view.first, end = view.end, isTaken = () => true, hasTimes, showsChannel },
) {
  const texts = [];
  for (let ordinal = Math.max(from, view.first); ordinal < end; ordinal += 1) {
    const id = view.idAt(ordinal);
    if (isTaken(store.channel(id), store.seq(id), store.kind(id), store.epoch(id)))
      texts.push(`${hasTimes ? isoTime(store.time(id)) : ""}${rowText(store, id, showsChannel)}\n`);
  }
  return texts;
}

/** Returns a time as it is copied, in UTC, with a space behind it. */
function isoTime(time) {
  return Number.isNaN(time) ? "" : `${new Date(time).toISOString()} `;
}

/** Returns a row as text. With `showsChannel`, the channel's name precedes it. */
function rowText(store, id, showsChannel) {
  const prefix = showsChannel ? `${store.channel(id)} ` : "";
  const value = store.value(id);
  const kind = store.kind(id);
  if (kind === LINE) return prefix + plainText(value);
  if (kind === GAP)
    return `${prefix}… ${value.to - value.from + 1} skipped (${value.from} to ${value.to}) …`;
  if (kind === STATUS) return `${prefix}[${statusText(value)}]`;
  return `${prefix}[${value.text}]`;
}

/**
 * Copies a text. Returns whether that worked. A page from an insecure origin has no clipboard API,
 * and uses the older `execCommand`.
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.setAttribute("aria-hidden", "true");
    area.className = "skip";
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    return isCopied;
  }
}

function downloadParts(name, parts) {
  const url = URL.createObjectURL(new Blob(parts, { type: "text/plain;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.hidden = true;
  document.body.append(link);
  link.click();
  link.remove();
  // The browser reads the URL after this function returns. It has begun to within a minute.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
