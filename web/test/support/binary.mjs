// Starts the real binary, which OUTRACE_BIN names.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const BINARY = process.env.OUTRACE_BIN;

/** Why tests of the binary are skipped, or false. */
export const skipBinary = !BINARY
  ? "OUTRACE_BIN does not name the binary to test"
  : existsSync(BINARY)
    ? false
    : `there is no ${BINARY} (OUTRACE_BIN)`;

/** Returns a folder that is removed after the test. */
export async function folder(t) {
  const made = await mkdtemp(join(tmpdir(), "outrace-"));
  t.after(() => rm(made, { recursive: true }));
  return made;
}

/**
 * Starts the binary and waits until it listens. Returns `{ process, port, url, ws, kill, exited }`.
 * The binary is killed after the test.
 */
export async function startBinary(t, args, { port = 0 } = {}) {
  const dashes = args.indexOf("--");
  const own = dashes < 0 ? args : args.slice(0, dashes);
  const command = dashes < 0 ? [] : args.slice(dashes);
  const child = spawn(BINARY, [...own, "--listen", `127.0.0.1:${port}`, ...command], {
    stdio: ["pipe", "ignore", "pipe"],
  });
  const exited = new Promise((resolve) =>
    child.once("exit", (code, signal) => resolve({ code, signal })),
  );
  const kill = (signal = "SIGKILL") => {
    child.kill(signal);
    return exited;
  };
  t.after(() => kill());
  const said = [];
  const ws = await new Promise((resolve, reject) => {
    createInterface({ input: child.stderr }).on("line", (line) => {
      said.push(line);
      const found = /listening on (ws:\/\/[^\s,]+)/.exec(line);
      if (found) resolve(found[1]);
    });
    exited.then(({ code, signal }) =>
      reject(new Error(`The binary ended (${code ?? signal}):\n${said.join("\n")}`)),
    );
  });
  const url = new URL("/", ws.replace(/^ws/, "http")).href;
  return { process: child, port: Number(new URL(url).port), url, ws, kill, exited };
}

export async function act(url, actions) {
  const response = await fetch(new URL("/api/actions", url), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(actions),
  });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  return response.json();
}

export function output(url, id, ...lines) {
  return act(
    url,
    lines.map((line) => ({ action: "ws.send_process_output", process_id: id, output: line })),
  );
}

/** Returns the server's own statistics of a channel. */
export async function channelStats(url, channel) {
  const channels = await (await fetch(new URL("/api/channels", url))).json();
  return channels.find((entry) => entry.channel === channel);
}
