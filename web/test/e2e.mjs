// Tests the viewer that the binary serves, in a browser: `OUTRACE_BIN=target/release/outrace npm
// run e2e`. A test is skipped with a message where there is no binary, no Chromium or no
// playwright-core. SCREENSHOTS=docs writes the pictures of the README there. FLOOD_SECONDS sets the
// length of the flood (20).

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, test } from "node:test";

import { act, channelStats, output, skipBinary, startBinary } from "./support/binary.mjs";
import { launch, openViewer } from "./support/browser.mjs";
import { POLICY, until } from "./support/site.mjs";

const CHANNEL = "process:web";
const FLOOD_RATE = 10_000;
const FLOOD_SECONDS = Number(process.env.FLOOD_SECONDS ?? 20);

const browser = skipBinary || (await launch());
const skip = typeof browser === "string" ? browser : false;
after(async () => skip || browser.close());

/**
 * Returns a command that prints `ready`. Once told to go, it prints `rate` numbered lines a second
 * for `seconds`, in bursts of ten milliseconds.
 */
function flood(rate, seconds) {
  const script = `
    process.stdout.write("ready\\n");
    process.stdin.once("data", () => {
    process.stdin.destroy();
    let sent = 0;
    const all = ${rate * seconds};
    const began = performance.now();
    const words = ["GET /api/users/42 200 12ms", "INFO cache hit ratio=0.93", "\\x1b[32mPOST\\x1b[0m /api/orders 201 48ms",
      "WARN slow query took 812 ms", '{"level":"info","msg":"tick","ok":true}', "ERROR connection reset by peer"];
    const timer = setInterval(() => {
      const due = Math.min(all, Math.floor((performance.now() - began) / 1000 * ${rate}));
      let text = "";
      while (sent < due) { sent += 1; text += "line " + sent + " " + words[sent % words.length] + "\\n"; }
      process.stdout.write(text);
      if (sent === all) clearInterval(timer);
    }, 10); });`;
  return [process.execPath, "-e", script];
}

/**
 * Waits until every published message is accounted for. Returns `{ received, skipped, before,
 * published }`.
 */
async function account(viewer, server, { timeout = 30_000 } = {}) {
  const until = performance.now() + timeout;
  for (;;) {
    const { published } = await channelStats(server.url, CHANNEL);
    const { received, skipped, before } = await viewer.counts();
    const counted = { received, skipped, before, published };
    if (received + skipped + before === published) return counted;
    assert.ok(
      performance.now() < until,
      `received + skipped + before is not published: ${JSON.stringify(counted)}`,
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/**
 * Returns the share of the main thread's time that was used while `during` ran, as the browser
 * measures it.
 */
async function mainThreadShare(page, during) {
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  const read = async () => {
    const { metrics } = await session.send("Performance.getMetrics");
    return Object.fromEntries(metrics.map(({ name, value }) => [name, value]));
  };
  const before = await read();
  await during();
  const now = await read();
  return (now.TaskDuration - before.TaskDuration) / (now.Timestamp - before.Timestamp);
}

/** Returns the bytes of the page's heap after a collection. */
async function heapUsed(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.enable");
  await session.send("HeapProfiler.collectGarbage");
  return (await session.send("Runtime.getHeapUsage")).usedSize;
}

test(
  "a page written for go-ws shows lines and status: one JSON message per event",
  { skip },
  async (t) => {
    const server = await startBinary(t, ["serve"]);
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    const errors = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    // As in the documentation of go-ws: parse each event, subscribe by `data`, and branch on the
    // type.
    const html = `<!doctype html><span id="badge"></span><pre id="output"></pre><script>
    const socket = new WebSocket("${server.ws}");
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: "subscribe", data: "process:build-1" }));
    };
    socket.onmessage = (event) => {
      const msg = JSON.parse(event.data);
      if (msg.type === "process_output") {
        document.getElementById("output").textContent += msg.data + "\\n";
      } else if (msg.type === "process_status") {
        document.getElementById("badge").textContent = msg.data.status + " " + msg.data.exitCode;
      }
    };
  </script>`;
    const site = createServer((_, response) =>
      response.writeHead(200, { "Content-Type": "text/html" }).end(html),
    );
    await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
    t.after(() => site.close());
    await page.goto(`http://127.0.0.1:${site.address().port}/`);
    await until(async () => (await channelStats(server.url, "process:build-1"))?.subscribers === 1);
    const lines = Array.from({ length: 2_000 }, (_, i) => `line ${i}`);
    await act(server.url, {
      action: "ws.send_process_status",
      process_id: "build-1",
      status: "running",
    });
    await output(server.url, "build-1", ...lines);
    await act(server.url, {
      action: "ws.send_process_status",
      process_id: "build-1",
      status: "exited",
      exit_code: 3,
    });
    await page.locator("#badge").getByText("exited 3").waitFor();
    assert.equal(
      await page.locator("#output").textContent(),
      lines.map((line) => `${line}\n`).join(""),
    );
    assert.deepEqual(errors, []);
  },
);

test(
  `${FLOOD_RATE} lines/s for ${FLOOD_SECONDS} s: the page stays free, and shown + gaps = published`,
  { skip },
  async (t) => {
    const server = await startBinary(t, [
      "run",
      "--id",
      "web",
      "--stay",
      "--",
      ...flood(FLOOD_RATE, FLOOD_SECONDS),
    ]);
    const viewer = await openViewer(t, browser, `${server.url}#${CHANNEL}`);
    await viewer.sees("ready");
    server.process.stdin.write("go\n");
    await viewer.sees("line ");
    const all = FLOOD_RATE * FLOOD_SECONDS;
    const soFar = async () =>
      Object.values(await viewer.counts())
        .slice(0, 3)
        .reduce((sum, one) => sum + one);
    const began = [performance.now(), await soFar()];
    const share = await mainThreadShare(viewer.page, () =>
      until(async () => (await soFar()) > all * 0.9, 120_000, 500),
    );
    const rate = (((await soFar()) - began[1]) * 1_000) / (performance.now() - began[0]);
    t.diagnostic(`main thread ${(share * 100).toFixed(1)} % at ${Math.round(rate)} lines/s`);
    assert.ok(share < 0.5, `the main thread was taken for ${(share * 100).toFixed(1)} %`);
    await viewer.page.locator("#badge", { hasText: "exited 0" }).waitFor({ timeout: 60_000 });
    const counted = await account(viewer, server);
    const { kept } = await viewer.counts();
    const bytes = await heapUsed(viewer.page);
    t.diagnostic(
      `${JSON.stringify(counted)}; heap ${(bytes / 1e6).toFixed(1)} MB with ${kept} lines kept`,
    );
    assert.ok(bytes < 200e6, `${bytes} bytes of heap`);
    // Its lines, "ready", the status `running` and the final status.
    assert.equal(counted.published, all + 3);
    assert.equal(counted.before, 0);
  },
);

test("a tab that stalls learns exactly how many messages it missed", { skip }, async (t) => {
  const server = await startBinary(t, [
    "run",
    "--id",
    "web",
    "--stay",
    "--queue",
    "300",
    "--",
    ...flood(20_000, 8),
  ]);
  const viewer = await openViewer(t, browser, `${server.url}#${CHANNEL}`);
  await viewer.sees("ready");
  server.process.stdin.write("go\n");
  await viewer.sees("line ");
  await viewer.page.evaluate(() => {
    const until = performance.now() + 5_000;
    while (performance.now() < until);
  });
  // The last lines may be skipped, but never the final status.
  await viewer.page.locator("#badge", { hasText: "exited 0" }).waitFor({ timeout: 60_000 });
  const { skipped } = await account(viewer, server);
  assert.ok(skipped > 0, "the queue was to overflow, or this shows nothing");
  await viewer.page.keyboard.press("g");
  await viewer.page.fill("#find-text", "there is no such line");
  await viewer.sees("skipped");
  const told = await viewer.page.locator(".row.gap:not([hidden])").count();
  assert.ok(told > 0);
});

test("a gap is fetched while the server keeps its messages", { skip }, async (t) => {
  const server = await startBinary(t, ["serve", "--queue", "64"]);
  const viewer = await openViewer(t, browser, `${server.url}#${CHANNEL}`);
  await output(server.url, "web", "first");
  await viewer.sees("first");
  // More messages at once than the queue holds, but no more than the history keeps.
  await output(server.url, "web", ...Array.from({ length: 600 }, (_, i) => `line ${i}`));
  await output(server.url, "web", "last");
  const { skipped } = await account(viewer, server);
  assert.ok(skipped > 0, "the queue was to overflow, or this shows nothing");
  for (;;) {
    const fetch = viewer.page.locator(".row:not([hidden]) .fetch").last();
    if ((await fetch.count()) === 0) {
      const isAtTop = (await viewer.texts()).includes("first");
      if (isAtTop) break;
      await viewer.page.mouse.move(700, 400);
      const before = String(await viewer.texts());
      await viewer.page.mouse.wheel(0, -600);
      await until(async () => String(await viewer.texts()) !== before);
      await viewer.rests();
      continue;
    }
    const name = await fetch.getAttribute("aria-label");
    await fetch.click();
    await viewer.page.getByRole("button", { name }).waitFor({ state: "detached" });
  }
  const lines = (await viewer.download()).text.trimEnd().split("\n");
  assert.deepEqual(lines, ["first", ...Array.from({ length: 600 }, (_, i) => `line ${i}`), "last"]);
});

test("the page reconnects to a server that is killed and started again", { skip }, async (t) => {
  const first = await startBinary(t, ["serve"]);
  const viewer = await openViewer(t, browser, `${first.url}#${CHANNEL}`);
  await output(first.url, "web", "before");
  await viewer.sees("before");
  await first.kill("SIGKILL");
  await viewer.page.getByText("No connection to the server").waitFor();
  const second = await startBinary(t, ["serve"], { port: first.port });
  await viewer.sees("The server was restarted", { timeout: 30_000 });
  await output(second.url, "web", "after");
  await viewer.sees("after");
  assert.ok((await viewer.texts()).includes("before"));
});

test(
  "hostile output stays text: it makes no element and no script, and the page keeps working",
  { skip },
  async (t) => {
    // Waits for a word, so that the page has subscribed before the megabyte evicts everything else
    // from the history.
    const script = `
    const out = (line) => process.stdout.write(line + "\\n");
    out("ready");
    process.stdin.once("data", () => {
    out("<script>window.owned = 1</script>");
    out("<img src=x onerror='window.owned = 2'>");
    out("\\x1b]8;;javascript:window.owned=3\\x1b\\\\click\\x1b]8;;\\x1b\\\\");
    out('{"<img src=x onerror=window.owned=4>":"</span><script>window.owned=5</script>"}');
    out("\\x1b[31mx\\x1b[0m".repeat(5000));
    out("\\x1b[".repeat(5000));
    out("\\x1b[38;2;1;2;3m".repeat(5000) + "deep");
    out("y".repeat(1000000));
    process.stdout.write(Buffer.from([0xff, 0xfe, 0x00, 0x1b, 0x0a]));
    out("the end");
    process.stdin.destroy(); });`;
    const server = await startBinary(t, [
      "run",
      "--id",
      "web",
      "--stay",
      "--",
      process.execPath,
      "-e",
      script,
    ]);
    const viewer = await openViewer(t, browser, `${server.url}#${CHANNEL}`);
    await viewer.sees("ready");
    server.process.stdin.write("go\n");
    await viewer.sees("the end", { timeout: 30_000 });
    await viewer.page.keyboard.press("g");
    await viewer.sees("<script>");
    const found = await viewer.page.evaluate(() => ({
      owned: window.owned,
      strange: document.querySelectorAll("#lines :is(script, img, svg, b, a:not(.num))").length,
    }));
    assert.deepEqual(found, { owned: undefined, strange: 0 });
  },
);

test("the server sends the policy of the browser tests with every file", { skip }, async (t) => {
  const server = await startBinary(t, ["serve"]);
  await output(server.url, "web", "a line to look through");
  const asked = [];
  const { page } = await openViewer(t, browser, "about:blank", { expected: /^asked for/ });
  page.on("response", (response) => asked.push(response));
  await page.goto(`${server.url}#${CHANNEL}?filter=x&regex=1`);
  await page.getByText("live", { exact: true }).waitFor();
  await until(() => asked.some((response) => response.url().endsWith("search-worker.js")));
  const files = asked.filter((response) => !response.url().includes("/api/"));
  assert.ok(files.length > 20);
  for (const response of files) {
    const headers = await response.allHeaders();
    assert.equal(headers["content-security-policy"], POLICY, response.url());
    assert.equal(headers["x-content-type-options"], "nosniff");
  }
});

test(
  "the list has the status of processes that are not shown, and all processes are one view",
  { skip },
  async (t) => {
    const server = await startBinary(t, ["serve"]);
    const say = (id, status, code) =>
      act(server.url, {
        action: "ws.send_process_status",
        process_id: id,
        status,
        exit_code: code,
      });
    await say("web", "running", 0);
    await say("built", "exited", 0);
    await say("lint", "exited", 1);
    await say("worker", "crashed", 139);
    await output(server.url, "web", "of web");
    await output(server.url, "worker", "of worker");
    const viewer = await openViewer(t, browser, `${server.url}#${CHANNEL}`);
    await viewer.sees("of web");
    for (const [id, text] of Object.entries({
      web: "running",
      built: "exited 0",
      lint: "exited 1",
      worker: "crashed 139",
    })) {
      await viewer.page
        .locator(`li[data-channel="process:${id}"] .badge`)
        .getByText(text)
        .waitFor();
    }
    await viewer.page.getByRole("link", { name: "All processes" }).click();
    await viewer.sees("of worker");
    await output(server.url, "later", "of a process to come");
    await viewer.sees("of a process to come");
  },
);

test(
  "a process that appears and ends at once is seen whole, and what is not kept is a gap",
  { skip },
  async (t) => {
    const server = await startBinary(t, ["serve", "--history", "5"]);
    const say = (status, exit_code) => ({
      action: "ws.send_process_status",
      process_id: "short",
      status,
      exit_code,
    });
    await output(server.url, "web", "of web");
    const viewer = await openViewer(t, browser, `${server.url}#process:*`);
    await viewer.sees("of web");
    const lines = Array.from({ length: 10 }, (_, n) => ({
      action: "ws.send_process_output",
      process_id: "short",
      output: `line ${n + 1}`,
    }));
    await act(server.url, [say("running", 0), ...lines, say("exited", 1)]);
    await viewer.until((texts) => texts.some((text) => text.includes("exited")));
    const texts = await viewer.texts();
    assert.deepEqual(
      texts.filter((text) => text.startsWith("line ")),
      ["line 7", "line 8", "line 9", "line 10"],
    );
    assert.equal(texts.filter((text) => text.startsWith("7 messages")).length, 1, texts.join("|"));
    await until(async () => {
      const { received, skipped, before } = await viewer.counts();
      return received === 6 && skipped === 7 && before === 0;
    });
  },
);

test("filtering, following and a link to a line work with the real server", { skip }, async (t) => {
  const server = await startBinary(t, ["serve"]);
  await output(server.url, "web", ...Array.from({ length: 800 }, (_, i) => `line ${i + 1}`));
  const viewer = await openViewer(t, browser, `${server.url}#${CHANNEL}:400`);
  await viewer.sees("line 400");
  await viewer.page.locator("#pill").click();
  await viewer.sees("line 800");
  await viewer.page.fill("#find-text", "line 40");
  await viewer.until(
    (texts) => texts.length === 11 && texts.every((text) => text.startsWith("line 40")),
  );
});

const PLACES = process.env.SCREENSHOTS;

test(
  "the pictures for the README are taken",
  { skip: skip || (!PLACES && "SCREENSHOTS names no folder to put them in") },
  async (t) => {
    const server = await startBinary(t, ["serve"]);
    const say = (id, status, code) =>
      act(server.url, {
        action: "ws.send_process_status",
        process_id: id,
        status,
        exit_code: code,
      });
    await say("build", "running", 0);
    for (const [id, ...lines] of DEMO) await output(server.url, id, ...lines);
    await say("build", "exited", 0);
    await say("db", "running", 0);
    await say("web", "running", 0);
    for (const [id, ...lines] of DEMO_LATER) await output(server.url, id, ...lines);
    await say("worker", "crashed", 101);
    for (const [name, { hash, ...look }] of Object.entries({
      light: { hash: "#process:*" },
      dark: { hash: "#process:*", dark: true },
      phone: { hash: `#${CHANNEL}`, dark: true, width: 390, height: 780 },
    })) {
      const viewer = await openViewer(t, browser, server.url + hash, { height: 700, ...look });
      await viewer.sees("listening");
      if (name !== "phone")
        await viewer.page.getByRole("button", { name: "Unfold" }).nth(-2).click();
      await viewer.page.mouse.move(640, 790);
      await viewer.page.evaluate(() => document.activeElement.blur());
      // The list has the status of the other processes, and the rate of the past has left the bar.
      await viewer.page
        .locator('li[data-channel="process:worker"] .badge', { hasText: "crashed 101" })
        .waitFor({ state: "attached" });
      await viewer.page
        .locator("#follow")
        .evaluate((follow) => follow.getAttribute("aria-pressed") === "true" || follow.click());
      await viewer.page.waitForFunction(
        () =>
          document.querySelector("#rate").textContent === "" &&
          document.querySelector("#toast").hidden,
      );
      await viewer.page.screenshot({ path: `${PLACES}/viewer-${name}.png` });
    }
  },
);

const DEMO = [
  [
    "build",
    "   \x1b[1;32mCompiling\x1b[0m shop v0.4.2",
    "    \x1b[1;32mFinished\x1b[0m `release` profile [optimized] target(s) in 11.42s",
  ],
  ["build", "\x1b[42;97m PASS \x1b[0m smoke tests \x1b[2m(12 checks, 840 ms)\x1b[0m"],
];

const DEMO_LATER = [
  [
    "db",
    'LOG:  listening on IPv4 address "127.0.0.1", port 5432',
    "LOG:  database system is ready to accept connections",
  ],
  ["web", "INFO  shop: 4 workers, pool of 16 connections", "DEBUG shop::db: connected in 12 ms"],
  ["web", "\x1b[1;36mshop\x1b[0m listening on \x1b[4;36mhttp://localhost:3000\x1b[0m"],
  [
    "worker",
    "importing catalogue  12%\rimporting catalogue  57%\rimporting catalogue 100%, 18,204 products",
  ],
  [
    "web",
    '{"level":"info","msg":"request","method":"GET","path":"/api/products","status":200,"ms":4.1}',
  ],
  [
    "web",
    '{"level":"info","msg":"request","method":"POST","path":"/api/cart","status":201,"ms":11.8}',
  ],
  ["db", "LOG:  duration: 1204.311 ms  statement: SELECT * FROM orders WHERE customer_id = $1"],
  ["web", "WARN  shop::db: slow query took 1,204 ms"],
  [
    "web",
    '{"level":"info","msg":"request","method":"GET","path":"/api/orders/42","status":200,"ms":1207.3}',
  ],
  ["worker", "\x1b[33mretry 1 of 3\x1b[0m: payment provider does not answer"],
  ["web", "ERROR shop::payment: connection reset by peer (os error 104), trying again in 5 s"],
  [
    "web",
    '{"level":"error","msg":"payment failed","order":9912,"error":{"code":"card_declined","retry":false}}',
  ],
  [
    "worker",
    "thread 'main' panicked at src/worker.rs:88:14:",
    "called `Result::unwrap()` on an `Err` value: Timeout(30s)",
  ],
  ["web", "INFO  shop: cache warm, hit ratio 0.93"],
  [
    "web",
    '{"level":"info","msg":"request","method":"GET","path":"/api/products/7","status":200,"ms":2.2}',
  ],
];
