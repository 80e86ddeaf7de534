// Tests the look and the accessibility of the viewer in a browser: themes, contrast, keyboard,
// screen readers, phone width. `npm run browser` runs these tests. They are skipped with a message
// where there is no Chromium or no playwright-core.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { launch } from "./support/browser.mjs";
import { CHANNEL, setUp as setUpIn } from "./support/site.mjs";

const browser = await launch();
const skip = typeof browser === "string" ? browser : false;
after(async () => skip || browser.close());
const setUp = (t, options) => setUpIn(t, browser, options);

test(
  "themes, toggles and the list of keys work, and the settings survive a reload",
  { skip },
  async (t) => {
    const { viewer, page } = await setUp(t, { lines: 3, dark: true });
    await viewer.sees("line 3");
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
    assert.equal(await theme(), "dark");
    await page.locator("#view summary").click();
    await page.getByLabel("Light").check();
    assert.equal(await theme(), "light");
    await page.getByLabel("Timestamps").uncheck();
    assert.ok(await page.locator(".time").first().isHidden());
    await page.reload();
    await viewer.sees("line 3");
    assert.equal(await theme(), "light");
    assert.ok(await page.locator(".time").first().isHidden());
    await page.locator("#lines").focus();
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "hidden" });
  },
);

test(
  "on a phone the channels are a drawer, and nothing is wider than the screen",
  { skip },
  async (t) => {
    const { viewer, page } = await setUp(t, { lines: 100, width: 390, height: 780 });
    await viewer.sees("line 100");
    assert.ok(await page.locator("#channels").isHidden());
    await page.getByRole("button", { name: "Channels" }).click();
    await page.getByRole("link", { name: "web" }).click();
    assert.ok(await page.locator("#channels").isHidden());
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.equal(width, 390);
  },
);

test("every control has a name", { skip }, async (t) => {
  const { viewer, page } = await setUp(t, { lines: 3 });
  await viewer.sees("line 3");
  await page.locator("#view summary").click();
  const nameless = await page.evaluate(() =>
    Array.from(document.querySelectorAll("button, input, summary, a[href], [role=log]"))
      .filter((control) => control.checkVisibility())
      .filter(
        (control) =>
          !(
            control.getAttribute("aria-label") ??
            control.labels?.[0]?.textContent ??
            control.textContent
          ).trim(),
      )
      .map((control) => control.outerHTML),
  );
  assert.deepEqual(nameless, []);
});

test("everything can be done by keyboard", { skip }, async (t) => {
  const { viewer, page } = await setUp(t, { lines: 400 });
  await viewer.sees("line 400");
  const top = async () => (await viewer.rows())[0].number;
  await page.keyboard.press("k");
  await page.locator("#pill").waitFor();
  await page.keyboard.press("g");
  await viewer.until((texts) => texts[0] === "line 1");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await viewer.until((texts) => texts[0] === "line 3");
  await page.keyboard.press("k");
  await viewer.until((texts) => texts[0] === "line 2");
  await page.keyboard.press("Space");
  await viewer.until((texts) => Number(texts[0].slice(5)) > 30);
  const before = await top();
  await page.keyboard.press("f");
  await viewer.sees("line 400");
  assert.notEqual(await top(), before);
  await page.keyboard.press("/");
  await page.keyboard.type("line 39");
  await viewer.until((texts) => texts.length === 11);
  await page.keyboard.press("Escape");
  await viewer.sees("line 400");
  await page.keyboard.press("Escape");
  assert.equal(await page.evaluate(() => document.activeElement.id), "lines");
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  // Tab reaches every control, and the focused control shows it.
  await page.locator(".skip").focus();
  const reached = [];
  for (let i = 0; i < 40; i += 1) {
    await page.keyboard.press("Tab");
    const found = await page.evaluate(() => {
      const { activeElement: element } = document;
      if (element === document.body) return null;
      const box = element.closest(".find") ?? element;
      const { outlineStyle, boxShadow } = getComputedStyle(box);
      return {
        name: element.id || element.tagName,
        isMarked: outlineStyle !== "none" || boxShadow !== "none",
      };
    });
    if (found === null) break;
    assert.ok(found.isMarked, `${found.name} does not show the focus`);
    reached.push(found.name);
  }
  for (const id of [
    "toggle-channels",
    "find-text",
    "find-regex",
    "copy",
    "download",
    "SUMMARY",
    "lines",
    "follow",
  ]) {
    assert.ok(reached.includes(id), `${id} is not reached: ${reached}`);
  }
});

test("the accessibility tree names every control and region", { skip }, async (t) => {
  const { hub, viewer, page } = await setUp(t, { lines: 3 });
  hub.status(CHANNEL, "running");
  hub.output("process:other", "x");
  await viewer.sees("running");
  await page.getByRole("link", { name: "other" }).waitFor();
  await page.locator("#view summary").click();
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send("Accessibility.getFullAXTree");
  const seen = nodes
    .filter(({ ignored }) => !ignored)
    .map(({ role, name }) => [role?.value, name?.value?.trim() ?? ""]);
  const needName = [
    "button",
    "link",
    "checkbox",
    "radio",
    "searchbox",
    "navigation",
    "log",
    "DisclosureTriangle",
    "group",
  ];
  assert.deepEqual(
    seen.filter(([role, name]) => needName.includes(role) && name === ""),
    [],
  );
  const has = (role, name) =>
    assert.ok(
      seen.some((found) => found[0] === role && found[1].includes(name)),
      `${role} ${name}: ${JSON.stringify(seen)}`,
    );
  has("navigation", "Channels");
  has("log", "Lines of web");
  has("search", "");
  has("main", "");
  has("searchbox", "Filter lines");
  has("checkbox", "Show process:web with the others");
  has("link", "web");
  has("status", "");
  has("StaticText", "live");
  has("heading", "web");
});

for (const dark of [false, true]) {
  test(
    `all text contrasts with its background, ${dark ? "dark" : "light"}`,
    { skip },
    async (t) => {
      const { hub, viewer, page } = await setUp(t, { dark, hash: "#process:web,process:db" });
      await hub.heard(({ type }) => type === "subscribe");
      const codes = (from, to) =>
        Array.from(
          { length: to - from + 1 },
          (_, i) => `\x1b[${from + i}m c${from + i} \x1b[0m`,
        ).join("");
      hub.output(
        CHANNEL,
        codes(30, 37),
        codes(90, 97),
        codes(40, 47),
        codes(100, 107),
        "\x1b[7m inverse \x1b[31m red \x1b[0m",
        "\x1b[2mdim\x1b[0m",
      );
      hub.output(
        CHANNEL,
        ...[41, 42, 43, 44, 45, 46].map(
          (code) => `\x1b[30;${code}m black \x1b[97;${code}m white \x1b[0m`,
        ),
      );
      hub.output(
        CHANNEL,
        "plain find",
        "ERROR find it",
        "WARN find it",
        "DEBUG find it",
        '{"key":"find","n":1,"ok":true}',
        '{"level":"error","key":null}',
      );
      hub.output("process:db", "one", "two");
      hub.status(CHANNEL, "running");
      hub.status("process:db", "crashed", 1);
      hub.skip(CHANNEL, "lost");
      hub.output(CHANNEL, "end");
      await viewer.sees("end");
      await page.fill("#find-text", "find");
      await page.click("#find-hides");
      await page.locator("#find-text").press("Enter");
      await page.locator(".found mark").waitFor();
      await page.locator(".row:not([hidden]) .num", { hasText: /^2$/ }).first().click();
      await page.locator(".row.chosen").first().waitFor();
      hub.breakAll();
      await page.locator("#banner").waitFor();
      await page.locator("#view summary").click();
      const poor = await page.evaluate(poorContrast);
      assert.deepEqual(poor, []);
      await page.keyboard.press("Escape");
      await page.locator("#lines").focus();
      await page.keyboard.press("?");
      assert.deepEqual(await page.evaluate(poorContrast), []);
    },
  );
}

/**
 * Runs in the page. Returns the visible texts whose contrast to their background, computed as WCAG
 * defines it, is below 4.5.
 */
function poorContrast() {
  const parse = (color) => {
    const [red, green, blue, alpha = 1] = color.match(/[\d.]+/g).map(Number);
    return { rgb: [red, green, blue], alpha };
  };
  const over = (top, alpha, below) => top.map((value, i) => value * alpha + below[i] * (1 - alpha));
  const luminance = (rgb) => {
    const [red, green, blue] = rgb.map((value) =>
      value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4,
    );
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (element) => {
    if (!element) return [255, 255, 255];
    const { rgb, alpha } = parse(getComputedStyle(element).backgroundColor);
    return alpha === 1 ? rgb : over(rgb, alpha, ground(element.parentElement));
  };
  const opacity = (element) =>
    element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1;
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.data.trim();
    if (
      !text ||
      !element.checkVisibility({ visibilityProperty: true }) ||
      element.closest("script, .probe, .skip")
    )
      continue;
    const below = ground(element);
    const { rgb, alpha } = parse(getComputedStyle(element).color);
    const [bright, dim] = [
      luminance(over(rgb, alpha * opacity(element), below)),
      luminance(below),
    ].sort((a, b) => b - a);
    const contrast = (bright + 0.05) / (dim + 0.05);
    if (contrast < 4.5)
      poor.push(`${text.slice(0, 40)}: ${contrast.toFixed(2)} (${element.className})`);
  }
  return poor;
}

test(
  "wrapped rows fill the window, however wrong the estimates of their heights were",
  { skip },
  async (t) => {
    const { hub, viewer, page } = await setUp(t, { width: 390, height: 780 });
    hub.output(
      CHANNEL,
      ...Array.from(
        { length: 300 },
        (_, i) => `${"\x1b[32mx\x1b[0m\x1b[1;31;42my\x1b[0m".repeat(1 + (i % 40))} ${i}`,
      ),
      "end",
    );
    await viewer.sees("end");
    const above = await page.evaluate(() => {
      const list = document.querySelector("#lines").getBoundingClientRect();
      const tops = Array.from(
        document.querySelectorAll(".row:not([hidden])"),
        (row) => row.getBoundingClientRect().top,
      );
      return Math.min(...tops) - list.top;
    });
    assert.ok(above <= 0, `${above} pixels above the first row are empty`);
  },
);

test("with forced colors, pressed buttons and selected lines are seen", { skip }, async (t) => {
  const { viewer, page } = await setUp(t, { lines: 30 });
  await viewer.sees("line 30");
  await page.emulateMedia({ forcedColors: "active" });
  const frame = (id) =>
    page.evaluate((name) => getComputedStyle(document.getElementById(name)).outlineStyle, id);
  assert.equal(await frame("find-hides"), "solid");
  assert.equal(await frame("find-regex"), "none");
  await page.keyboard.press("Shift+ArrowUp");
  const background = (row) => row.evaluate((element) => getComputedStyle(element).backgroundColor);
  const selected = await background(page.locator(".row.selected"));
  assert.notEqual(selected, await background(page.locator(".row:not([hidden])").first()));
});
