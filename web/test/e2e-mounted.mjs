// Tests the viewer of the real binary below a path and behind nginx, in a browser. `npm run e2e`
// runs these tests with OUTRACE_BIN set. They are skipped with a message where something is
// missing.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { folder, output, skipBinary, startBinary } from "./support/binary.mjs";
import { launch, openViewer } from "./support/browser.mjs";
import { passTo, skipNginx, startNginx } from "./support/nginx.mjs";

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
      const [link, epoch] = page.url().split("?epoch=");
      assert.equal(link, `${url}${path}#process:web:1`);
      assert.match(epoch, /^[0-9a-f]{16}$/, "a link to a line names its numbering");
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

for (const [location, target, args, paths] of [
  ["/logs/", "/", [], ["logs/", "logs"]],
  ["/logs", "/", ["--base-path", "/logs"], ["logs/", "logs"]],
  ["/logs/", "", ["--base-path", "/logs"], ["logs/", "logs"]],
  ["/a/b", "", ["--base-path", "/a/b"], ["a/b", "a/b/"]],
]) {
  test(
    `the viewer works behind nginx at ${location}, passed to "${target}", ${args.join(" ") || "no option"}`,
    { skip: skip || skipNginx },
    async (t) => {
      const { url } = await startBinary(t, ["serve", ...args]);
      await output(url, "web", "first");
      const server = `location ${location} { ${passTo(url.slice(0, -1) + target)} }`;
      const proxy = await startNginx(t, server);
      for (const path of paths) {
        const viewer = await openViewer(t, browser, `${proxy}${path}#process:web`);
        await viewer.sees("first");
        await output(url, "web", `live at ${path}`);
        await viewer.sees(`live at ${path}`);
        await viewer.page.locator(".row:not([hidden]) .num").first().click();
        assert.match(viewer.page.url(), /\/(logs|b)\/?#process:web:1\?epoch=[0-9a-f]+$/);
        assert.deepEqual(viewer.failed, []);
      }
    },
  );
}

test(
  "a token and the Basic authentication of a proxy live together",
  { skip: skip || skipNginx },
  async (t) => {
    const token = "0123456789abcdef+/=";
    const place = await folder(t);
    const tokens = join(place, "tokens");
    await writeFile(tokens, `alice ${token} control=*\n`, { mode: 0o600 });
    const { url } = await startBinary(t, [
      ...["run", "--base-path", "/logs", "--control", "--token-file", tokens],
      ...["web=echo hello; exec sleep 100"],
    ]);
    const users = "alice:{PLAIN}open sesame\n";
    const server = `location /logs/ {
      auth_basic "logs"; auth_basic_user_file users; ${passTo(url.slice(0, -1))}
    }`;
    const proxy = await startNginx(t, server, { users });
    const viewer = await openViewer(t, browser, `${proxy}logs/?token=${encodeURIComponent(token)}`, {
      httpCredentials: { username: "alice", password: "open sesame" },
    });
    await viewer.sees("hello");
    // The requests of the page have the token too.
    await viewer.page.getByRole("button", { name: "Restart" }).click();
    await viewer.until((texts) => texts.filter((text) => text.includes("hello")).length === 2);
    assert.deepEqual(
      viewer.failed.filter((response) => !response.startsWith("401") || response.includes("/api/")),
      [],
    );
  },
);
