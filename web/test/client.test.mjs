import assert from "node:assert/strict";
import { test } from "node:test";

import { connect } from "../outrace.js";
import { Hub } from "./support/hub.mjs";
import { record } from "./support/recorder.mjs";
import { listen, webSocketClass } from "./support/websocket.mjs";

const CHANNEL = "process:web";

async function withHub(t, options) {
  const hub = await Hub.start(options);
  t.after(() => hub.stop());
  return hub;
}

test("lines have their channel, text, seq and timestamp, in batches and alone", async (t) => {
  const hub = await withHub(t);
  for (const [batch, channel] of [
    [true, CHANNEL],
    [false, "process:other"],
  ]) {
    const seen = record(t, hub.url);
    seen.client.subscribe(channel, { batch });
    await seen.event("subscribed");
    hub.output(channel, "one", "two");
    hub.output(channel, "three");
    await seen.until(() => seen.lines().length === 3);
    assert.deepEqual(seen.lines(), ["one", "two", "three"]);
    assert.deepEqual(seen.seqs(), [1, 2, 3]);
    assert.equal(seen.of("lines").length, batch ? 2 : 3);
    const [line] = seen.of("line");
    assert.equal(line.channel, channel);
    assert.equal(line.processId, channel.slice("process:".length));
    assert.match(line.timestamp, /^\d{4}-\d\d-\d\dT/);
  }
});

test("statuses, broadcasts and custom types are emitted as events, and are counted", async (t) => {
  const hub = await withHub(t);
  const seen = record(t, hub.url);
  seen.client.subscribe(CHANNEL);
  await seen.event("subscribed");
  hub.status(CHANNEL, "running");
  hub.message(CHANNEL, "deploy", { version: 3 });
  hub.toAll("event", { event: "news", data: null });
  hub.toAll("error", "disk full");
  hub.status(CHANNEL, "exited", 7);
  hub.output(CHANNEL, "after");
  await seen.event("line");
  assert.deepEqual(
    seen.of("status").map(({ status, exitCode, seq }) => ({ status, exitCode, seq })),
    [
      { status: "running", exitCode: 0, seq: 1 },
      { status: "exited", exitCode: 7, seq: 3 },
    ],
  );
  const [deploy, news] = seen.of("message");
  assert.deepEqual([deploy.type, deploy.data, deploy.seq], ["deploy", { version: 3 }, 2]);
  assert.deepEqual(
    [news.type, news.data, news.channel, news.seq],
    ["event", { event: "news", data: null }, null, null],
  );
  assert.deepEqual(
    seen.of("error").map(({ kind, message }) => [kind, message]),
    [["server", "disk full"]],
  );
  assert.deepEqual(seen.seqs(), [4]);
});

test("a gap advances the number by exactly its count", async (t) => {
  const hub = await withHub(t);
  const seen = record(t, hub.url);
  seen.client.subscribe(CHANNEL, { batch: false });
  await seen.event("subscribed");
  hub.output(CHANNEL, "a");
  hub.skip(CHANNEL, "b", "c", "d");
  hub.output(CHANNEL, "e");
  await seen.until(() => seen.lines().length === 2);
  const [gap] = seen.of("gap");
  assert.deepEqual([gap.from, gap.to, gap.count, gap.isKept], [2, 4, 3, true]);
  assert.deepEqual(seen.seqs(), [1, 5]);
  assert.deepEqual(seen.client.position(CHANNEL), { epoch: "e1", seq: 5 });
});

test("a tail replays kept messages with their original numbers", async (t) => {
  const hub = await withHub(t);
  hub.output(CHANNEL, "a", "b", "c");
  const seen = record(t, hub.url);
  seen.client.subscribe(CHANNEL, { tail: 2 });
  await seen.until(() => seen.lines().length === 2);
  assert.deepEqual(seen.seqs(), [2, 3]);
  assert.equal((await seen.event("subscribed")).replayed, 2);
});

test("after a break the client resumes without loss or duplicate", async (t) => {
  const hub = await withHub(t);
  const seen = record(t, hub.url);
  seen.client.subscribe(CHANNEL, { tail: 10 });
  await seen.event("subscribed");
  for (let round = 0; round < 5; round += 1) {
    hub.output(CHANNEL, `${round} live`);
    await seen.until(() => seen.lines().at(-1) === `${round} live`);
    hub.breakAll();
    hub.output(CHANNEL, `${round} away 1`, `${round} away 2`);
    await seen.until(() => seen.of("reconnected").length === round + 1);
  }
  await seen.until(() => seen.lines().length === 15);
  assert.deepEqual(
    seen.seqs(),
    Array.from({ length: 15 }, (_, i) => i + 1),
  );
  for (const back of seen.of("reconnected")) {
    assert.deepEqual([back.epochChanged, back.lost, back.replayed], [false, 0, 2]);
  }
});

test("messages no longer kept at the resumption are lost, and reported as a gap", async (t) => {
  const hub = await withHub(t, { keeps: 2 });
  const seen = record(t, hub.url);
  seen.client.subscribe(CHANNEL);
  await seen.event("subscribed");
  hub.output(CHANNEL, "a");
  await seen.event("line");
  hub.breakAll();
  hub.output(CHANNEL, "b", "c", "d", "e");
  await seen.until(() => seen.lines().length === 3);
  assert.deepEqual(seen.seqs(), [1, 4, 5]);
  const [gap] = seen.of("gap");
  assert.deepEqual([gap.from, gap.to, gap.count, gap.isKept], [2, 3, 2, false]);
  assert.equal(seen.of("reconnected")[0].lost, 2);
});

test("a restarted server is noticed by its epoch, and messages it no longer keeps are reported", async (t) => {
  const hub = await withHub(t, { keeps: 2 });
  const seen = record(t, hub.url);
  seen.client.subscribe(CHANNEL);
  await seen.event("subscribed");
  hub.output(CHANNEL, "old 1", "old 2", "old 3");
  await seen.until(() => seen.lines().length === 3);
  hub.restart("e2");
  hub.output(CHANNEL, "new 1", "new 2", "new 3");
  await seen.until(() => seen.lines().length === 5);
  const back = await seen.event("reconnected");
  assert.deepEqual([back.epochChanged, back.epoch, back.lost, back.replayed], [true, "e2", 1, 2]);
  assert.deepEqual(seen.seqs(), [1, 2, 3, 2, 3]);
  assert.deepEqual([seen.of("gap")[0].from, seen.of("gap")[0].to], [1, 1]);
});

test("the position of one client resumes another", async (t) => {
  const hub = await withHub(t);
  hub.output(CHANNEL, "a", "b", "c", "d");
  const seen = record(t, hub.url);
  seen.client.subscribe(CHANNEL, { since: { epoch: "e1", seq: 1 } });
  await seen.until(() => seen.lines().length === 3);
  assert.deepEqual(seen.seqs(), [2, 3, 4]);
});

test("a range is fetched again in order, without effect on the live numbers", async (t) => {
  const hub = await withHub(t);
  const seen = record(t, hub.url);
  seen.client.subscribe(CHANNEL);
  await seen.event("subscribed");
  hub.output(CHANNEL, "a");
  hub.skip(CHANNEL, "b", "c");
  hub.output(CHANNEL, "d");
  await seen.until(() => seen.lines().length === 2);
  assert.deepEqual(await seen.client.refetch(CHANNEL, 2, 3), { from: 2, to: 3, lost: 0 });
  hub.output(CHANNEL, "e");
  await seen.until(() => seen.lines().length === 5);
  assert.deepEqual(
    seen.of("line").map(({ seq, text, refetched }) => [seq, text, refetched]),
    [
      [1, "a", false],
      [4, "d", false],
      [2, "b", true],
      [3, "c", true],
      [5, "e", false],
    ],
  );
});

test("a refetch counts the messages no longer kept, and several refetches wait for each other", async (t) => {
  const hub = await withHub(t, { keeps: 3 });
  const seen = record(t, hub.url);
  seen.client.subscribe(CHANNEL);
  await seen.event("subscribed");
  hub.skip(CHANNEL, "1", "2", "3", "4", "5", "6");
  await seen.event("gap");
  const answers = await Promise.all([
    seen.client.refetch(CHANNEL, 1, 4),
    seen.client.refetch(CHANNEL, 1, 2),
    seen.client.refetch(CHANNEL, 5, 6),
  ]);
  assert.deepEqual(answers[0], { from: 4, to: 4, lost: 3 });
  assert.equal(answers[1].lost, 2);
  assert.ok(answers[1].to < answers[1].from);
  assert.deepEqual(answers[2], { from: 5, to: 6, lost: 0 });
  assert.deepEqual(seen.lines(), ["4", "5", "6"]);
});

test("a refetch is rejected when the connection breaks, and when the server never answers", async (t) => {
  const server = await listen((peer) => {
    peer.on("message", (text) => {
      const { type, options } = JSON.parse(text);
      if (type === "subscribe" && !options.range) {
        peer.send(
          `{"type":"subscribed","channel":"c","data":{"epoch":"e","seq":9,"replayed":0,"lost":0}}`,
        );
      }
    });
  });
  t.after(() => server.stop());
  const seen = record(t, server.url, { refetchTimeout: 50 });
  seen.client.subscribe("c");
  await seen.event("subscribed");
  await assert.rejects(seen.client.refetch("c", 1, 2), /did not answer/);
  await assert.rejects(seen.client.refetch("c", 2, 1), /range/);
  const broken = seen.client.refetch("c", 1, 2);
  for (const peer of server.peers) peer.destroy();
  await assert.rejects(broken, /broke/);
});

test("a refused subscription is reported with its channel, and affects no other", async (t) => {
  const hub = await withHub(t);
  const seen = record(t, hub.url);
  seen.client.subscribe("good");
  seen.client.subscribe("bad channel");
  seen.client.subscribe("fine");
  await seen.until(() => seen.of("subscribed").length === 2 && seen.of("error").length === 1);
  const [error] = seen.of("error");
  assert.deepEqual(
    [error.kind, error.channel, error.message],
    ["refused", "bad channel", "Subscribe: invalid channel name"],
  );
  hub.output("fine", "x");
  assert.equal((await seen.event("line")).channel, "fine");
});

test("a server without extensions works: no numbers, joined frames, subscriptions after a break", async (t) => {
  const hub = await withHub(t, { hasExtensions: false });
  const seen = record(t, hub.url);
  seen.client.subscribe(CHANNEL, { tail: 5 });
  const subscribed = await seen.event("subscribed");
  assert.deepEqual([subscribed.epoch, subscribed.seq], [null, null]);
  const message = (data) =>
    JSON.stringify({ type: "process_output", channel: CHANNEL, processId: "web", data });
  hub.raw([message("a"), message("b\nb"), message("c")].join("\n"));
  hub.output(CHANNEL, "d");
  await seen.until(() => seen.lines().length === 4);
  assert.deepEqual(seen.lines(), ["a", "b\nb", "c", "d"]);
  assert.deepEqual(seen.seqs(), [null, null, null, null]);
  assert.equal(seen.client.position(CHANNEL), null);
  await assert.rejects(seen.client.refetch(CHANNEL, 1, 2), /does not number/);
  hub.breakAll();
  const back = await seen.event("reconnected");
  assert.deepEqual([back.epochChanged, back.lost, back.replayed], [null, null, 0]);
  hub.output(CHANNEL, "e");
  await seen.until(() => seen.lines().length === 5);
});

test("a channel subscribed again on one connection begins with the answer, not with earlier messages", async (t) => {
  const hub = await withHub(t);
  const seen = record(t, hub.url);
  seen.client.subscribe(CHANNEL);
  await seen.event("subscribed");
  hub.output(CHANNEL, "a");
  await seen.event("line");
  // The server sends both before the client's `unsubscribe` can have arrived.
  hub.output(CHANNEL, "stale");
  seen.client.unsubscribe(CHANNEL);
  seen.client.subscribe(CHANNEL);
  await seen.until(() => seen.of("subscribed").length === 2);
  hub.output(CHANNEL, "fresh");
  await seen.until(() => seen.lines().includes("fresh"));
  assert.deepEqual(seen.lines(), ["a", "fresh"]);
  assert.equal(seen.seqs().at(-1), 3);
});

test("delays grow by the factor up to the maximum, at most half random, until the limit of retries", async (t) => {
  const server = await listen(() => {});
  await server.stop();
  const seen = record(t, server.url, { initialDelay: 8, factor: 2, maxDelay: 20, retries: 4 });
  await seen.state("closed");
  const delays = seen
    .of("state")
    .filter(({ state }) => state === "waiting")
    .map(({ delay }) => delay);
  assert.equal(delays.length, 4);
  [8, 16, 20, 20].forEach((most, i) =>
    assert.ok(delays[i] >= most / 2 && delays[i] <= most, `${i}: ${delays[i]}`),
  );
  assert.equal(seen.of("error").at(-1).kind, "gave-up");
  assert.throws(() => seen.client.subscribe(CHANNEL), /closed/);
});

test("a server that accepts and hangs up uses up the attempts too", async (t) => {
  const server = await listen((peer) => peer.destroy());
  t.after(() => server.stop());
  const seen = record(t, server.url, { initialDelay: 2, maxDelay: 4, retries: 3 });
  await seen.state("closed");
  assert.equal(seen.of("state").filter(({ state }) => state === "open").length, 4);
});

test("a silent connection is given up and replaced", async (t) => {
  let connections = 0;
  const server = await listen((peer) => {
    connections += 1;
    if (connections > 1) peer.on("message", () => peer.send(`{"type":"pong"}`));
  });
  t.after(() => server.stop());
  const seen = record(t, server.url, { heartbeat: 30 });
  const failure = await seen.event("error");
  assert.match(failure.message, /no sign of life/);
  await seen.state("open", 2);
  assert.equal(connections, 2);
});

test("close is clean: the server gets a close frame, the state ends as closed, and no event follows", async (t) => {
  const closed = new Promise((resolve) => {
    listen((peer) => peer.on("close", resolve)).then(async (server) => {
      t.after(() => server.stop());
      const seen = record(t, server.url);
      await seen.state("open");
      seen.client.close();
      const count = seen.events.length;
      assert.equal(seen.of("state").at(-1).state, "closed");
      assert.equal(seen.client.state, "closed");
      for (const peer of server.peers) peer.send(`{"type":"event","data":1}`);
      seen.client.close();
      assert.equal(seen.events.length, count);
    });
  });
  assert.equal((await closed).code, 1000);
});

test("a pause lasts until reconnect, and then the client resumes", async (t) => {
  const hub = await withHub(t);
  const seen = record(t, hub.url);
  seen.client.subscribe(CHANNEL);
  await seen.event("subscribed");
  hub.output(CHANNEL, "one");
  await seen.until(() => seen.lines().length === 1);
  seen.client.pause();
  assert.equal(seen.client.state, "waiting");
  assert.equal(seen.of("state").at(-1).delay, Infinity);
  hub.output(CHANNEL, "two");
  assert.equal(seen.client.state, "waiting");
  seen.client.reconnect();
  await seen.until(() => seen.lines().length === 2);
  assert.deepEqual(seen.seqs(), [1, 2]);
});

test("a function that returns the URL is called at every attempt", async (t) => {
  const hub = await withHub(t);
  let asked = 0;
  const seen = record(t, () => `${hub.url}?attempt=${(asked += 1)}`);
  await seen.state("open");
  const before = asked;
  hub.breakAll();
  await seen.state("open", 2);
  assert.ok(asked > before);
  assert.equal(seen.client.url, `${hub.url}?attempt=${asked}`);
});

test("closing while waiting is final", async (t) => {
  const server = await listen(() => {});
  await server.stop();
  const seen = record(t, server.url, { initialDelay: 50_000, maxDelay: 50_000 });
  await seen.state("waiting");
  seen.client.close();
  seen.client.reconnect();
  assert.equal(seen.client.state, "closed");
});

test("an exception in a handler is reported, and the other handlers are still called", async (t) => {
  const hub = await withHub(t);
  const seen = record(t, hub.url);
  const reported = t.mock.method(console, "error", () => {});
  const original = globalThis.reportError;
  globalThis.reportError = undefined;
  t.after(() => (globalThis.reportError = original));
  const client = connect(hub.url, { WebSocket: webSocketClass() });
  t.after(() => client.close());
  client.on("lines", () => {
    throw new Error("mine");
  });
  const line = new Promise((resolve) => client.on("line", resolve));
  const subscribed = new Promise((resolve) => client.on("subscribed", resolve));
  client.subscribe(CHANNEL);
  await subscribed;
  hub.output(CHANNEL, "x");
  assert.equal((await line).text, "x");
  assert.match(String(reported.mock.calls[0].arguments[0]), /mine/);
  assert.equal(seen.client.state, "open");
});

test("nothing a hostile server sends throws, and the next valid line is emitted", async (t) => {
  const hub = await withHub(t);
  const seen = record(t, hub.url);
  seen.client.subscribe(CHANNEL);
  await seen.event("subscribed");
  hub.output(CHANNEL, "before");
  await seen.event("line");
  const values = [
    null,
    0,
    -1,
    1.5,
    1e300,
    "x",
    "__proto__",
    [],
    [1],
    [null],
    {},
    { from: 1 },
    { from: 9, to: 1 },
    true,
  ];
  const types = [
    "process_output",
    "process_output_batch",
    "process_status",
    "gap",
    "subscribed",
    "replay",
    "replayed",
    "pong",
    "error",
    "event",
    "__proto__",
    "constructor",
    "",
  ];
  for (const frame of [
    "",
    " ",
    "\n\n",
    "{",
    "[]",
    "null",
    "1",
    '"x"',
    "{}",
    '{"type":1}',
    "\u0000",
    "[".repeat(50_000),
  ]) {
    hub.raw(frame);
  }
  for (const type of types) {
    for (const channel of [CHANNEL, "__proto__", "", 7, undefined]) {
      for (const data of values) {
        hub.raw(
          JSON.stringify({ type, channel, data, seq: data, processId: data, timestamp: data }),
        );
      }
    }
  }
  const big = 2 ** 53 - 1;
  const gap = (from, to) =>
    JSON.stringify({ type: "gap", channel: CHANNEL, data: { from, to, count: 1 } });
  const replay = (from, to) =>
    JSON.stringify({ type: "replay", channel: CHANNEL, data: { from, to, lost: big } });
  hub.raw(gap(1, big));
  hub.raw(replay(0, big));
  hub.raw(
    JSON.stringify({ type: "process_output_batch", channel: CHANNEL, data: ["y"], seq: big }),
  );
  hub.raw(JSON.stringify({ type: "replayed", channel: CHANNEL }));
  for (const peer of hub.peers) peer.sendBinary([0, 255]);
  hub.raw(JSON.stringify({ type: "process_output", channel: CHANNEL, data: "after" }));
  await seen.until(() => seen.lines().at(-1) === "after");
  assert.equal(seen.client.state, "open");
  assert.ok(seen.of("error").every(({ kind }) => kind === "protocol" || kind === "server"));
  assert.ok(
    seen.of("line").every(({ text, channel }) => typeof text === "string" && channel === CHANNEL),
  );
  assert.ok(seen.of("gap").every(({ from, to, count }) => count === to - from + 1 && count > 0));
});

test("a server that breaks the WebSocket protocol is disconnected, and connected again", async (t) => {
  let connections = 0;
  const server = await listen((peer) => {
    connections += 1;
    if (connections === 1) peer.sendRaw(Buffer.from([0xff, 0xff, 0xff, 0xff]));
  });
  t.after(() => server.stop());
  const seen = record(t, server.url);
  await seen.state("open", 2);
  assert.equal(seen.of("error")[0].kind, "connection");
});

test("invalid arguments throw at once", () => {
  assert.throws(() => connect("http://[", { WebSocket: webSocketClass() }), TypeError);
  assert.throws(() => connect("ftp://host/", { WebSocket: webSocketClass() }), TypeError);
  assert.throws(() => connect("ws://127.0.0.1:9/ws", { WebSocket: "none" }), TypeError);
});

test("lines tell their stream, their past and their pieces, in batches and alone", async (t) => {
  const hub = await withHub(t);
  for (const [batch, channel] of [
    [true, CHANNEL],
    [false, "process:other"],
  ]) {
    const seen = record(t, hub.url);
    seen.client.subscribe(channel, { batch });
    await seen.event("subscribed");
    hub.detailed(channel, { stream: "stderr", continued: true }, "warning", "a long ");
    hub.detailed(channel, { stream: "stderr" }, "line");
    hub.detailed(channel, { past: true }, "old");
    hub.output(channel, "usual");
    await seen.until(() => seen.lines().length === 5);
    assert.deepEqual(
      seen.of("line").map(({ text, seq, stream, continued, past }) => [
        text,
        seq,
        stream,
        continued,
        past,
      ]),
      [
        ["warning", 1, "stderr", false, false],
        ["a long ", 2, "stderr", true, false],
        ["line", 3, "stderr", false, false],
        ["old", 4, null, false, true],
        ["usual", 5, null, false, false],
      ],
    );
    assert.equal(seen.of("lines").filter(({ continued }) => continued).length, 1);
  }
});

test("without detail a line tells only its text, and its number is counted", async (t) => {
  const hub = await withHub(t);
  const seen = record(t, hub.url);
  seen.client.subscribe(CHANNEL, { batch: false, detail: false });
  await seen.event("subscribed");
  hub.detailed(CHANNEL, { stream: "stderr", continued: true }, "a");
  const { seq, stream, continued } = await seen.event("line");
  assert.deepEqual([seq, stream, continued], [1, null, false]);
});

test("the unfinished line is emitted, takes no number, and ends with the connection", async (t) => {
  const hub = await withHub(t);
  const seen = record(t, hub.url);
  seen.client.subscribe(CHANNEL, { partial: true });
  await seen.event("subscribed");
  hub.partial(CHANNEL, "50%");
  hub.partial(CHANNEL, "");
  hub.partial(CHANNEL, 7);
  hub.partial(CHANNEL, "Password: ");
  hub.output(CHANNEL, "line");
  await seen.event("line");
  const texts = () => seen.of("partial").map(({ text }) => text);
  assert.deepEqual(texts(), ["50%", "", "Password: "]);
  assert.deepEqual(seen.seqs(), [1]);
  assert.equal(seen.of("error").length, 1);
  hub.breakAll();
  await seen.event("reconnected");
  assert.deepEqual(texts(), ["50%", "", "Password: ", ""]);
  const plain = record(t, hub.url);
  plain.client.subscribe(CHANNEL);
  await plain.event("subscribed");
  hub.partial(CHANNEL, "unseen");
  hub.output(CHANNEL, "seen");
  await plain.event("line");
  assert.equal(plain.of("partial").length, 0);
});

test("a check gives up a silent connection, and keeps one that answers", async (t) => {
  const hub = await withHub(t);
  const seen = record(t, hub.url, { checkTimeout: 300 });
  await seen.state("open");
  seen.client.subscribe(CHANNEL);
  await seen.event("subscribed");
  hub.received.length = 0;
  seen.client.check();
  // The second one has no effect: the first is under way.
  seen.client.check();
  await hub.heard(({ type }) => type === "ping");
  hub.output(CHANNEL, "alive");
  await seen.event("line");
  assert.equal(seen.of("error").length, 0);
  hub.mute();
  seen.client.check();
  const { message } = await seen.event("error");
  assert.equal(message, "The connection broke: no sign of life");
  await seen.event("reconnected");
});

test("a check makes the next attempt of a client that waits at once", async (t) => {
  const hub = await withHub(t);
  const seen = record(t, hub.url, { initialDelay: 60_000, maxDelay: 60_000 });
  await seen.state("open");
  hub.breakAll();
  await seen.state("waiting");
  seen.client.check();
  await seen.state("open", 2);
});

test("many subscriptions are paced, so that no server takes them for a flood", async (t) => {
  const hub = await withHub(t);
  const seen = record(t, hub.url);
  await seen.state("open");
  let began = 0;
  let messages = 0;
  let most = 0;
  hub.peers[0].on("message", () => {
    began ||= performance.now();
    messages += 1;
    most = Math.max(most, messages - ((performance.now() - began) / 1_000) * 100);
  });
  for (let i = 0; i < 1_100; i += 1) seen.client.subscribe(`process:${i}`);
  seen.client.unsubscribe("process:1099");
  await seen.until(() => seen.of("subscribed").length === 1_099);
  assert.ok(most <= 2_048, `${most} messages at once`);
  assert.equal(seen.of("error").length, 0);
});
