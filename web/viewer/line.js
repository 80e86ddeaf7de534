// What of a line is shown: its text, and runs of it that look different. Pure.

import { parseAnsi } from "./ansi.js";
import { foldedJson, isJson, unfoldedJson } from "./json.js";

/** Of a longer line, this much is shown until one asks for all. */
export const MAX_SHOWN = 5_000;

/** Of a line of which all is asked for, this much. */
const MAX_SHOWN_WHOLE = 1_000_000;

/** `{ text, runs, isJson, isUnfolded, rest }`, where `rest` is how many characters are not shown. */
export function describe(raw, { isWhole = false, isUnfolded = false } = {}) {
  if (raw.length > 4 && isJson(raw)) {
    const { text, runs } = isUnfolded ? unfoldedJson(raw) : foldedJson(raw);
    return { ...cut(text, runs, isWhole || isUnfolded), isJson: true, isUnfolded };
  }
  const max = isWhole ? MAX_SHOWN_WHOLE : MAX_SHOWN;
  // Escapes take no room on the screen: look a little further than what will be shown, but not through a megabyte.
  // Of a progress line it is the end that counts, and little of it is laid out anyway.
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
 * The text in pieces `{ from, to, run, isMarked }`, cut wherever a run or a mark begins or ends. `runs` and `marks` (`[from, to]`)
 * are each in order.
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
