// Runs a regular expression in a worker, one job at a time, each with a time limit.

/** The most time that a job may take. An ordinary expression takes a hundredth of it. */
const JOB_TIMEOUT_MS = 1_500;

export class SearchTimeout extends Error {}

export class Searcher {
  #worker = null;
  #filter = null;
  #isFilterNew = false;
  #jobs = [];
  #number = 0;
  #timer = 0;

  /** Sets the filter of all later jobs. Rejects the jobs of the previous filter. */
  set filter(filter) {
    // A worker that is still busy may be so forever.
    if (this.#jobs.length > 0) this.#end(new Error("Another filter"));
    this.#filter = filter;
    this.#isFilterNew = true;
  }

  /**
   * Resolves to one 0 or 1 for each line. A null line never matches. Rejects with `SearchTimeout`
   * if it takes too long.
   */
  match(lines) {
    return this.#ask({ lines });
  }

  /**
   * Resolves to the places in each text, as `[from, to]` pairs. Rejects with `SearchTimeout` after
   * too long a time.
   */
  ranges(texts) {
    return this.#ask({ texts });
  }

  /** Rejects all jobs and ends the worker. */
  stop() {
    this.#end(new Error("Stopped"));
  }

  #ask(question) {
    return new Promise((resolve, reject) => {
      this.#jobs.push({ number: (this.#number += 1), question, resolve, reject });
      if (this.#jobs.length === 1) this.#next();
    });
  }

  #next() {
    const job = this.#jobs[0];
    if (!job) return;
    if (!this.#worker) this.#start();
    this.#worker.postMessage({
      job: job.number,
      filter: this.#isFilterNew ? this.#filter : null,
      ...job.question,
    });
    this.#isFilterNew = false;
  }

  #start() {
    const worker = new Worker(script(), { type: "module" });
    this.#worker = worker;
    this.#isFilterNew = true;
    worker.addEventListener("message", ({ data }) => this.#answered(worker, data));
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      if (this.#worker === worker)
        this.#end(new Error(event.message ?? "The search could not be started"));
    });
  }

  #answered(worker, { job: number, hasBegun, result, error }) {
    const job = this.#jobs[0];
    if (this.#worker !== worker || job?.number !== number) return;
    if (hasBegun) {
      this.#timer = setTimeout(
        () => this.#end(new SearchTimeout("This expression takes too long")),
        JOB_TIMEOUT_MS,
      );
      return;
    }
    clearTimeout(this.#timer);
    this.#jobs.shift();
    if (error === undefined) job.resolve(result);
    else job.reject(new Error(error));
    this.#next();
  }

  #end(error) {
    clearTimeout(this.#timer);
    this.#worker?.terminate();
    this.#worker = null;
    for (const { reject } of this.#jobs.splice(0)) reject(error);
  }
}

// The page's policy lets no text become markup or a script. It allows this one script address.
const policy = globalThis.trustedTypes?.createPolicy("outrace", {
  createScriptURL: () => String(new URL("./search-worker.js", import.meta.url)),
});

function script() {
  return policy ? policy.createScriptURL("") : new URL("./search-worker.js", import.meta.url);
}
