// The rows by which the feed speaks of several channels at once.

import { count, counted, shortName } from "./format.js";
import { NOTICE } from "./store.js";

/** The most channels that a notice names. */
const MAX_NAMED = 3;

export class FeedNotices {
  #store;
  /** The notices of this connection by text: `{ value, replayed }`. */
  #resumed = new Map();
  /** The notices by the reason of a refusal. */
  #refused = new Map();

  constructor(store) {
    this.#store = store;
  }

  /** There is another connection. */
  connected() {
    this.#resumed.clear();
  }

  /**
   * Tells that a channel was resumed and that `replayed` messages follow: once for all channels for
   * which that `isFirst` on this connection.
   */
  tellResumed(name, text, replayed, isFirst) {
    let notice = isFirst ? this.#resumed.get(text) : undefined;
    if (!notice) {
      notice = { value: { text }, replayed: 0 };
      if (isFirst) this.#resumed.set(text, notice);
      // Without a time it stays behind the rows that were here.
      this.#store.push(NOTICE, name, Number.NaN, Number.NaN, notice.value);
    }
    notice.replayed += replayed;
    if (notice.replayed > 0)
      notice.value.text = `${text} · caught up with ${counted(notice.replayed, "message")}`;
  }

  /** Tells that the server refuses a channel, once for all of `refusals` with the same reason. */
  tellRefused(refusals, name, reason) {
    let value = this.#refused.get(reason);
    if (!value) {
      this.#refused.set(reason, (value = { text: "" }));
      this.#store.push(NOTICE, name, Number.NaN, Date.now(), value);
    }
    const names = [...refusals].filter(([, why]) => why === reason).map(([known]) => known);
    const some = names.slice(0, MAX_NAMED).map(shortName).join(", ");
    const others = names.length > MAX_NAMED ? ` and ${count(names.length - MAX_NAMED)} more` : "";
    value.text = `Not shown: ${some}${others}: the server refuses it (${reason})`;
  }
}
