// Tests a server that requires a token, in a browser: `OUTRACE_BIN=target/release/outrace npm run
// e2e`.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
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
  "a server with a token file shows its lines for a token, which appears in no address",
  { skip },
  async (t) => {
    const tokens = join(await folder(t), "tokens");
    const token = randomBytes(24).toString("hex");
    await writeFile(tokens, `viewer ${token} publish=*\n`, { mode: 0o600 });
    const server = await startBinary(t, ["serve", "--token-file", tokens]);
    const publish = (line) =>
      fetch(new URL("/api/actions", server.url), {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
        body: JSON.stringify({ action: "ws.send_process_output", process_id: "web", output: line }),
      });
    assert.equal((await publish("behind the gate")).status, 200);
    const viewer = await openViewer(t, browser, `${server.url}#${CHANNEL}`);
    const { page } = viewer;
    await page.getByRole("dialog", { name: "This server asks for a token" }).waitFor();
    await page.keyboard.type("not the token");
    await page.keyboard.press("Enter");
    await page.getByText("did not accept this token").waitFor();
    await page.getByLabel("Token", { exact: true }).fill(token);
    await page.keyboard.press("Enter");
    await viewer.sees("behind the gate");
    await publish("and live");
    await viewer.sees("and live");
    await page.locator(`li[data-channel="${CHANNEL}"]`).getByText("2 messages").waitFor();
    assert.ok(!page.url().includes(token));
    // The page removes a token from its address at once.
    const other = await openViewer(t, browser, `${server.url}?token=${token}#${CHANNEL}`);
    await other.sees("behind the gate");
    assert.equal(other.page.url(), `${server.url}#${CHANNEL}`);
  },
);
