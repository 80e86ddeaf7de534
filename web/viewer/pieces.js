// The parts of lines: joins the pieces of long ones, and tells whose beginning was shown. Pure.

/** The most characters of a line that are joined. What comes after them begins another row. */
const MAX_JOINED = 1_000_000;

/** Joins the pieces of one channel. The streams of a process may alternate between pieces. */
export class PieceJoiner {
  #open = new Map();

  /** Returns whether the next text of this stream goes on with a line that is held back. */
  isOpen(stream) {
    return this.#open.has(stream);
  }

  /**
   * Takes the texts of one message, and returns the whole lines as `{ seq, time, value }`, numbered
   * by their first piece. If the last text is `continued`, it is held back.
   */
  take(stream, texts, seq, time, continued) {
    const lines = [];
    const open = this.#open.get(stream);
    let at = 0;
    if (open) {
      open.value += texts[0];
      const goesOn = continued && texts.length === 1;
      if (goesOn && open.value.length < MAX_JOINED) return lines;
      this.#open.delete(stream);
      lines.push(open);
      at = 1;
    }
    for (; at < texts.length; at += 1) {
      const line = { seq: seq + at, time, value: texts[at] };
      if (continued && at + 1 === texts.length) this.#open.set(stream, line);
      else lines.push(line);
    }
    return lines;
  }

  /** Returns the lines that are held back, as `[stream, line]`: their ends will not come. */
  flush() {
    const rest = [...this.#open];
    this.#open.clear();
    return rest;
  }
}

/**
 * Returns whether a whole line is the one of which `partial` was the beginning. Of a progress line,
 * the text after the last `\r` counts.
 */
export function completes(line, partial) {
  if (line.startsWith(partial)) return true;
  const shown = line.replace(/\r+$/, "");
  return shown.slice(shown.lastIndexOf("\r") + 1).startsWith(partial);
}
