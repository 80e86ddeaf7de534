// Takes the lines, or a link to them, out of the page: to the clipboard, or into a file.

import { counted, shortName } from "./format.js";
import { ALL } from "./links.js";
import { copyText, downloadParts, rowTexts } from "./save.js";

/** The most lines that are copied at once. */
const MAX_COPIED_LINES = 100_000;

const MAX_FILE_NAME_LENGTH = 80;

const COPY_FAILED = "The browser does not let this page copy";

export class Exporter {
  #store;
  #find;
  #selection;
  #context;
  /** There is something to tell: a text. */
  onMessage = () => {};

  constructor({ store, find, selection, context }) {
    this.#store = store;
    this.#find = find;
    this.#selection = selection;
    this.#context = context;
  }

  /** Copies the text selected in the browser or, without one, the chosen or all shown lines. */
  async copy() {
    const selected = String(document.getSelection() ?? "");
    if (selected) {
      this.#tell(await copyText(selected), "Copied the selection");
      return;
    }
    const lines = this.#lines();
    const taken = lines.slice(-MAX_COPIED_LINES);
    const part = taken.length < lines.length ? "the last " : "";
    this.#tell(await copyText(taken.join("")), `Copied ${part}${counted(taken.length, "line")}`);
  }

  /** Downloads the chosen or all shown lines, as a file named after the channels of the link. */
  download(channels) {
    const names = channels.map((channel) => (channel === ALL ? "processes" : shortName(channel)));
    const name = names.join("+").replace(/[^A-Za-z0-9_.+-]/g, "-");
    downloadParts(`${name.slice(0, MAX_FILE_NAME_LENGTH) || "outrace"}.log`, this.#lines());
  }

  /** Copies the page's address, without a token. */
  async share() {
    const url = new URL(location.href);
    url.searchParams.delete("token");
    this.#tell(await copyText(url.href), "Copied a link to what is shown");
  }

  #lines() {
    const selection = this.#selection;
    const isTaken = selection.hasSeveral ? (...row) => selection.has(...row) : () => true;
    return rowTexts(this.#store, this.#find.view, isTaken, this.#context.showsChannel);
  }

  #tell(isCopied, text) {
    this.onMessage(isCopied ? text : COPY_FAILED);
  }
}
