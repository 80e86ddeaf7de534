// Everything beside the store that decides how a row looks. Pure.

export class RowContext {
  #navigation;
  #selection;
  /** Raised with every change: rows that were filled under another version are filled again. */
  version = 0;
  /** Finds the places to mark, or null. */
  matcher = null;
  showsChannel = false;
  unfolds = false;
  /** The id of the match that was stepped to, or -1. */
  foundId = -1;
  colors = new Map();

  constructor(navigation, selection) {
    this.#navigation = navigation;
    this.#selection = selection;
  }

  colorOf(channel) {
    return this.colors.get(channel) ?? 0;
  }

  hrefOf(channel, seq) {
    return this.#navigation.hrefOf(channel, seq);
  }

  isChosen(channel, seq, kind) {
    return this.#selection.has(channel, seq, kind);
  }
}
