// Describes how a line is shown: its text and its styled runs. Pure.

import { parseAnsi } from "./ansi.js";
import { foldedJson, isJson, unfoldedJson } from "./json.js";

/** The most characters of a line that are shown at first. */
export const MAX_SHOWN = 5_000;

/** The most characters that are shown of a line whose rest was requested. */
const MAX_SHOWN_WHOLE = 1_000_000;

/**
 * Returns `{ text, runs, isJson, isUnfolded, rest }`, where `rest` is the number of hidden
 * characters.
 */
export function describe(raw, { isWhole = false, isUnfolded = false } = {}) {
  if (raw.length > 4 && isJson(raw)) {
    const { text, runs } = isUnfolded ? unfoldedJson(raw) : foldedJson(raw);
    return { ...cut(text, runs, isWhole || isUnfolded), isJson: true, isUnfolded };
  }
  const max = isWhole ? MAX_SHOWN_WHOLE : MAX_SHOWN;
  // Escapes take no room on the screen. More text is parsed than is shown, but not a whole
  // megabyte. A progress line (with `\r`) is not cut, because its end counts, and the parser lays
  // out little of it.
  const parsed = raw.length > max * 4 && !raw.includes("\r") ? raw.slice(0, max * 4) : raw;
  const { text, runs } = parseAnsi(parsed);
  const shown = cut(text, runs, isWhole);
  return {
    ...shown,
    rest: shown.rest + raw.length - parsed.length,
    isJson: false,
    isUnfolded: false,
  };
}

function cut(text, runs, isWhole) {
  const max = isWhole ? MAX_SHOWN_WHOLE : MAX_SHOWN;
  if (text.length <= max) return { text, runs, rest: 0 };
  return {
    text: text.slice(0, max),
    runs: runs.filter(({ from }) => from < max),
    rest: text.length - max,
  };
}

/**
 * Cuts a text into pieces `{ from, to, run, isMarked }` wherever a run or a mark begins or ends.
 * `runs` and `marks` (`[from, to]`) are each in order.
 */
export function pieces(length, runs, marks) {
  const cuts = new Set([0, length]);
  for (const { from, to } of runs) cuts.add(from).add(Math.min(to, length));
  for (const [from, to] of marks) cuts.add(Math.min(from, length)).add(Math.min(to, length));
  const sorted = [...cuts].sort((a, b) => a - b);
  const found = [];
  let run = 0;
  let mark = 0;
  for (let i = 0; i + 1 < sorted.length; i += 1) {
    const from = sorted[i];
    const to = sorted[i + 1];
    while (run < runs.length && runs[run].to <= from) run += 1;
    while (mark < marks.length && marks[mark][1] <= from) mark += 1;
    found.push({
      from,
      to,
      run: run < runs.length && runs[run].from <= from ? runs[run] : null,
      isMarked: mark < marks.length && marks[mark][0] <= from,
    });
  }
  return found;
}
