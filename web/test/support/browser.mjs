// Starts a headless Chromium, if there is one.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";

const PATHS = [
  process.env.CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
];

const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Returns a browser, or a text that says why there is none. */
export async function launch() {
  const executablePath = PATHS.find((path) => path && existsSync(path));
  if (!executablePath) return "no Chromium here: install it, or name it in CHROMIUM";
  let chromium;
  try {
    ({ chromium } = await import("playwright-core"));
  } catch {
    return "no playwright-core here: run `npm install` in web/test";
  }
  return chromium.launch({ executablePath, headless: true, args: ARGUMENTS });
}

/**
 * Opens a page with the viewer. The test fails at its end if the page reported an error that is not
 * `expected`, if the policy forbade it something, or if it requested anything from another origin.
 * With `hasClock`, the test can let time pass in the page (`page.clock`).
 */
export async function openViewer(
  t,
  browser,
  url,
  { width = 1280, height = 800, dark = false, expected, httpCredentials, hasClock = false } = {},
) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: dark ? "dark" : "light",
    permissions: ["clipboard-read", "clipboard-write"],
    httpCredentials,
  });
  const page = await context.newPage();
  if (hasClock) await page.clock.install();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.stack ?? String(error)));
  page.on("console", (message) => {
    // The browser's own reports of a server that is gone are no faults of the page.
    const isNetwork = /WebSocket connection to|Failed to load resource|ERR_CONNECTION/.test(
      message.text(),
    );
    if (message.type() === "error" && !isNetwork) complaints.push(message.text());
  });
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== new URL(url).origin && protocol !== "data:" && protocol !== "blob:")
      complaints.push(`asked for ${request.url()}`);
  });
  t.after(async () => {
    await context.close();
    const unexpected = complaints.filter((complaint) => !expected?.test(complaint));
    if (unexpected.length > 0) throw new Error(`The page complained:\n${unexpected.join("\n")}`);
  });
  const failed = [];
  page.on("response", (response) => {
    if (response.status() >= 400) failed.push(`${response.status()} ${response.url()}`);
  });
  await page.goto(url);
  return new Viewer(page, failed);
}

/** The viewer as a user sees it: rows from top to bottom, and the figures of the status bar. */
export class Viewer {
  /** `failed` are the responses with an error, such as `404 URL`, which the caller adds to. */
  constructor(page, failed = []) {
    this.page = page;
    this.failed = failed;
  }

  /** Returns the visible rows: `{ number, text, classes }`. */
  rows() {
    return this.page.evaluate(() =>
      Array.from(document.querySelectorAll(".row:not([hidden])"), (row) => ({
        number: row.querySelector(".num").textContent,
        text: row.querySelector(".text").innerText,
        classes: row.className,
      })),
    );
  }

  async texts() {
    return (await this.rows()).map(({ text }) => text);
  }

  /** Waits until scrolling has ended. */
  rests() {
    return this.page.waitForFunction(() => !("moving" in document.querySelector("#lines").dataset));
  }

  counts() {
    return this.page.evaluate(() => {
      const { received, skipped, before, kept } = document.querySelector("#lines").dataset;
      const number = (text) => Number(text ?? 0);
      return {
        received: number(received),
        skipped: number(skipped),
        before: number(before),
        kept: number(kept),
      };
    });
  }

  /**
   * Presses the download button. Returns `{ name, text }`. On a busy machine, Chromium canceled one
   * of a hundred downloads without giving a reason. The button is then pressed again.
   */
  async download() {
    for (let left = 2; ; left -= 1) {
      const [download] = await Promise.all([
        this.page.waitForEvent("download"),
        this.page.click("#download"),
      ]);
      try {
        return {
          name: download.suggestedFilename(),
          text: await readFile(await download.path(), "utf8"),
        };
      } catch (error) {
        if (left === 0 || !String(error.message).includes("canceled")) throw error;
      }
    }
  }

  /**
   * Waits until `isThere(texts of the visible rows, argument)` returns true. The function runs in
   * the page.
   */
  async until(isThere, argument, { timeout = 15_000 } = {}) {
    const source = `(argument) => (${isThere})(
      Array.from(document.querySelectorAll(".row:not([hidden]) .text"), (text) => text.textContent), argument)`;
    // The page's policy forbids `waitForFunction` to evaluate a string, so this loop polls instead.
    const until = performance.now() + timeout;
    for (;;) {
      if (await this.page.evaluate(`(${source})(${JSON.stringify(argument)})`)) return;
      if (performance.now() > until)
        throw new Error(
          `Not within ${timeout} ms: ${isThere}; shown: ${JSON.stringify(await this.texts()).slice(0, 2_000)}`,
        );
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  }

  sees(text, options) {
    return this.until(
      (texts, wanted) => texts.some((shown) => shown.includes(wanted)),
      text,
      options,
    );
  }
}
