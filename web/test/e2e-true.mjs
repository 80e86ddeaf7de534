// Tests that the page tells the truth about a real server: `OUTRACE_BIN=target/release/outrace npm
// run e2e`.

import { execFile } from "node:child_process";
import { after, test } from "node:test";
import { promisify } from "node:util";

import { act, skipBinary, startBinary } from "./support/binary.mjs";
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

test("of more processes than the server allows, the page names the rest", { skip }, async (t) => {
  const server = await startBinary(t, ["serve"]);
  const actions = Array.from({ length: 1_100 }, (_, i) => ({
    action: "ws.send_process_output",
    process_id: `p${i}`,
    output: `of ${i}`,
  }));
  await act(server.url, actions);
  const viewer = await openViewer(t, browser, `${server.url}#process:*`);
  await viewer.sees("and 73 more: the server refuses it (subscription limit exceeded)", {
    timeout: 60_000,
  });
  await viewer.page.getByText("1,025 lines").waitFor();
  await viewer.page.locator("li.all").getByText("1,100 processes").waitFor();
  await viewer.page.getByText("live", { exact: true }).waitFor();
});
