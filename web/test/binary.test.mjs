// Tests the JavaScript client against the real binary: `OUTRACE_BIN=target/release/outrace node
// --test`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { channelStats, output, skipBinary as skip, startBinary } from "./support/binary.mjs";
import { record } from "./support/recorder.mjs";

const CHANNEL = "process:web";

const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

test("lines of the binary have their numbers, in batches and alone", { skip }, async (t) => {
  const server = await startBinary(t, ["serve"]);
  for (const [batch, id] of [
    [true, "web"],
    [false, "alone"],
  ]) {
    const seen = record(t, server.ws);
    seen.client.subscribe(`process:${id}`, { batch });
    await seen.event("subscribed");
    await output(server.url, id, ...numbers(1, 500).map((n) => `line ${n}`));
    await seen.until(() => seen.lines().length === 500);
    assert.deepEqual(seen.seqs(), numbers(1, 500));
    assert.deepEqual(
      seen.lines(),
      numbers(1, 500).map((n) => `line ${n}`),
    );
    assert.deepEqual(seen.of("error"), []);
  }
});

test("a later client gets the tail with the original numbers", { skip }, async (t) => {
  const server = await startBinary(t, ["serve"]);
  await output(server.url, "web", ...numbers(1, 50).map((n) => `line ${n}`));
  const seen = record(t, server.ws);
  seen.client.subscribe(CHANNEL, { tail: 20 });
  await seen.until(() => seen.lines().length === 20);
  assert.deepEqual(seen.seqs(), numbers(31, 50));
});

test(
  "through any number of breaks, received + gaps = published, in order, without duplicate",
  { skip },
  async (t) => {
    const server = await startBinary(t, ["serve"]);
    const seen = record(t, server.ws);
    seen.client.subscribe(CHANNEL, { tail: 100 });
    await seen.event("subscribed");
    let published = 0;
    for (let round = 0; round < 8; round += 1) {
      const lines = numbers(published + 1, published + 200).map((n) => `line ${n}`);
      published += 200;
      const sent = output(server.url, "web", ...lines);
      // The connection breaks at an arbitrary moment of the run. The client has to recover by
      // itself.
      seen.breakConnection();
      await sent;
      await seen.until(() => seen.of("reconnected").length === round + 1);
    }
    await seen.until(
      () => seen.of("line").at(-1)?.seq === published || seen.of("gap").at(-1)?.to === published,
    );
    let next = 1;
    for (const event of seen.events) {
      if (event.event === "line") {
        assert.equal(event.seq, next);
        assert.equal(event.text, `line ${next}`);
        next += 1;
      } else if (event.event === "gap") {
        assert.equal(event.from, next);
        next = event.to + 1;
      }
    }
    assert.equal(next, published + 1);
  },
);

test("a range that is fetched again is unchanged", { skip }, async (t) => {
  const server = await startBinary(t, ["serve"]);
  const seen = record(t, server.ws);
  seen.client.subscribe(CHANNEL);
  await seen.event("subscribed");
  await output(server.url, "web", ...numbers(1, 100).map((n) => `line ${n}`));
  await seen.until(() => seen.lines().length === 100);
  assert.deepEqual(await seen.client.refetch(CHANNEL, 40, 60), { from: 40, to: 60, lost: 0 });
  const again = seen.of("line").filter(({ refetched }) => refetched);
  assert.deepEqual(
    again.map(({ seq, text }) => [seq, text]),
    numbers(40, 60).map((n) => [n, `line ${n}`]),
  );
  assert.equal((await seen.client.refetch(CHANNEL, 95, 200)).to, 100);
  await output(server.url, "web", "live again");
  await seen.until(() => seen.of("line").at(-1).seq === 101);
});

test("a restarted server is recognized by its epoch", { skip }, async (t) => {
  const first = await startBinary(t, ["serve"]);
  const seen = record(t, first.ws);
  seen.client.subscribe(CHANNEL);
  await seen.event("subscribed");
  await output(first.url, "web", "old");
  await seen.until(() => seen.lines().length === 1);
  await first.kill("SIGKILL");
  const second = await startBinary(t, ["serve"], { port: first.port });
  const back = await seen.event("reconnected");
  assert.equal(back.epochChanged, true);
  await output(second.url, "web", "new");
  await seen.until(() => seen.lines().length === 2);
  assert.deepEqual(seen.seqs(), [1, 1]);
});

test("a process has its lines and its final status", { skip }, async (t) => {
  const script = "console.log('hello'); console.error('trouble'); process.exitCode = 3";
  const server = await startBinary(t, [
    "run",
    "--id",
    "web",
    "--stay",
    "--",
    process.execPath,
    "-e",
    script,
  ]);
  const seen = record(t, server.ws);
  seen.client.subscribe(CHANNEL, { tail: 100 });
  const ended = await seen.event("status", ({ status }) => status === "exited");
  assert.equal(ended.exitCode, 3);
  assert.deepEqual(seen.lines().sort(), ["hello", "trouble"]);
  assert.equal((await channelStats(server.url, CHANNEL)).published, 4);
});
