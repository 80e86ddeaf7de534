import assert from "node:assert/strict";
import { test } from "node:test";

import { Feed } from "../viewer/feed.js";
import { completes, PieceJoiner } from "../viewer/pieces.js";
import { GAP, LINE, STDERR, Store } from "../viewer/store.js";

const WEB = "process:web";

/** A client whose events the test emits. */
class FakeClient {
  #handlers = new Map();
  subscribed = [];

  on(event, handler) {
    this.#handlers.set(event, handler);
  }

  subscribe(channel, options) {
    this.subscribed.push([channel, options]);
  }

  unsubscribe() {}

  position() {
    return null;
  }

  emit(event, detail) {
    this.#handlers.get(event)(detail);
  }

  lines(texts, seq, { stream = null, continued = false, refetched = false, channel = WEB } = {}) {
    const timestamp = new Date(seq * 1000).toISOString();
    this.emit("lines", { channel, texts, seq, stream, continued, refetched, timestamp });
  }
}

function feeding(...names) {
  const client = new FakeClient();
  const store = new Store({ capacity: 100 });
  const feed = new Feed(client, store);
  const partials = [];
  feed.onPartial = (...partial) => partials.push(partial);
  feed.show(names.length > 0 ? names : [WEB]);
  const rows = () => {
    const shown = [];
    for (let id = store.first; id < store.end; id += 1) {
      const { kind, seq, value, flags } = store.row(id);
      shown.push(kind === GAP ? ["gap", seq] : [value, seq, flags]);
    }
    return shown;
  };
  return { client, store, feed, partials, rows };
}

test("the pieces of a line become one row, numbered by its first piece", () => {
  const { client, feed, rows } = feeding();
  client.lines(["before", "a long "], 1, { continued: true });
  client.lines(["line "], 3, { continued: true });
  client.lines(["warning"], 4, { stream: "stderr" });
  client.lines(["ends", "after"], 5);
  assert.deepEqual(rows(), [
    ["before", 1, 0],
    ["warning", 4, STDERR],
    ["a long line ends", 2, 0],
    ["after", 6, 0],
  ]);
  assert.equal(feed.received, 6);
});

test("a gap after a piece ends its row, and the rest is a row of its own", () => {
  const { client, rows } = feeding();
  client.lines(["begun"], 1, { continued: true });
  client.emit("gap", {
    channel: WEB,
    from: 2,
    to: 3,
    count: 2,
    isKept: true,
    refetched: false,
    timestamp: null,
  });
  client.lines(["ended"], 4);
  assert.deepEqual(rows(), [
    ["begun", 1, 0],
    ["gap", 2],
    ["ended", 4, 0],
  ]);
});

test("a line without an end is cut after a million characters", () => {
  const { client, rows } = feeding();
  const piece = "x".repeat(60_000);
  for (let seq = 1; seq <= 30; seq += 1) client.lines([piece], seq, { continued: true });
  client.lines(["end"], 31);
  const lengths = rows().map(([text]) => text.length);
  assert.equal(lengths[0], 17 * 60_000);
  assert.equal(
    lengths.reduce((sum, length) => sum + length),
    30 * 60_000 + 3,
  );
});

test("pieces are joined in a replay among several channels, and the replay ends by its count", () => {
  const { client, rows } = feeding(WEB, "process:db");
  client.emit("subscribed", { channel: WEB, seq: 0, replayed: 4 });
  client.lines(["a "], 1, { continued: true });
  client.lines(["b", "c"], 2, { stream: null });
  client.lines(["live"], 9, { channel: "process:db" });
  assert.deepEqual(rows(), [["live", 9, 0]]);
  client.lines(["d"], 4, { stream: "stderr" });
  assert.deepEqual(rows(), [
    ["a b", 1, 0],
    ["c", 3, 0],
    ["d", 4, STDERR],
    ["live", 9, 0],
  ]);
  client.lines(["e"], 5);
  assert.deepEqual(rows().at(-1), ["e", 5, 0]);
});

test("fetched pieces are joined too", async () => {
  const { client, store, feed, rows } = feeding();
  client.emit("gap", {
    channel: WEB,
    from: 1,
    to: 3,
    count: 3,
    isKept: true,
    refetched: false,
    timestamp: null,
  });
  client.refetch = async () => {
    client.lines(["a "], 1, { continued: true, refetched: true });
    client.lines(["b", "cut"], 2, { continued: true, refetched: true });
    return { lost: 0 };
  };
  await feed.past.fetch(store.value(store.first), WEB);
  assert.deepEqual(rows(), [
    ["a b", 1, 0],
    ["cut", 3, 0],
  ]);
});

test("the unfinished line is asked for and told, and gives way to its whole line", () => {
  const { client, feed, partials } = feeding();
  assert.equal(client.subscribed[0][1].partial, true);
  client.emit("partial", { channel: WEB, text: "10%" });
  client.lines(["warning"], 1, { stream: "stderr" });
  client.emit("partial", { channel: WEB, text: "20%" });
  client.lines(["10%\r20%, done\r"], 2);
  client.emit("partial", { channel: WEB, text: "" });
  client.emit("partial", { channel: "process:other", text: "unseen" });
  client.emit("partial", { channel: WEB, text: "Password: " });
  feed.show([]);
  assert.deepEqual(partials, [
    [WEB, "10%"],
    [WEB, "20%"],
    [WEB, ""],
    [WEB, "Password: "],
    [WEB, ""],
  ]);
});

test("a line completes the text that was shown of it", () => {
  for (const [line, partial, is] of [
    ["Password: x", "Password: ", true],
    ["10%\r20%\r30% done", "30%", true],
    ["10%\r20%\r", "20%", true],
    ["another", "20%", false],
    ["", "20%", false],
  ]) {
    assert.equal(completes(line, partial), is, line);
  }
});

test("a joiner keeps the streams of a process apart", () => {
  const joiner = new PieceJoiner();
  assert.deepEqual(joiner.take(null, ["a"], 1, 5, true), []);
  assert.deepEqual(joiner.take("stderr", ["b"], 2, 6, true), []);
  assert.ok(joiner.isOpen(null) && joiner.isOpen("stderr"));
  assert.deepEqual(joiner.take(null, ["c"], 3, 7, false), [{ seq: 1, time: 5, value: "ac" }]);
  assert.deepEqual(joiner.flush(), [["stderr", { seq: 2, time: 6, value: "b" }]]);
  assert.deepEqual(joiner.flush(), []);
});

test("a row keeps that it is of standard error when other rows are replaced", () => {
  const store = new Store({ capacity: 10 });
  store.push(LINE, WEB, 1, 1, "a");
  store.push(LINE, WEB, 2, 2, "b", STDERR);
  store.replace(0, 1, []);
  assert.ok(store.hasFlag(0, STDERR));
});

test("a channel that appeared is shown from its first message, and what is lost as a gap", () => {
  const client = new FakeClient();
  const store = new Store({ capacity: 100_000 });
  const feed = new Feed(client, store);
  const places = new Map([
    ["short", { epoch: "e", seq: 12 }],
    ["long", { epoch: "f", seq: 25_000 }],
  ]);
  feed.show(["old", "short", "long"], (name) => places.get(name));
  assert.deepEqual(client.subscribed, [
    ["old", { tail: 10_000, partial: true }],
    ["short", { since: { epoch: "e", seq: 0 }, partial: true }],
    ["long", { since: { epoch: "f", seq: 15_000 }, partial: true }],
  ]);
  client.emit("subscribed", { channel: "old", seq: 4, lost: 0, replayed: 0 });
  client.lines(["before"], 5, { channel: "old" });
  client.lines(["after"], 12, { channel: "old" });
  client.emit("subscribed", { channel: "short", seq: 8, lost: 8, replayed: 2 });
  client.emit("gap", {
    channel: "short",
    from: 1,
    to: 8,
    count: 8,
    isKept: false,
    refetched: false,
    timestamp: null,
  });
  client.lines(["nine"], 9, { channel: "short" });
  client.lines(["ten"], 10, { channel: "short" });
  const shown = [];
  for (let id = store.first; id < store.end; id += 1) {
    const value = store.value(id);
    shown.push(store.kind(id) === GAP ? `${value.from}-${value.to}` : value);
  }
  assert.deepEqual(shown, ["before", "1-8", "nine", "ten", "after"]);
  assert.deepEqual([feed.received, feed.skipped, feed.before], [4, 8, 4]);
});
