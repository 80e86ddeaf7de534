// HTTP requests to the server, and the token for them.
//
// A token is kept for this tab alone (sessionStorage). It goes into the connection's address and
// into a header. It never goes into the page's own address, because copied links would contain it.

const KEY = "outrace-token";

/** The most time that an answer may take. */
const TIMEOUT_MS = 15_000;

export class Server {
  #base;
  #token;

  /** Takes the URL under which `ws` and `api/` are. */
  constructor(base) {
    this.#base = base;
    this.#token = load();
  }

  get token() {
    return this.#token;
  }

  /** An empty text stands for no token. */
  set token(token) {
    this.#token = token;
    store(token);
  }

  /** The URL of the WebSocket. */
  get socket() {
    const url = new URL("ws", this.#base);
    if (this.#token) url.searchParams.set("token", this.#token);
    return url;
  }

  /** The URL that takes actions. */
  get actions() {
    return new URL("api/actions", this.#base).href;
  }

  /**
   * Resolves to `{ status, value, text, version }`: the HTTP status (0 without an answer), the
   * parsed JSON or undefined, the body, and its `ETag` or null. Never rejects.
   *
   * With `waits`, `{ version, seconds }`, the server may answer when there is another version.
   */
  async ask(path, { body, waits = null, signal } = {}) {
    const headers = { Accept: "application/json" };
    // `Authorization` may be a proxy's, for which the browser fills it in.
    if (this.#token) headers["X-Outrace-Token"] = this.#token;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (waits) {
      headers["If-None-Match"] = waits.version;
      headers.Prefer = `wait=${waits.seconds}`;
    }
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    try {
      const response = await fetch(new URL(path, this.#base), {
        method: body === undefined ? "GET" : "POST",
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      });
      const text = await response.text();
      const version = response.headers.get("ETag");
      return { status: response.status, value: parse(text), text, version };
    } catch {
      return { status: 0, value: undefined, text: "", version: null };
    }
  }
}

/** Removes the token from the page's address. Returns it, or null if there is none. */
export function takeTokenFromAddress() {
  const url = new URL(location.href);
  const token = url.searchParams.get("token");
  if (token === null) return null;
  url.searchParams.delete("token");
  history.replaceState(history.state, "", url);
  return token;
}

function load() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    // Storage is blocked: the token lives as long as the page.
    return "";
  }
}

function store(token) {
  try {
    if (token) sessionStorage.setItem(KEY, token);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Storage is blocked, as above.
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
