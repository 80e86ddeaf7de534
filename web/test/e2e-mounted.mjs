// Tests the viewer of the real binary below a path, in a browser. `npm run e2e` runs these tests
// with OUTRACE_BIN set. They are skipped with a message where something is missing.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { output, skipBinary, startBinary } from "./support/binary.mjs";
import { launch, openViewer } from "./support/browser.mjs";

const browser = skipBinary || (await launch());
const skip = typeof browser === "string" ? browser : false;
after(async () => skip || browser.close());

for (const [path, base] of [
  ["logs", "/logs"],
  ["logs/", "/logs"],
  ["tools/logs?lines=500", "/tools/logs"],
  ["", "/logs"],
  ["", "/"],
]) {
  test(
    `the viewer with --base-path ${base} works at /${path}, and its links stay on the page`,
    { skip },
    async (t) => {
      const { url } = await startBinary(t, ["serve", "--base-path", base]);
      await output(url, "web", "first", "second");
      const viewer = await openViewer(t, browser, `${url}${path}`);
      const { page } = viewer;
      await viewer.sees("second");
      assert.equal(page.url(), `${url}${path}#process:web`);

      // The link that skips to the lines moves the focus, and shows no channel of that name.
      await page.locator("a.skip").focus();
      await page.keyboard.press("Enter");
      await page.waitForFunction(() => document.activeElement?.id === "lines");
      await viewer.sees("second");
      assert.equal(page.url(), `${url}${path}#process:web`);

      await page.locator(".row:not([hidden]) .num").first().click();
      await viewer.sees("first");
      assert.equal(page.url(), `${url}${path}#process:web:1`);
      await page.getByRole("link", { name: "web" }).click();
      await viewer.sees("second");
      assert.equal(page.url(), `${url}${path}#process:web`);

      // The socket and the search's worker are under the same base.
      await output(url, "web", "third");
      await viewer.sees("third");
      await page.reload();
      await viewer.sees("third");
      assert.deepEqual(viewer.failed, []);
    },
  );
}
