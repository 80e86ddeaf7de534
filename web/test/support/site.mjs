// Serves the viewer as the binary does, over the small hub.

import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

import { Hub } from "./hub.mjs";

const WEB = fileURLToPath(new URL("../../", import.meta.url));

export const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; worker-src 'self'; connect-src 'self'; img-src 'self' data:; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const TYPES = { ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".html": "text/html; charset=utf-8" };

/** `{ hub, url, stop }`; `options` are the hub's. */
export async function serveViewer(options = {}) {
  let hub;
  const onRequest = async ({ url }, response) => {
    const { pathname } = new URL(url, "http://localhost");
    if (pathname === "/api/channels") {
      response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(hub.channels()));
      return;
    }
    const path = pathname === "/" ? "/index.html" : normalize(pathname);
    try {
      const body = await readFile(join(WEB, path));
      const headers = { "Content-Type": TYPES[extname(path)] ?? "text/plain", "Content-Security-Policy": POLICY };
      response.writeHead(200, headers).end(body);
    } catch {
      response.writeHead(404).end();
    }
  };
  hub = await Hub.start({ ...options, onRequest });
  return { hub, url: `http://127.0.0.1:${hub.port}/`, stop: () => hub.stop() };
}
