// Tests the lines of the viewer in a browser, against a small hub that the test controls: gaps,
// filters, links, following. `npm run browser` runs these tests. They are skipped with a message
// where there is no Chromium or no playwright-core.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { launch } from "./support/browser.mjs";
import { CHANNEL, setUp as setUpIn, until } from "./support/site.mjs";

const browser = await launch();
const skip = typeof browser === "string" ? browser : false;
after(async () => skip || browser.close());
const setUp = (t, options) => setUpIn(t, browser, options);

test(
  "past and live lines are shown with their numbers, and the newest is visible",
  { skip },
  async (t) => {
    const { hub, viewer } = await setUp(t, { lines: 300 });
    await viewer.sees("line 300");
    hub.output(CHANNEL, "and a live one");
    await viewer.sees("and a live one");
    const last = (await viewer.rows()).at(-1);
    assert.deepEqual([last.number, last.text], ["301", "and a live one"]);
  },
);

test("the text of a process stays text: it makes no element and no script", { skip }, async (t) => {
  const { hub, viewer, page } = await setUp(t);
  const hostile = [
    "<script>window.owned = 1</script>",
    "<img src=x onerror='window.owned = 2'>",
    '"><svg onload=window.owned=3>',
    "\x1b]8;;javascript:window.owned=4\x1b\\click\x1b]8;;\x1b\\",
    '{"<img src=x onerror=window.owned=5>":"</span><script>window.owned=6</script>"}',
    "\x1b[31m<b>red</b>\x1b[0m &lt;&amp;",
    "\u202eltr\u202c \u2066x",
  ];
  hub.output(CHANNEL, ...hostile);
  hub.status(CHANNEL, "<b>mine</b>", 3);
  hub.message(CHANNEL, "<i>type</i>", { html: "<u>" });
  hub.toAll("error", "<img src=x onerror='window.owned = 7'>");
  await viewer.sees("<i>type</i>");
  await page.fill("#find-text", "<");
  await viewer.sees("<script>");
  const found = await page.evaluate(() => ({
    owned: window.owned,
    strange: document.querySelectorAll(
      "#lines :is(script, img, svg, b, i, u, a:not(.num)), #toast *",
    ).length,
  }));
  assert.deepEqual(found, { owned: undefined, strange: 0 });
  const texts = await viewer.texts();
  assert.ok(texts.includes(hostile[0]));
  assert.ok(texts.some((text) => text.includes("<b>mine</b>")));
});

test(
  "ANSI bombs and lines of a megabyte are shown in part, and the page keeps working",
  { skip },
  async (t) => {
    const { hub, viewer, page } = await setUp(t);
    hub.output(
      CHANNEL,
      "\x1b[31mx\x1b[0m".repeat(50_000),
      "y".repeat(1_000_000),
      `${"z\r".repeat(400_000)}end`,
      "after",
    );
    await viewer.sees("after");
    const rows = await viewer.rows();
    assert.ok(rows.every(({ text }) => text.length < 6_000));
    await page.locator(".whole").last().click();
    await viewer.until((texts) => texts.some((text) => text.length === 1_000_000));
    hub.output(CHANNEL, "still here");
    await page.click("#pill");
    await viewer.sees("still here");
  },
);

test(
  "scrolling up ends following, the lines stay, the pill counts, and a click on it follows again",
  { skip },
  async (t) => {
    const { hub, viewer, page } = await setUp(t, { lines: 500 });
    await viewer.sees("line 500");
    await page.mouse.move(700, 400);
    await page.mouse.wheel(0, -1_000);
    await viewer.until((texts) => !texts.includes("line 500"));
    await viewer.rests();
    const before = await viewer.texts();
    for (let i = 1; i <= 20; i += 1) hub.output(CHANNEL, `new ${i}`);
    await page.getByText("20 new").waitFor();
    assert.deepEqual(await viewer.texts(), before);
    await page.click("#pill");
    await viewer.sees("new 20");
    assert.equal(await page.locator("#follow").getAttribute("aria-pressed"), "true");
    await page.mouse.wheel(0, -400);
    await page.locator("#pill").waitFor();
    await page.mouse.wheel(0, 4_000);
    await page.locator("#pill").waitFor({ state: "hidden" });
  },
);

test("the visible lines stay in place while the oldest are dropped", { skip }, async (t) => {
  const { hub, viewer, page } = await setUp(t, { lines: 900, search: "?lines=1000" });
  await viewer.sees("line 900");
  await page.mouse.move(700, 400);
  await page.mouse.wheel(0, -2_000);
  await viewer.until((texts) => !texts.includes("line 860"));
  await viewer.rests();
  const before = await viewer.texts();
  for (let i = 0; i < 20; i += 1)
    hub.output(CHANNEL, ...Array.from({ length: 30 }, (_, k) => `new ${i} ${k}`));
  await page.getByText("600 new").waitFor();
  assert.deepEqual(await viewer.texts(), before);
  await viewer.until(() => document.querySelector("#lines").dataset.kept === "1000");
  await page.keyboard.press("g");
  await viewer.sees("line 501");
});

test(
  "a gap is shown where it is, and its button fetches the messages into that place",
  { skip },
  async (t) => {
    const { hub, viewer, page } = await setUp(t);
    hub.output(CHANNEL, "before");
    await viewer.sees("before");
    hub.skip(CHANNEL, "lost 1", "lost 2", "lost 3");
    hub.output(CHANNEL, "after");
    await viewer.sees("3 messages skipped");
    await viewer.sees("after");
    assert.deepEqual(
      (await viewer.rows()).map(({ number }) => number),
      ["1", "", "5"],
    );
    await page.getByRole("button", { name: "Fetch messages 2 to 4 again" }).click();
    await viewer.sees("lost 2");
    assert.deepEqual(await viewer.texts(), ["before", "lost 1", "lost 2", "lost 3", "after"]);
    assert.deepEqual(
      (await viewer.rows()).map(({ number }) => number),
      ["1", "2", "3", "4", "5"],
    );
  },
);

test("a gap that is only partly kept still shows the lost part", { skip }, async (t) => {
  const { hub, viewer, page } = await setUp(t);
  hub.output(CHANNEL, "before");
  await viewer.sees("before");
  hub.skip(CHANNEL, ...Array.from({ length: 6_000 }, (_, i) => `lost ${i + 2}`));
  hub.output(CHANNEL, "after");
  await viewer.sees("6,000 messages skipped");
  await viewer.sees("after");
  await page.locator(".fetch").click();
  await viewer.sees("lost 6001");
  await page.keyboard.press("g");
  await viewer.sees("no longer kept");
  const texts = await viewer.texts();
  assert.match(texts[1], /^1,001 messages skipped/);
  assert.equal(texts[2], "lost 1003");
});

test(
  "filtering hides lines, finding marks and steps, and the link contains both",
  { skip },
  async (t) => {
    const { hub, viewer, page } = await setUp(t, { lines: 1_000 });
    await viewer.sees("line 1000");
    await page.keyboard.press("/");
    await page.keyboard.type("7$");
    await page.getByText("Nothing matches").waitFor();
    await page.click("#find-regex");
    await viewer.sees("line 997");
    assert.ok((await viewer.texts()).every((text) => text.endsWith("7")));
    await page.locator("#find-count").getByText("100", { exact: true }).waitFor();
    hub.output(CHANNEL, "line 1007", "line 1008");
    await viewer.sees("line 1007");
    assert.match(page.url(), /#process:web\?filter=7%24&regex=1$/);

    await page.click("#find-hides");
    await viewer.sees("line 1008");
    await page.locator("#find-text").press("Enter");
    await page.locator(".found mark").waitFor();
    await page.locator("#find-text").press("Enter");
    await page.getByText("100 of 101", { exact: true }).waitFor();
    // The count changes at once, the row with the next frame.
    await page.locator(".found .text", { hasText: /^line 997$/ }).waitFor();
    await page.fill("#find-text", "(");
    await page.getByText("not a regular expression").waitFor();
    await page.locator("#find-text").press("Escape");
    assert.match(page.url(), /#process:web$/);
  },
);

test(
  "a link to a line shows that line, and a click on a number makes such a link",
  { skip },
  async (t) => {
    const { viewer, page } = await setUp(t, { lines: 2_000, hash: `#${CHANNEL}:777` });
    await viewer.sees("line 777");
    const chosen = page.locator(".row.chosen:not([hidden])");
    assert.equal(await chosen.locator(".text").innerText(), "line 777");
    await page.getByText("778", { exact: true }).click();
    assert.match(page.url(), /#process:web:778\?epoch=e1$/);
    await page.getByText("781", { exact: true }).click({ modifiers: ["Shift"] });
    // The rows change with the next frame.
    await chosen.nth(3).waitFor();
    assert.equal(await chosen.count(), 4);
    await page.keyboard.press("c");
    await page.getByText("Copied 4 lines").waitFor();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.equal(copied, "line 778\nline 779\nline 780\nline 781\n");
    assert.match(page.url(), /#process:web:778-781\?epoch=e1$/);
  },
);

test("JSON is folded until it is unfolded, in one line or in all", { skip }, async (t) => {
  const { hub, viewer, page } = await setUp(t);
  hub.output(CHANNEL, '{"a":1,"b":{"c":[1,2]}}', '{"d":12345678901234567890}', "tail");
  await viewer.sees("tail");
  await page.getByRole("button", { name: "Unfold" }).first().click();
  await viewer.until((texts) => texts[0].includes('\n  "a": 1,'));
  assert.equal(
    await page
      .locator(".row:not([hidden])")
      .first()
      .evaluate((row) => row.offsetHeight),
    9 * 20,
  );
  await page.getByRole("button", { name: "Fold", exact: true }).click();
  await page.locator("#lines").focus();
  await page.keyboard.press("u");
  await viewer.until((texts) => texts[1].includes('\n  "d": 12345678901234567890\n'));
});

test(
  "wrapped lines of any length scroll without jumps, and scrolling down reaches the end",
  { skip },
  async (t) => {
    const { hub, viewer, page } = await setUp(t);
    const lines = Array.from({ length: 400 }, (_, i) => `${i}: ${"word ".repeat((i * 37) % 200)}!`);
    hub.output(CHANNEL, ...lines);
    await viewer.sees("399: ");
    await page.keyboard.press("w");
    await page.mouse.move(700, 400);
    // From any position, one wheel step up and one down again lead back to it.
    const place = () =>
      page.evaluate(() => {
        const top = document.querySelector("#lines").getBoundingClientRect().top;
        const row = Array.from(document.querySelectorAll(".row:not([hidden])")).find(
          (r) => r.getBoundingClientRect().bottom > top,
        );
        return [
          row.querySelector(".num").textContent,
          Math.round(row.getBoundingClientRect().top - top),
        ];
      });
    const scroll = async (pixels) => {
      const from = String(await place());
      await page.mouse.wheel(0, pixels);
      await until(async () => String(await place()) !== from);
      await viewer.rests();
    };
    for (let i = 0; i < 6; i += 1) {
      await scroll(-700);
      const before = await place();
      await scroll(-260);
      assert.notDeepEqual(await place(), before);
      await scroll(260);
      assert.deepEqual(await place(), before);
    }
    await page.keyboard.press("g");
    await viewer.until((texts) => texts[0].startsWith("0: "));
    await page.keyboard.press("G");
    await viewer.sees("399: ");
    const bottom = await page.evaluate(() => {
      const last = Array.from(document.querySelectorAll(".row:not([hidden])"))
        .at(-1)
        .getBoundingClientRect().bottom;
      return Math.round(last - document.querySelector("#lines").getBoundingClientRect().bottom);
    });
    assert.equal(bottom, 0);
  },
);

test("a download contains all shown lines, without escapes", { skip }, async (t) => {
  const { hub, viewer } = await setUp(t);
  hub.output(CHANNEL, "\x1b[31mred\x1b[0m", "plain");
  await viewer.sees("plain");
  assert.deepEqual(await viewer.download(), { name: "web.log", text: "red\nplain\n" });
});

test(
  "an endless expression is stopped while the page keeps working, and the next expression works",
  { skip },
  async (t) => {
    const { hub, viewer, page } = await setUp(t);
    hub.output(CHANNEL, "fine", `${"a".repeat(60)}!`);
    await viewer.sees("fine");
    await page.click("#find-regex");
    await page.fill("#find-text", "(a+)+$");
    // Meanwhile lines arrive, and keys work.
    hub.output(CHANNEL, "and on it goes");
    await page.locator("#lines").focus();
    await page.keyboard.press("n");
    await page.waitForFunction(() => document.documentElement.classList.contains("no-numbers"));
    assert.notEqual(await page.locator("#find-count").textContent(), "takes too long");
    await page.locator("#find-count").getByText("takes too long").waitFor();
    await page.locator("#toast").getByText("was stopped").waitFor();
    await viewer.sees("and on it goes");
    await page.fill("#find-text", "^f[aeiou]ne$");
    await viewer.until((texts) => texts.length === 1 && texts[0] === "fine");
    hub.output(CHANNEL, "fune", "fxne");
    await viewer.until((texts) => texts.length === 2 && texts[1] === "fune");
    await page.locator("#find-count").getByText("2", { exact: true }).waitFor();
    assert.deepEqual(await page.locator(".row:not([hidden]) mark").allTextContents(), [
      "fine",
      "fune",
    ]);
  },
);

test(
  "an expression keeps finding its matches while lines arrive, are dropped and are fetched",
  { skip },
  async (t) => {
    const { hub, viewer, page } = await setUp(t, {
      lines: 3_000,
      search: "?lines=2000",
      hash: `#${CHANNEL}?filter=7$&regex=1`,
    });
    await viewer.sees("line 2997");
    await page.locator("#find-count").getByText("200", { exact: true }).waitFor();
    hub.skip(CHANNEL, "lost 3007", "lost 3008");
    hub.output(CHANNEL, "line 3017");
    await viewer.sees("line 3017");
    await page.getByRole("button", { name: "Fetch messages 3,001 to 3,002 again" }).click();
    await viewer.sees("lost 3007");
    const texts = await viewer.texts();
    assert.ok(!texts.some((text) => text.includes("lost 3008")));
    assert.deepEqual(texts.slice(-3), ["line 2997", "lost 3007", "line 3017"]);
  },
);

test("a filter without matches says so, and hides no gap", { skip }, async (t) => {
  const { hub, viewer, page } = await setUp(t, { lines: 5 });
  await viewer.sees("line 5");
  hub.skip(CHANNEL, "lost");
  hub.output(CHANNEL, "line 7");
  hub.status(CHANNEL, "running");
  await viewer.sees("running");
  await page.fill("#find-text", "no such thing");
  await page.getByText("Nothing matches").waitFor();
  assert.equal(await page.locator("#find-count").textContent(), "0");
  assert.deepEqual(
    (await viewer.texts()).map((text) => text.slice(0, 17)),
    ["1 message skipped"],
  );
  await page.fill("#find-text", "line");
  await page.locator("#find-count").getByText("6", { exact: true }).waitFor();
  await page.getByText("Nothing matches").waitFor({ state: "hidden" });
});

test(
  "an unfinished line is shown below the others until it is whole, with its colors",
  { skip },
  async (t) => {
    const { hub, viewer, page } = await setUp(t, { lines: 300 });
    await viewer.sees("line 300");
    const partial = () => page.locator("#partials .row .text").allTextContents();
    hub.partial(CHANNEL, "importing\r\x1b[32m57%\x1b[0m <b>");
    await until(async () => (await partial()).length === 1);
    assert.deepEqual(await partial(), ["57% <b>ng"]);
    assert.equal(await page.locator("#partials .a-fg2").textContent(), "57%");
    hub.detailed(CHANNEL, { stream: "stderr" }, "a warning");
    await viewer.sees("a warning");
    assert.equal((await partial()).length, 1, "a line of another stream does not end it");
    hub.partial(CHANNEL, "58%");
    await until(async () => (await partial())[0] === "58%");
    hub.output(CHANNEL, "importing\r58%, done");
    await viewer.sees("58%, done");
    await until(async () => (await partial()).length === 0);
    assert.equal(await page.locator("#partials").isVisible(), false);
    const rows = await viewer.rows();
    assert.deepEqual(
      rows.slice(-2).map(({ number, classes }) => [number, classes.includes("stderr")]),
      [
        ["301", true],
        ["302", false],
      ],
    );
  },
);

test(
  "the unfinished line of each process has its row, and goes with the connection",
  { skip },
  async (t) => {
    const { hub, viewer, page } = await setUp(t, { hash: "#process:web,process:db" });
    hub.output(CHANNEL, "web is there");
    hub.output("process:db", "db is there");
    await viewer.sees("web is there");
    await viewer.sees("db is there");
    const partials = () => page.locator("#partials .row").allTextContents();
    hub.partial(CHANNEL, "50%");
    hub.partial("process:db", "Password: ");
    await until(async () => (await partials()).length === 2);
    assert.deepEqual(await partials(), ["web50%", "dbPassword: "]);
    hub.breakAll();
    await until(async () => (await partials()).length === 0);
  },
);

test("the pieces of a line are one row, and are copied as one line", { skip }, async (t) => {
  const { hub, viewer, page } = await setUp(t);
  hub.output(CHANNEL, "before");
  hub.detailed(CHANNEL, { continued: true }, "a long ");
  hub.detailed(CHANNEL, { stream: "stderr" }, "between");
  hub.output(CHANNEL, "line", "after");
  await viewer.sees("after");
  assert.deepEqual(await viewer.texts(), ["before", "between", "a long line", "after"]);
  await page.click("#copy");
  await until(
    async () =>
      (await page.evaluate(() => navigator.clipboard.readText())) ===
      "before\nbetween\na long line\nafter\n",
  );
});
