// Tests the supervisor's processes in a browser: `OUTRACE_BIN=target/release/outrace npm run e2e`.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";

import { folder, skipBinary, startBinary } from "./support/binary.mjs";
import { launch, openViewer } from "./support/browser.mjs";
import { CHANNEL } from "./support/site.mjs";

const browser = skipBinary || (await launch());
const skip = typeof browser === "string" ? browser : false;
after(async () => skip || browser.close());

test(
  "the supervisor's processes are one view, and the page stops, starts and restarts them",
  { skip },
  async (t) => {
    const command = (text) => [
      process.execPath,
      "-e",
      `console.log("${text}", process.pid); setInterval(() => {}, 1000)`,
    ];
    const procfile = join(await folder(t), "Procfile");
    const quoted = (parts) => parts.map((part) => `'${part.replaceAll("'", `'\\''`)}'`).join(" ");
    await writeFile(
      procfile,
      `web: ${quoted(command("web is up"))}\nworker: ${quoted(command("worker is up"))}\n`,
    );
    const server = await startBinary(t, ["run", "-f", procfile, "--control", "--stay"]);
    const viewer = await openViewer(t, browser, server.url);
    const { page } = viewer;
    // An address that names no channel shows all processes.
    await viewer.sees("web is up");
    await viewer.sees("worker is up");
    await page.getByRole("link", { name: "worker" }).click();
    await page.getByRole("button", { name: "Stop…" }).click();
    await page
      .getByRole("dialog", { name: "Stop worker?" })
      .getByRole("button", { name: "Stop" })
      .click();
    await page.locator("#badge", { hasText: "stopped" }).waitFor();
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.locator("#badge", { hasText: "running" }).waitFor();
    await viewer.until(
      (texts) => texts.filter((text) => text.startsWith("worker is up")).length === 2,
    );
    await page.getByRole("button", { name: "Restart" }).click();
    await viewer.until(
      (texts) => texts.filter((text) => text.startsWith("worker is up")).length === 3,
    );
    const pids = (await viewer.texts())
      .filter((text) => text.startsWith("worker is up"))
      .map((text) => text.split(" ").at(-1));
    assert.equal(new Set(pids).size, 3);
  },
);

test(
  "the page of a relay groups processes by node, and stops and starts those of its home",
  { skip },
  async (t) => {
    const script = "console.log('up', process.pid); setInterval(() => {}, 1000)";
    const home = await startBinary(t, [
      "run",
      "--control",
      "--id",
      "web",
      "--",
      process.execPath,
      "-e",
      script,
    ]);
    const other = await startBinary(t, ["run", "--id", "db", "--", process.execPath, "-e", script]);
    const join = (server) => server.url.replace(/\/$/, "");
    const relay = await startBinary(t, ["serve", "--join", join(home), "--join", join(other)]);
    const { page } = await openViewer(t, browser, `${relay.url}#${CHANNEL}`);
    await page.locator("#badge", { hasText: "running" }).waitFor();
    await page.locator("li.node").nth(1).waitFor();
    const nodes = await page.locator("li.node").allTextContents();
    const hosts = [home, other].map((server) => new URL(server.url).host);
    assert.deepEqual(nodes.toSorted(), hosts.toSorted());
    await page.getByRole("button", { name: "Stop…" }).click();
    await page
      .getByRole("dialog", { name: "Stop web?" })
      .getByRole("button", { name: "Stop" })
      .click();
    await page.locator("#badge", { hasText: "stopped" }).waitFor();
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.locator("#badge", { hasText: "running" }).waitFor();
    await page.getByRole("link", { name: "db" }).click();
    await page.locator("#control").waitFor({ state: "hidden" });
  },
);

test("without --control the page has no buttons to control a process", { skip }, async (t) => {
  const server = await startBinary(t, [
    "run",
    "--id",
    "web",
    "--stay",
    "--",
    process.execPath,
    "-e",
    "console.log('up')",
  ]);
  const { page } = await openViewer(t, browser, `${server.url}#${CHANNEL}`);
  // The list of processes was requested a second time.
  for (let looks = 0; looks < 2; looks += 1)
    await page.waitForResponse((response) => response.url().endsWith("/api/processes"));
  await page.locator("#badge", { hasText: "exited 0" }).waitFor();
  assert.ok(await page.locator("#control").isHidden());
});
