// Tests the viewer with its server in a browser: channels, breaks, tokens, process control, and
// what the policy forbids. `npm run browser` runs these tests. They are skipped with a message
// where there is no Chromium or no playwright-core.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { launch, openViewer } from "./support/browser.mjs";
import { CHANNEL, serveViewer, setUp as setUpIn, until } from "./support/site.mjs";

const browser = await launch();
const skip = typeof browser === "string" ? browser : false;
after(async () => skip || browser.close());
const setUp = (t, options) => setUpIn(t, browser, options);

test(
  "a break is shown, the page reconnects by itself, and nothing is missing",
  { skip },
  async (t) => {
    const { hub, viewer, page } = await setUp(t, { lines: 3 });
    await viewer.sees("line 3");
    hub.breakAll();
    hub.output(CHANNEL, "while away");
    await page.getByText("No connection to the server").waitFor();
    await viewer.sees("while away");
    await page.locator("#banner").waitFor({ state: "hidden" });
    assert.ok((await viewer.texts()).some((text) => text.startsWith("Connected again")));
    assert.deepEqual((await viewer.counts()).skipped, 0);
    hub.restart("e2");
    hub.output(CHANNEL, "first of the new");
    await viewer.sees("The server was restarted");
    await viewer.sees("first of the new");
  },
);

test(
  "several channels are one list by time with named lines, and hiding one removes its lines",
  { skip },
  async (t) => {
    const { hub, viewer, page } = await setUp(t, { hash: "#process:a" });
    for (let i = 0; i < 5; i += 1) {
      hub.output(i % 2 ? "process:b" : "process:a", `of ${i}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await viewer.sees("of 4");
    await page.getByLabel("Show process:b with the others").check();
    await viewer.sees("of 3");
    assert.deepEqual(await viewer.texts(), ["of 0", "of 1", "of 2", "of 3", "of 4"]);
    assert.match(page.url(), /#process:a,process:b$/);
    assert.equal(await page.locator(".row:not([hidden]) .chan").nth(1).innerText(), "b");
    await page.getByLabel("Show process:a with the others").uncheck();
    await viewer.until((texts) => texts.length === 2);
  },
);

test("channels are listed with their status", { skip }, async (t) => {
  const { hub, viewer, page } = await setUp(t, { lines: 1 });
  hub.status(CHANNEL, "running");
  hub.output("process:other", "x");
  await page.getByRole("link", { name: "other" }).waitFor();
  await page.locator("#badge", { hasText: "running" }).waitFor();
  hub.status(CHANNEL, "exited", 1);
  await page.locator("li.shown .badge", { hasText: "exited 1" }).waitFor();
  await page.getByRole("link", { name: "other" }).click();
  await viewer.until((texts) => texts.length === 1 && texts[0] === "x");
  await page.keyboard.press("[");
  await viewer.sees("line 1");
});

test("lines from a server without extensions are shown without numbers", { skip }, async (t) => {
  const site = await serveViewer({ hasExtensions: false });
  t.after(() => site.stop());
  const viewer = await openViewer(t, browser, `${site.url}#${CHANNEL}`);
  await site.hub.heard(({ type }) => type === "subscribe");
  site.hub.output(CHANNEL, "plain");
  await viewer.sees("plain");
  assert.equal((await viewer.rows())[0].number, "");
});

test(
  "all processes, later ones included, are one view with a link, and lines have channel colors",
  { skip },
  async (t) => {
    const { hub, url, stop } = await serveViewer();
    t.after(stop);
    hub.output("process:a", "of a");
    hub.output("process:b", "of b");
    hub.output("metrics", "no process");
    // An address that names no channel shows all processes.
    const viewer = await openViewer(t, browser, url);
    const { page } = viewer;
    await viewer.sees("of a");
    await viewer.sees("of b");
    assert.match(page.url(), /#process:\*$/);
    await page.locator("#title").getByText("All processes").waitFor();
    hub.output("process:c", "of c");
    await viewer.sees("of c");
    hub.output("process:a", "more of a");
    await viewer.sees("more of a");
    assert.ok(!(await viewer.texts()).includes("no process"));
    const prefixes = await page
      .locator(".row:not([hidden]) .chan")
      .evaluateAll((all) =>
        all.map((prefix) => [prefix.textContent, getComputedStyle(prefix).color]),
      );
    assert.deepEqual(
      prefixes.map(([name]) => name),
      ["a", "b", "c", "a"],
    );
    assert.equal(new Set(prefixes.map(([, color]) => color)).size, 3);
    await page.locator(".row:not([hidden]) .num").nth(1).click();
    assert.match(page.url(), /#process:\*,process:b:1\?epoch=e1$/);
    const other = await openViewer(t, browser, page.url());
    await other.sees("more of a");
    assert.equal(await other.page.locator(".row.chosen:not([hidden]) .text").innerText(), "of b");
    await page.getByLabel("Show process:b with the others").uncheck();
    await viewer.until((texts) => texts.length === 3 && !texts.includes("of b"));
    await page.getByRole("link", { name: "All processes" }).click();
    await viewer.sees("of b");
  },
);

test("the list also has the status of channels that are not shown", { skip }, async (t) => {
  const { hub, viewer, page } = await setUp(t, { lines: 1 });
  await viewer.sees("line 1");
  hub.status("process:done", "exited", 0);
  hub.status("process:wrong", "exited", 1);
  hub.status("process:broken", "crashed", 139);
  hub.output("process:silent", "no status");
  const badge = (name) => page.locator(`li[data-channel="process:${name}"] .badge`);
  await badge("done").getByText("exited 0").waitFor();
  await badge("wrong").getByText("exited 1").waitFor();
  await badge("broken").getByText("crashed 139").waitFor();
  assert.ok(await badge("silent").isHidden());
  await page.locator("li.all .badge").getByText("2 failed").waitFor();
});

test(
  "the page asks for the token that a server requires, and keeps it out of links and addresses",
  { skip },
  async (t) => {
    const site = await serveViewer({ token: "s3cret" });
    t.after(() => site.stop());
    site.hub.output(CHANNEL, "behind the gate");
    const viewer = await openViewer(t, browser, `${site.url}#${CHANNEL}`);
    const { page } = viewer;
    await page.getByRole("dialog", { name: "This server asks for a token" }).waitFor();
    await page.keyboard.type("wrong");
    await page.keyboard.press("Enter");
    await page.getByText("did not accept this token").waitFor();
    await page.getByLabel("Token", { exact: true }).fill("s3cret");
    await page.getByRole("button", { name: "Connect" }).click();
    await viewer.sees("behind the gate");
    await page.getByRole("dialog").waitFor({ state: "hidden" });
    assert.equal(page.url(), `${site.url}#${CHANNEL}`);
    await page.locator("#lines").focus();
    await page.keyboard.press("l");
    await page.getByText("Copied a link").waitFor();
    assert.equal(
      await page.evaluate(() => navigator.clipboard.readText()),
      `${site.url}#${CHANNEL}`,
    );
    const kept = await page.evaluate(() =>
      [JSON.stringify(localStorage), document.documentElement.outerHTML].join(),
    );
    assert.ok(!kept.includes("s3cret"));
    // The token is there after a reload, but no longer once the server has another.
    await page.reload();
    await viewer.sees("behind the gate");
    site.token = "another";
    site.hub.breakAll();
    await page.getByText("no longer accepts the token").waitFor();
    await page.getByLabel("Token", { exact: true }).fill("another");
    await page.keyboard.press("Enter");
    await page.getByText("live", { exact: true }).waitFor();
  },
);

test("a token in the page's address is used once and removed", { skip }, async (t) => {
  const site = await serveViewer({ token: "s3cret" });
  t.after(() => site.stop());
  site.hub.output(CHANNEL, "behind the gate");
  const viewer = await openViewer(t, browser, `${site.url}?token=s3cret&lines=500#${CHANNEL}`);
  await viewer.sees("behind the gate");
  assert.equal(viewer.page.url(), `${site.url}?lines=500#${CHANNEL}`);
  await viewer.page.goBack();
  assert.ok(!viewer.page.url().includes("s3cret"));
});

test(
  "a process is controlled where the server allows it, and stopped only after a confirmation",
  { skip },
  async (t) => {
    const processes = [
      { id: "web", status: "running", pid: 4711, restarts: 2, controllable: true },
      { id: "db", status: "running", pid: 4712, restarts: 0, controllable: false },
    ];
    const site = await serveViewer({ processes });
    t.after(() => site.stop());
    site.hub.status(CHANNEL, "running");
    site.hub.status("process:db", "running");
    const { page } = await openViewer(t, browser, `${site.url}#${CHANNEL}`);
    const restart = page.getByRole("button", { name: "Restart" });
    await restart.waitFor();
    assert.equal(await page.locator("#badge").getAttribute("title"), "pid 4711, 2 restarts");
    assert.ok(await page.getByRole("button", { name: "Start", exact: true }).isHidden());
    await restart.click();
    await page.getByRole("button", { name: "Stop…" }).click();
    await page
      .getByRole("dialog", { name: "Stop web?" })
      .getByRole("button", { name: "Cancel" })
      .click();
    await page.getByRole("button", { name: "Stop…" }).click();
    await page
      .getByRole("dialog", { name: "Stop web?" })
      .getByRole("button", { name: "Stop" })
      .click();
    await until(() => site.actions.length === 2);
    const asked = site.actions.map(({ action, process_id }) => [action, process_id]);
    assert.deepEqual(asked, [
      ["process.restart", "web"],
      ["process.stop", "web"],
    ]);
    site.hub.status(CHANNEL, "stopped");
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await until(() => site.actions.at(-1).action === "process.start");
    await page.getByRole("link", { name: "db" }).click();
    await page.locator("#control").waitFor({ state: "hidden" });
  },
);

test(
  "a channel that appears is listed at once, and a quiet server is asked seldom",
  { skip },
  async (t) => {
    const site = await serveViewer({ waits: true });
    t.after(() => site.stop());
    site.hub.output(CHANNEL, "x");
    const { page } = await openViewer(t, browser, `${site.url}#${CHANNEL}`);
    await page.getByRole("link", { name: "web" }).waitFor();
    await until(() => site.lists === 2);
    const held = performance.now();
    site.hub.output("process:later", "x");
    await page.getByRole("link", { name: "later" }).waitFor();
    // A list that is asked for in intervals would come after 2 s, and the held one after 5 s.
    assert.ok(performance.now() - held < 1_800);
    await until(() => site.lists === 3);
    const lists = site.lists;
    await page.waitForTimeout(2_500);
    assert.equal(site.lists, lists);
  },
);

test(
  "channels of several nodes are grouped, a lost one is told, and a refused order is a sentence",
  { skip },
  async (t) => {
    const processes = [
      { id: "web", status: "running", pid: 1, restarts: 0, controllable: true, node: "a:1" },
      { id: "db", status: "lost", pid: null, restarts: 0, controllable: false, node: "b:2" },
    ];
    const site = await serveViewer({ waits: true, processes });
    t.after(() => site.stop());
    site.nodes = { "process:web": "a:1", "process:db": "b:2" };
    site.hub.status(CHANNEL, "running");
    site.hub.status("process:db", "lost");
    site.hub.output("news", "x");
    const { page } = await openViewer(t, browser, `${site.url}#${CHANNEL}`);
    await page.locator("li.node").nth(2).waitFor();
    const rows = await page
      .locator("#channel-list > li")
      .evaluateAll((all) =>
        all.map((row) => row.querySelector(".name")?.textContent ?? row.textContent),
      );
    assert.deepEqual(rows, ["All processes", "this server", "news", "a:1", "web", "b:2", "db"]);
    assert.equal(await page.locator("#badge").getAttribute("title"), "pid 1, on a:1");
    await page.locator("li .badge.lost", { hasText: "lost" }).waitFor();
    site.refusal = "process.restart: the node that has the process is not reachable: a:1";
    await page.getByRole("button", { name: "Restart" }).click();
    await page.getByText(site.refusal).waitFor();
    await page.getByRole("link", { name: "db" }).click();
    await page.locator("#control").waitFor({ state: "hidden" });
    await page.locator("#badge", { hasText: "lost" }).waitFor();
  },
);

test("only the server's own files run: the policy forbids everything else", { skip }, async (t) => {
  const { viewer, page } = await setUp(t, {
    lines: 1,
    expected: /Content Security Policy|Trusted|127.0.0.1:9/,
  });
  await viewer.sees("line 1");
  const tried = await page.evaluate(async () => {
    const said = [];
    document.addEventListener("securitypolicyviolation", (event) =>
      said.push(event.effectiveDirective),
    );
    const script = document.createElement("script");
    script.append("window.owned = 1");
    document.body.append(script);
    let inner = "";
    try {
      document.body.innerHTML += "<b>x</b>";
    } catch (error) {
      inner = error.name;
    }
    const styled = document.createElement("p");
    styled.setAttribute("style", "color: red");
    document.body.append(styled);
    const image = new Image();
    image.src = "http://127.0.0.1:9/image";
    document.body.append(image);
    const fetched = await fetch("http://127.0.0.1:9/").then(
      () => "fetched",
      () => "refused",
    );
    await new Promise((resolve) => image.addEventListener("error", resolve, { once: true }));
    return { owned: window.owned, inner, fetched, said: [...new Set(said)].sort() };
  });
  assert.deepEqual(tried, {
    owned: undefined,
    inner: "TypeError",
    fetched: "refused",
    said: ["connect-src", "img-src", "require-trusted-types-for", "style-src-attr"],
  });
});
