// Tests selecting and finding lines in a browser, by pointer and by keyboard.
// `npm run browser` runs these tests. They are skipped with a message where there is no Chromium or
// no playwright-core.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, test } from "node:test";

import { launch } from "./support/browser.mjs";
import { CHANNEL, setUp as setUpIn, until } from "./support/site.mjs";

const browser = await launch();
const skip = typeof browser === "string" ? browser : false;
after(async () => skip || browser.close());
const setUp = (t, options) => setUpIn(t, browser, options);

/** Returns the text lines `line from` to `line to`. */
const numbered = (from, to) =>
  Array.from({ length: to - from + 1 }, (_, i) => `line ${from + i}\n`).join("");

const clipboard = (page) => page.evaluate(() => navigator.clipboard.readText());

async function middle(page, text) {
  const row = page.locator(".row:not([hidden]) .text", { hasText: new RegExp(`^${text}$`) });
  const { x, y } = await row.boundingBox();
  return [x + 20, y + 10];
}

test(
  "a drag over many screens selects exactly those lines, and new lines change nothing",
  { skip },
  async (t) => {
    const { hub, viewer, page } = await setUp(t, { lines: 2_000 });
    await viewer.sees("line 2000");
    await page.mouse.move(...(await middle(page, "line 1990")));
    await page.mouse.down();
    await page.mouse.move(700, 300);
    await page.mouse.move(700, 5);
    await viewer.sees("line 1600");
    await page.mouse.move(...(await middle(page, "line 1605")));
    await viewer.rests();
    const [x, y] = [700, 300];
    await page.mouse.move(x, y);
    await page.mouse.up();
    // The row under the pointer is the last one.
    const end = await page.evaluate(
      ([left, top]) => document.elementFromPoint(left, top).closest(".row").innerText.match(/\d+$/)[0],
      [x, y],
    );
    const count = 1_990 - Number(end) + 1;
    await page.locator("#selection-text").getByText(`${count} lines`).waitFor();
    hub.output(CHANNEL, "a new one");
    await page.getByText("1 new").waitFor();
    await page.keyboard.press("Control+c");
    await page.getByText(`Copied ${count} lines`).waitFor();
    assert.equal(await clipboard(page), numbered(Number(end), 1_990));
  },
);

test("a drag back shrinks the selection, and Shift with a click extends it", { skip }, async (t) => {
  const { viewer, page } = await setUp(t, { lines: 100 });
  await viewer.sees("line 100");
  await page.mouse.move(...(await middle(page, "line 80")));
  await page.mouse.down();
  await page.mouse.move(...(await middle(page, "line 90")));
  await page.locator("#selection-text").getByText("11 lines").waitFor();
  await page.mouse.move(...(await middle(page, "line 82")));
  await page.locator("#selection-text").getByText("3 lines").waitFor();
  await page.mouse.up();
  assert.deepEqual(await page.locator(".row.selected .text").allInnerTexts(), [
    "line 80",
    "line 81",
    "line 82",
  ]);
  await page.keyboard.down("Shift");
  await page.mouse.click(...(await middle(page, "line 85")));
  await page.keyboard.up("Shift");
  await page.locator("#selection-text").getByText("6 lines").waitFor();
  await page.getByRole("button", { name: "Copy with time" }).click();
  await until(async () => (await clipboard(page)).includes("line 85"));
  assert.match(await clipboard(page), /^\d{4}-\d\d-\d\dT[\d:.]+Z line 80\n/);
  await page.getByRole("button", { name: "Link", exact: true }).click();
  await page.getByText("Copied a link").waitFor();
  assert.match(await clipboard(page), /#process:web:80-85\?epoch=e1$/);
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Download", exact: true }).click(),
  ]);
  assert.equal(download.suggestedFilename(), "web.log");
  assert.equal(await readFile(await download.path(), "utf8"), numbered(80, 85));
  // The button at the top downloads all lines, whatever is selected.
  assert.equal((await viewer.download()).text, numbered(1, 100));
  await page.keyboard.press("Escape");
  await page.locator("#selection").waitFor({ state: "hidden" });
});

test("all lines that pass the filter are selected and copied by keyboard", { skip }, async (t) => {
  const { viewer, page } = await setUp(t, { lines: 3_000, hash: `#${CHANNEL}?filter=line%202` });
  await viewer.sees("line 2999");
  await page.keyboard.press("Control+a");
  await page.locator("#selection-text").getByText("1,111 lines").waitFor();
  await page.keyboard.press("Control+c");
  await page.getByText("Copied 1,111 lines").waitFor();
  const copied = (await clipboard(page)).split("\n");
  assert.deepEqual([copied[0], copied[1], copied.length], ["line 2", "line 20", 1_112]);
});

test("Shift and the arrows select lines, and scroll to them", { skip }, async (t) => {
  const { viewer, page } = await setUp(t, { lines: 200 });
  await viewer.sees("line 200");
  for (let i = 0; i < 60; i += 1) await page.keyboard.press("Shift+ArrowUp");
  await page.locator("#selection-text").getByText("60 lines").waitFor();
  await viewer.sees("line 141");
  await page.keyboard.press("Shift+ArrowDown");
  await page.locator("#selection-text").getByText("59 lines").waitFor();
  await page.keyboard.press("Control+c");
  await page.getByText("Copied 59 lines").waitFor();
  assert.equal(await clipboard(page), numbered(142, 200));
});

test("arrows and pages scroll from the first moment", { skip }, async (t) => {
  const { viewer, page } = await setUp(t, { lines: 400 });
  await viewer.sees("line 400");
  await page.keyboard.press("PageUp");
  await viewer.until((texts) => texts.length > 0 && !texts.includes("line 400"));
  await page.keyboard.press("g");
  await viewer.until((texts) => texts[0] === "line 1");
  await page.keyboard.press("ArrowDown");
  await viewer.until((texts) => texts[0] === "line 2");
  await page.keyboard.press("ArrowUp");
  await viewer.until((texts) => texts[0] === "line 1");
  await page.keyboard.press("PageDown");
  await viewer.until((texts) => Number(texts[0].slice(5)) > 30);
});

test("within a line the browser selects text, and copies it", { skip }, async (t) => {
  const { viewer, page } = await setUp(t, { lines: 3 });
  await viewer.sees("line 3");
  await page.locator(".text", { hasText: "line 2" }).dblclick({ position: { x: 10, y: 10 } });
  await page.keyboard.press("Control+c");
  await until(async () => (await clipboard(page)).trim() === "line");
  assert.ok(await page.locator("#selection").isHidden());
});

test("Ctrl and F finds in all lines, and pressed again is the browser's", { skip }, async (t) => {
  const { viewer, page } = await setUp(t, { lines: 1_000 });
  await viewer.sees("line 1000");
  const isTaken = () =>
    page.evaluate(() => {
      const event = new KeyboardEvent("keydown", {
        key: "f",
        ctrlKey: true,
        bubbles: true,
        cancelable: true,
      });
      return !(document.activeElement ?? document.body).dispatchEvent(event);
    });
  assert.equal(await isTaken(), true);
  assert.equal(await page.evaluate(() => document.activeElement.id), "find-text");
  await page.keyboard.type("line 7");
  await page.locator("#find-count").getByText("111", { exact: true }).waitFor();
  await viewer.sees("line 1000");
  await page.keyboard.press("Enter");
  await page.locator(".found .text", { hasText: /^line 799$/ }).waitFor();
  assert.equal(await isTaken(), false);
});

test("the last expression stays in force while the next one is typed", { skip }, async (t) => {
  const { viewer, page } = await setUp(t, {
    lines: 200,
    hash: `#${CHANNEL}?filter=7$&regex=1`,
  });
  const isFiltered = (texts) => texts.length === 20 && texts.every((text) => text.endsWith("7"));
  await viewer.until(isFiltered);
  await page.fill("#find-text", "7$|(");
  await page.locator("#find-count").getByText("not a regular expression").waitFor();
  // The count of matches is drawn several times a second, and does not take its place.
  await page.locator("#kept").getByText("200 lines").waitFor();
  assert.equal(await page.locator("#find-count").textContent(), "not a regular expression");
  await viewer.until(isFiltered);
  await page.fill("#find-text", "7$|(9$)");
  await viewer.until((texts) => texts.includes("line 199"));
  await page.locator("#find-count").getByText("40", { exact: true }).waitFor();
});
