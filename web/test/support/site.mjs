// Serves the viewer as the binary does, with the small hub behind it.

import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

import { openViewer } from "./browser.mjs";
import { Hub } from "./hub.mjs";

export const CHANNEL = "process:web";

const WEB = fileURLToPath(new URL("../../", import.meta.url));

export const POLICY =
  "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types outrace";

const TYPES = {
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
};

/**
 * Returns `{ hub, url, stop, actions, … }`. `options` are those of the hub. `processes` is the
 * server's answer about processes; without it, the server has no supervisor. `actions` collects the
 * requested actions. With a `token`, the server requires it for everything but the page's files.
 * With `waits`, a request for the channels is held back until there is another one; `lists` counts
 * these requests, and `nodes` names the node of a channel. `answers`, `[status, text]`, is the
 * answer to whoever wants to connect, and no connection is accepted.
 */
export async function serveViewer({ token = "", processes, waits = false, ...options } = {}) {
  let hub;
  const site = { actions: [], token, processes, lists: 0, nodes: {} };
  const isAllowed = ({ url, headers }) => {
    const given =
      headers["x-outrace-token"] ??
      new URL(url, "http://localhost").searchParams.get("token");
    return !site.token || given === site.token;
  };
  const onRequest = async (request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const json = (value) =>
      response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(value));
    if (pathname === "/ws" && site.answers) {
      const [status, text] = site.answers;
      response.writeHead(status, { "Content-Type": "text/plain" }).end(text);
      return;
    }
    if ((pathname.startsWith("/api/") || pathname === "/ws") && !isAllowed(request)) {
      response.writeHead(401, { "Content-Type": "text/plain" }).end("Unauthorised");
      return;
    }
    if (pathname === "/api/channels") {
      site.lists += 1;
      if (!waits) return json(hub.channels());
      const version = () => `W/"${hub.channels().length}"`;
      const seconds = Number(/wait=(\d+)/.exec(request.headers.prefer ?? "")?.[1] ?? 0);
      const end = performance.now() + seconds * 1_000;
      while (request.headers["if-none-match"] === version() && performance.now() < end)
        await new Promise((resolve) => setTimeout(resolve, 10));
      response.setHeader("ETag", version());
      return json(
        hub.channels().map((entry) => ({ ...entry, epoch: "e1", node: site.nodes[entry.channel] })),
      );
    }
    if (pathname === "/api/processes" && site.processes) return json(site.processes);
    if (pathname === "/api/actions") {
      let body = "";
      for await (const part of request) body += part;
      site.actions.push({ ...JSON.parse(body), token: request.headers["x-outrace-token"] });
      if (site.refusal) return response.writeHead(503).end(site.refusal);
      return json({ ok: true });
    }
    const path = pathname === "/" ? "/index.html" : normalize(pathname);
    try {
      const body = await readFile(join(WEB, path));
      const headers = {
        "Content-Type": TYPES[extname(path)] ?? "text/plain",
        "Content-Security-Policy": POLICY,
      };
      response.writeHead(200, headers).end(body);
    } catch {
      response.writeHead(404).end();
    }
  };
  const mayConnect = (request) => !site.answers && isAllowed(request);
  hub = await Hub.start({ ...options, onRequest, isAllowed: mayConnect });
  return Object.assign(site, { hub, url: `http://127.0.0.1:${hub.port}/`, stop: () => hub.stop() });
}

/**
 * Opens the viewer of a small hub at `search` and `hash`, with `lines` lines in `process:web`. The
 * other options are those of the page.
 */
export async function setUp(
  t,
  browser,
  { hash = `#${CHANNEL}`, lines = 0, search = "", ...options } = {},
) {
  const site = await serveViewer({ keeps: 5_000 });
  t.after(() => site.stop());
  if (lines > 0)
    site.hub.output(CHANNEL, ...Array.from({ length: lines }, (_, i) => `line ${i + 1}`));
  const viewer = await openViewer(t, browser, site.url + search + hash, options);
  return { ...site, viewer, page: viewer.page };
}

/** Waits until `isThere()` returns true. It is called every `intervalMs` milliseconds. */
export async function until(isThere, timeoutMs = 15_000, intervalMs = 20) {
  const end = performance.now() + timeoutMs;
  while (!(await isThere())) {
    if (performance.now() > end) throw new Error(`Not within ${timeoutMs} ms: ${isThere}`);
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
  }
}
