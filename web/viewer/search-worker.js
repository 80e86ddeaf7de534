// Runs regular expressions in a worker, so that one that never ends blocks nothing else.

import { makeMatcher } from "./filter.js";

let matcher = null;

addEventListener("message", ({ data: { job, filter, lines, texts } }) => {
  // The time limit starts now: it excludes the start of the worker and the jobs before this one.
  postMessage({ job, hasBegun: true });
  try {
    if (filter) matcher = makeMatcher(filter);
    // A gap has no text, and never matches.
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
