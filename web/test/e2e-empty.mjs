// Tests what an empty page says, with the real server: `OUTRACE_BIN=target/release/outrace npm run
// e2e`.

import { execFile } from "node:child_process";
import { after, test } from "node:test";
import { promisify } from "node:util";

import { skipBinary, startBinary } from "./support/binary.mjs";
import { launch, openViewer } from "./support/browser.mjs";
import { CHANNEL } from "./support/site.mjs";

const browser = skipBinary || (await launch());
const skip = typeof browser === "string" ? browser : false;
after(async () => skip || browser.close());

test("the command that an empty page shows publishes a line to it", { skip }, async (t) => {
  const server = await startBinary(t, ["serve"]);
  for (const channel of [CHANNEL, "news"]) {
    const viewer = await openViewer(t, browser, `${server.url}#${channel}`);
    await viewer.page.getByText("Nothing published yet").waitFor();
    const command = await viewer.page.locator("#empty code").innerText();
    await promisify(execFile)("sh", ["-c", command]);
    await viewer.sees("hello");
  }
});
