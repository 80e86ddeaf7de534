// Starts nginx in front of a server, if it is installed.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createServer, connect } from "node:net";
import { join } from "node:path";

import { folder } from "./binary.mjs";

const PROGRAM = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"].find((path) =>
  existsSync(path),
);

/** Why tests with nginx are skipped, or false. */
export const skipNginx = PROGRAM ? false : "nginx is not installed";

/**
 * Starts nginx with these directives of a server, and returns its URL. nginx ends after the test.
 * `files` are written beside its configuration, by name.
 */
export async function startNginx(t, directives, files = {}) {
  const place = await folder(t);
  for (const [name, text] of Object.entries(files)) await writeFile(join(place, name), text);
  for (;;) {
    const port = await freePort();
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
      (kind) => `${kind}_temp_path ${join(place, kind)};`,
    );
    const configuration = join(place, "nginx.conf");
    await writeFile(
      configuration,
      `daemon off; master_process off; pid ${join(place, "pid")}; error_log stderr; events {}
      http {
        access_log off; ${temporary.join(" ")}
        map $http_upgrade $connection_upgrade { default upgrade; "" close; }
        server { listen 127.0.0.1:${port}; ${directives} }
      }`,
    );
    const child = spawn(PROGRAM, ["-e", "stderr", "-p", place, "-c", configuration], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    child.stderr.on("data", (data) => (said += data));
    const exited = new Promise((resolve) => child.once("exit", resolve));
    t.after(() => {
      child.kill("SIGKILL");
      return exited;
    });
    if (await Promise.race([exited.then(() => false), listens(port)]))
      return `http://127.0.0.1:${port}/`;
    // Something else may have taken the port in between.
    if (!said.includes("in use")) throw new Error(`nginx ended: ${said}`);
  }
}

/** Returns the directives that pass a location on to `target`. */
export function passTo(target, more = "") {
  return `proxy_pass ${target}; proxy_http_version 1.1; proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; ${more}`;
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function listens(port) {
  for (;;) {
    const isOpen = await new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(true));
      socket.on("error", () => resolve(false));
      socket.on("connect", () => socket.destroy());
    });
    if (isOpen) return true;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
