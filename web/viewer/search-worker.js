// Regular expressions, run beside the page, so that one that never ends stops nothing but this.

import { makeMatcher } from "./filter.js";

let matcher = null;

addEventListener("message", ({ data: { job, filter, lines, texts } }) => {
  // From here on the time counts: not what starting this took, and not what waited before.
  postMessage({ job, hasBegun: true });
  try {
    if (filter) matcher = makeMatcher(filter);
    // A gap has no line to look at, and is no match.
    if (lines)
      postMessage({
        job,
        result: Uint8Array.from(lines, (line) => line !== null && matcher.matches(line)),
      });
    else postMessage({ job, result: texts.map((text) => matcher.ranges(text)) });
  } catch (error) {
    postMessage({ job, error: String(error?.message ?? error) });
  }
});
