// The title of the page and, for a single process, its status.

import { counted, shortName, statusText, statusTone } from "./format.js";
import { ALL } from "./links.js";

export class TitleBar {
  #elements;

  constructor(elements) {
    this.#elements = elements;
  }

  /** Names the channels of the link in the title, in the tab and in the label of the lines. */
  showChannels(channels) {
    const { title, lines } = this.#elements;
    const names = channels.map((name) => (name === ALL ? "All processes" : shortName(name)));
    if (names.length === 0) {
      title.textContent = document.title = "Outrace";
      lines.setAttribute("aria-label", "Lines");
      return;
    }
    const text = names.length <= 2 ? names.join(" + ") : `${names.length} channels`;
    title.textContent = text;
    document.title = `${text} · Outrace`;
    lines.setAttribute("aria-label", `Lines of ${names.join(", ")}`);
  }

  /** Both may be undefined: then the badge is hidden. */
  showStatus(status, process) {
    const { badge } = this.#elements;
    badge.hidden = !status;
    if (!status) return;
    if (badge.textContent !== statusText(status)) badge.textContent = statusText(status);
    badge.className = `badge ${statusTone(status)}`;
    const details = [];
    if (Number.isSafeInteger(process?.pid)) details.push(`pid ${process.pid}`);
    if (process?.restarts > 0) details.push(counted(process.restarts, "restart"));
    if (typeof process?.node === "string") details.push(`on ${process.node}`);
    badge.title = details.join(", ");
  }
}
