// Tests in a browser that the viewer tells the truth: nothing is missing without a mark, late lines
// stand where they belong, and an empty page says why. `npm run browser` runs these tests. They are
// skipped with a message where there is no Chromium or no playwright-core.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { launch, openViewer } from "./support/browser.mjs";
import { CHANNEL, serveViewer, setUp as setUpIn, until } from "./support/site.mjs";

const browser = await launch();
const skip = typeof browser === "string" ? browser : false;
after(async () => skip || browser.close());
const setUp = (t, options) => setUpIn(t, browser, options);

const A = "process:a";
const B = "process:b";

/** Returns `count` lines that begin with `text`. */
const lines = (text, count) => Array.from({ length: count }, (_, i) => `${text} ${i + 1}`);

/** Starts a server whose clock is a second later with each reading. */
async function serveClocked(t, options) {
  let seconds = 0;
  const now = () => new Date(1_700_000_000_000 + 1_000 * seconds++);
  const site = await serveViewer({ keeps: 5_000, now, ...options });
  t.after(() => site.stop());
  return site;
}

test("a replay that is cut while the page loads leaves no line out", { skip }, async (t) => {
  const site = await serveClocked(t, { batch: 100 });
  site.hub.output(A, ...lines("a", 900));
  site.hub.output(B, ...lines("b", 900));
  // Within the replay of the second channel.
  site.hub.cutAfter(16);
  const viewer = await openViewer(t, browser, `${site.url}#${A},${B}`);
  await viewer.sees("b 900");
  const { text } = await viewer.download();
  for (const name of ["a", "b"]) {
    const found = text.split("\n").filter((line) => line.startsWith(`process:${name} ${name} `));
    assert.deepEqual(
      found,
      lines(name, 900).map((line) => `process:${name} ${line}`),
    );
  }
});

test(
  "after a break the missed lines stand in the order of time, and the reading place stays",
  { skip },
  async (t) => {
    const site = await serveClocked(t);
    const { hub } = site;
    hub.output(A, ...lines("old", 200));
    const viewer = await openViewer(t, browser, `${site.url}#${A},${B}`);
    await viewer.sees("old 200");
    for (let i = 1; i <= 5; i += 1) hub.output(i % 2 ? A : B, `missed ${i}`);
    await viewer.sees("missed 5");
    await viewer.page.mouse.move(700, 400);
    await viewer.page.mouse.wheel(0, -200);
    await viewer.page.locator("#pill").waitFor();
    await viewer.rests();
    const before = await viewer.texts();
    hub.breakAll();
    for (let i = 6; i <= 60; i += 1) hub.output(i % 2 ? A : B, `missed ${i}`);
    await viewer.page.getByText("56 new").waitFor();
    assert.deepEqual(await viewer.texts(), before);
    await viewer.page.click("#pill");
    await viewer.sees("missed 60");
    const { text } = await viewer.download();
    const found = text.split("\n").filter((line) => line.includes("missed"));
    assert.deepEqual(
      found.map((line) => line.replace(/^\S+ /, "")),
      lines("missed", 60),
    );
  },
);

test("rows that are placed above the reader do not move what is read", { skip }, async (t) => {
  const site = await serveClocked(t);
  const { hub } = site;
  hub.output(B, ...lines("early", 50));
  hub.output(A, ...lines("old", 200));
  const viewer = await openViewer(t, browser, `${site.url}#${A}`);
  await viewer.sees("old 200");
  await viewer.page.keyboard.press("g");
  await viewer.sees("old 1");
  await viewer.page.keyboard.press("j");
  await viewer.until((texts) => texts[0] === "old 2");
  const before = await viewer.texts();
  await viewer.page.getByLabel("Show process:b with the others").check();
  await viewer.page.getByText("250 lines").waitFor();
  assert.deepEqual(await viewer.texts(), before);
});

test(
  "a channel without a line says how to publish one, to this very server",
  { skip },
  async (t) => {
    const { page, url } = await setUp(t);
    await page.getByText("Nothing published yet").waitFor();
    const command = await page.locator("#empty code").innerText();
    assert.ok(command.startsWith(`curl ${url}api/actions `), command);
    assert.ok(command.includes('"process_id":"web"'), command);
    await page.getByRole("button", { name: "Copy", exact: true }).click();
    await page.getByText("Copied").waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), command);
  },
);

test("a filter that hides all lines says so, and a button clears it", { skip }, async (t) => {
  const { viewer, page } = await setUp(t, { lines: 20, hash: `#${CHANNEL}?filter=nothing` });
  await page.getByText("The filter hides all 20 lines.").waitFor();
  await page.getByRole("button", { name: "Clear the filter" }).click();
  await viewer.sees("line 20");
});

test("a channel without access says so with the server's reason", { skip }, async (t) => {
  const site = await serveViewer();
  t.after(() => site.stop());
  site.hub.refused[CHANNEL] = "Subscribe: subscription unauthorised";
  site.hub.output("process:db", "of db");
  const viewer = await openViewer(t, browser, `${site.url}#${CHANNEL}`);
  const { page } = viewer;
  await page.getByText("No access to web").waitFor();
  await page.getByText("The server refuses it: subscription unauthorised.").waitFor();
  await page.getByRole("button", { name: "Use another token" }).click();
  await page.getByRole("dialog", { name: "This server asks for a token" }).waitFor();
  // Among other channels it is a row.
  const other = await openViewer(t, browser, `${site.url}#${CHANNEL},process:db`);
  await other.sees("of db");
  await other.sees("Not shown: web: the server refuses it (subscription unauthorised)");
});

for (const [status, text, said] of [
  [403, "Forbidden", "The server refuses the connection: 403 Forbidden"],
  [429, "Too many connections", "The server refuses the connection: 429 Too many connections"],
  [426, "Upgrade Required", "no WebSocket opens: a proxy in between may not pass it on"],
]) {
  test(`a page that gets no connection says why: ${status}`, { skip }, async (t) => {
    const site = await serveViewer();
    t.after(() => site.stop());
    site.answers = [status, text];
    const { page } = await openViewer(t, browser, `${site.url}#${CHANNEL}`);
    await page.locator("#empty").getByText(said).waitFor();
    await page.locator("#banner").getByText(said).waitFor();
    site.answers = undefined;
    await page.locator("#empty").getByRole("button", { name: "Try now" }).click();
    await page.getByText("Nothing published yet").waitFor();
  });
}

test("a connection that has died is noticed within 15 s", { skip }, async (t) => {
  const site = await serveViewer();
  t.after(() => site.stop());
  site.hub.output(CHANNEL, "alive");
  const viewer = await openViewer(t, browser, site.url + `#${CHANNEL}`, { hasClock: true });
  await viewer.sees("alive");
  site.hub.mute();
  await viewer.page.clock.runFor(15_000);
  await viewer.page.locator("#banner").getByText("No connection").waitFor({ state: "attached" });
  await viewer.page.getByText("Connected again").waitFor();
});

for (const event of ["online", "pageshow", "visibilitychange"]) {
  test(`a connection that has died is tested at once on ${event}`, { skip }, async (t) => {
    const { hub, viewer, page } = await setUp(t, { lines: 3 });
    await viewer.sees("line 3");
    hub.mute();
    hub.output(CHANNEL, "while it is dead");
    await page.evaluate(
      (name) => (name === "visibilitychange" ? document : window).dispatchEvent(new Event(name)),
      event,
    );
    await viewer.sees("while it is dead", { timeout: 12_000 });
  });
}

test(
  "a link to lines of an earlier run says so, and shows no other line in their place",
  { skip },
  async (t) => {
    const { hub, viewer, page, url } = await setUp(t, { lines: 300 });
    await viewer.sees("line 300");
    await page.getByText("290", { exact: true }).click();
    await page.getByText("292", { exact: true }).click({ modifiers: ["Shift"] });
    await page.locator(".row.chosen").nth(2).waitFor();
    const link = page.url();
    assert.match(link, /#process:web:290-292\?epoch=e1$/);
    const same = await openViewer(t, browser, link);
    await same.page.locator(".row.chosen").nth(2).waitFor();
    assert.deepEqual(await same.page.locator(".row.chosen .text").allInnerTexts(), [
      "line 290",
      "line 291",
      "line 292",
    ]);
    hub.restart("e2");
    hub.output(CHANNEL, ...lines("new", 300));
    await page.click("#pill");
    await viewer.sees("new 300");
    // The lines of the same numbers are no part of the selection.
    assert.equal(await page.locator(".row.chosen").count(), 0);
    const later = await openViewer(t, browser, link);
    await later.page
      .getByText("Line 290 of web belongs to an earlier run of the server, whose lines are gone.")
      .waitFor();
    await later.sees("new 300");
    assert.equal(await later.page.locator(".row.chosen").count(), 0);
    // Without an epoch, a number is of the present run.
    const old = await openViewer(t, browser, `${url}#${CHANNEL}:290`);
    await old.page.locator(".row.chosen .text", { hasText: "new 290" }).waitFor();
  },
);

test("the link to a line keeps the filter that is shown", { skip }, async (t) => {
  const { viewer, page } = await setUp(t, { lines: 50, hash: `#${CHANNEL}?filter=line%204` });
  await viewer.sees("line 49");
  await page.getByText("42", { exact: true }).click();
  assert.match(page.url(), /#process:web:42\?epoch=e1&filter=line\+4$/);
});

test("another channel and back keeps what was gathered", { skip }, async (t) => {
  const site = await serveClocked(t, { keeps: 100 });
  const { hub } = site;
  hub.output("process:other", "of other");
  const viewer = await openViewer(t, browser, `${site.url}#${CHANNEL}`);
  const { page } = viewer;
  await page.getByText("Nothing published yet").waitFor();
  hub.output(CHANNEL, ...lines("line", 2_001));
  await page.getByText("2,001 lines").waitFor();
  await page.getByRole("link", { name: "other" }).click();
  await viewer.sees("of other");
  hub.output(CHANNEL, ...lines("meanwhile", 150));
  await page.getByRole("link", { name: "web" }).click();
  await viewer.sees("meanwhile 150");
  // 50 of the 150 are no longer kept: a gap.
  await page.getByText("2,102 lines").waitFor();
  const { text } = await viewer.download();
  const found = text.split("\n");
  assert.deepEqual(found.slice(0, 2_001), lines("line", 2_001));
  assert.equal(found[2_001], "… 50 skipped (2002 to 2051) …");
  assert.deepEqual(found.slice(2_002, -1), lines("meanwhile", 150).slice(50));
  assert.deepEqual(await viewer.counts(), { received: 2_101, skipped: 50, before: 0, kept: 2_102 });
});

test("above the first line stands how many earlier ones are gone", { skip }, async (t) => {
  const site = await serveClocked(t, { keeps: 500 });
  site.hub.output(CHANNEL, ...lines("line", 5_001));
  const { page } = await openViewer(t, browser, `${site.url}#${CHANNEL}`);
  await page.getByText("500 lines").waitFor();
  assert.ok(await page.locator(".head").isHidden());
  await page.keyboard.press("g");
  await page.getByText("4,501 earlier lines are gone").waitFor();
  assert.ok(await page.getByRole("button", { name: "Load older" }).isHidden());
});

test(
  "older lines are loaded until the history's end, and the reading place stays",
  { skip },
  async (t) => {
    const site = await serveClocked(t, { keeps: 19_000 });
    site.hub.output(CHANNEL, ...lines("line", 20_000));
    const viewer = await openViewer(t, browser, `${site.url}#${CHANNEL}`);
    const { page } = viewer;
    await viewer.sees("line 20000");
    await page.keyboard.press("g");
    await page.getByText("10,000 earlier lines", { exact: true }).waitFor();
    await viewer.rests();
    const place = () => page.locator(".row", { hasText: /line 10003$/ }).boundingBox();
    const before = await place();
    await page.getByRole("button", { name: "Load older" }).click();
    await page.getByText("15,000 lines").waitFor();
    await viewer.sees("line 10001");
    await viewer.rests();
    assert.deepEqual(await place(), before);
    await page.keyboard.press("g");
    await viewer.sees("line 5001");
    await page.getByRole("button", { name: "Load older" }).click();
    await page.getByText("19,000 lines").waitFor();
    await page.keyboard.press("g");
    await viewer.sees("line 1001");
    await page.getByText("1,000 earlier lines are gone").waitFor();
    const { text } = await viewer.download();
    assert.deepEqual(text.split("\n").slice(0, -1), lines("line", 20_000).slice(1_000));
  },
);

test("older lines of several channels are merged by time", { skip }, async (t) => {
  const site = await serveClocked(t, { keeps: 20_000 });
  const { hub } = site;
  for (let i = 0; i < 24; i += 1) hub.output(i % 2 ? A : B, ...lines(`block ${i} line`, 1_000));
  const viewer = await openViewer(t, browser, `${site.url}#${A},${B}`);
  const { page } = viewer;
  await viewer.sees("block 23 line 1000");
  await page.keyboard.press("g");
  await page.getByText("4,000 earlier lines", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Load older" }).click();
  await page.getByText("24,000 lines").waitFor();
  const { text } = await viewer.download();
  assert.deepEqual(
    text.split("\n").slice(0, -1),
    Array.from({ length: 24 }, (_, i) =>
      lines(`block ${i} line`, 1_000).map((line) => `${i % 2 ? A : B} ${line}`),
    ).flat(),
  );
});

test("a link to a line that is kept, but was not loaded, shows it", { skip }, async (t) => {
  const site = await serveClocked(t, { keeps: 25_000 });
  site.hub.output(CHANNEL, ...lines("line", 25_000));
  const { page } = await openViewer(t, browser, `${site.url}#${CHANNEL}:777`);
  await page.locator(".row.chosen .text", { hasText: "line 777" }).waitFor();
});

test("all processes are all of them, however many there are", { skip }, async (t) => {
  const site = await serveClocked(t);
  for (let i = 1; i <= 802; i += 1) site.hub.output(`process:p${i}`, `of ${i}`);
  const viewer = await openViewer(t, browser, `${site.url}#process:*`);
  const { page } = viewer;
  await page.getByText("802 lines").waitFor();
  await page.locator("li.all").getByText("802 processes").waitFor();
  assert.equal(await page.locator("#channel-list li").count(), 803);
  await viewer.sees("of 802");
  const { text } = await viewer.download();
  assert.deepEqual(
    text.split("\n").slice(0, -1),
    Array.from({ length: 802 }, (_, i) => `process:p${i + 1} of ${i + 1}`),
  );
});

test("the processes that the server does not let the page show are named", { skip }, async (t) => {
  const site = await serveClocked(t);
  for (let i = 1; i <= 30; i += 1) site.hub.output(`process:p${i}`, `of ${i}`);
  for (let i = 24; i <= 30; i += 1)
    site.hub.refused[`process:p${i}`] = "subscription limit exceeded";
  const viewer = await openViewer(t, browser, `${site.url}#process:*`);
  await viewer.sees(
    "Not shown: p24, p25, p26 and 4 more: the server refuses it (subscription limit exceeded)",
  );
});
