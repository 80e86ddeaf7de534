// What is asked of the server beside the connection, and the token that it may want.
//
// A token is kept for this tab alone (sessionStorage). It goes into the connection's address and into a header, and never into
// the page's own address, where it would be shared with every link.

const KEY = "outrace-token";

/** Milliseconds that an answer may take. */
const TIMEOUT_MS = 15_000;

export class Server {
  #base;
  #token;

  /** `base` is where `ws` and `api/` are. */
  constructor(base) {
    this.#base = base;
    this.#token = load();
  }

  get token() {
    return this.#token;
  }

  /** An empty token is none. */
  set token(token) {
    this.#token = token;
    store(token);
  }

  /** The address of the connection. */
  get socket() {
    const url = new URL("ws", this.#base);
    if (this.#token) url.searchParams.set("token", this.#token);
    return url;
  }

  /** `{ status, value }`: the HTTP status (0: no answer), and the JSON of an answer that has some. */
  async ask(path, { body } = {}) {
    const headers = { Accept: "application/json" };
    if (this.#token) headers.Authorization = `Bearer ${this.#token}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    try {
      const response = await fetch(new URL(path, this.#base), {
        method: body === undefined ? "GET" : "POST",
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      const text = await response.text();
      return { status: response.status, value: parse(text), text };
    } catch {
      return { status: 0, value: undefined, text: "" };
    }
  }
}

/** Takes the token out of the page's address, if it has one. */
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
    // Storage that is shut: then for as long as the page is open.
    return "";
  }
}

function store(token) {
  try {
    if (token) sessionStorage.setItem(KEY, token);
    else sessionStorage.removeItem(KEY);
  } catch {
    // See above.
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
