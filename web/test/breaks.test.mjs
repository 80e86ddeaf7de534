// Tests the feed with the real client and the small hub: whatever breaks, every message of every
// channel is shown or marked, in the order of time.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Feed } from "../viewer/feed.js";
import { GAP, LINE, NOTICE, Store } from "../viewer/store.js";
import { Hub } from "./support/hub.mjs";
import { record } from "./support/recorder.mjs";
import { until } from "./support/site.mjs";

const CHANNELS = ["process:a", "process:b"];
const LINES = 12;

/** A clock whose every reading is a second later. */
function clock() {
  let seconds = 0;
  return () => new Date(1_000_000_000_000 + 1_000 * seconds++);
}

function open(t, hub, channels = CHANNELS) {
  const { client, of } = record(t, hub.url);
  const store = new Store({ capacity: 10_000 });
  const feed = new Feed(client, store);
  feed.show(channels);
  return { client, of, store, feed };
}

/** Returns the rows of lines and gaps: the text, or the range of a gap. */
function shown(store) {
  const rows = [];
  for (let id = store.first; id < store.end; id += 1) {
    const value = store.value(id);
    if (store.kind(id) === LINE) rows.push(value);
    if (store.kind(id) === GAP) rows.push(`${store.channel(id)} ${value.from}-${value.to}`);
  }
  return rows;
}

/** Returns the numbers of a channel that are shown or within a gap, each as often as it is. */
function numbers(store, channel) {
  const found = [];
  for (let id = store.first; id < store.end; id += 1) {
    if (store.channel(id) !== channel) continue;
    if (store.kind(id) === LINE) found.push(store.seq(id));
    if (store.kind(id) === GAP)
      for (let n = store.value(id).from; n <= store.value(id).to; n += 1) found.push(n);
  }
  return found;
}

/**
 * Cuts the replay of both channels after each of its messages in turn, and publishes more. Returns
 * the number of messages of a replay without a cut.
 */
async function cuts(t, { keeps }) {
  for (let cut = 1; ; cut += 1) {
    const hub = await Hub.start({ batch: 2, keeps, now: clock() });
    const publish = (from, to) => {
      for (let i = from; i <= to; i += 1)
        for (const name of CHANNELS) hub.output(name, `${name} ${i}`, `${name} ${i}'`);
    };
    publish(1, LINES / 2);
    hub.cutAfter(cut);
    const { client, of, store, feed } = open(t, hub);
    await until(() => of("state").some(({ state }) => state === "waiting") || isAll());
    const isCut = of("state").some(({ state }) => state === "waiting");
    const isThere = () => CHANNELS.every((name) => numbers(store, name).at(-1) === LINES + 2);
    publish(LINES / 2 + 1, LINES / 2 + 1);
    await until(isThere);
    let before = 0;
    for (const name of CHANNELS) {
      const expected = Array.from({ length: LINES + 2 }, (_, i) => i + 1);
      const first = numbers(store, name)[0];
      assert.deepEqual(numbers(store, name), expected.slice(first - 1), `cut after ${cut}`);
      before += first - 1;
    }
    assert.equal(feed.before, before, `cut after ${cut}`);
    client.close();
    await hub.stop();
    if (!isCut) return cut;
    function isAll() {
      return CHANNELS.every((name) => numbers(store, name).at(-1) === LINES);
    }
  }
}

test("wherever a replay of two channels is cut, every message is there once", async (t) => {
  assert.ok((await cuts(t, { keeps: 1_000 })) > 12);
});

test("what left the history during a break in a replay is a gap", async (t) => {
  assert.ok((await cuts(t, { keeps: 7 })) > 8);
});

test("what was promised of a replay and is of an earlier epoch is a gap", async (t) => {
  const hub = await Hub.start({ batch: 2, now: clock() });
  t.after(() => hub.stop());
  for (const name of CHANNELS) hub.output(name, "1", "2", "3", "4", "5", "6");
  // `subscribed` and two of three batches of the first channel.
  hub.cutAfter(3);
  const { client, store, feed } = open(t, hub);
  let isRestarted = false;
  client.on("state", ({ state }) => {
    if (state !== "waiting" || isRestarted) return;
    isRestarted = true;
    hub.restart("e2");
    hub.output("process:a", "new");
  });
  await until(() => shown(store).at(-1) === "new");
  assert.deepEqual(numbers(store, "process:a"), [1, 2, 3, 4, 5, 6, 1]);
  assert.equal(feed.skipped, 2);
});

test("after a break the missed lines of several channels stand in the order of time", async (t) => {
  const hub = await Hub.start({ now: clock() });
  t.after(() => hub.stop());
  const { of, store } = open(t, hub);
  await until(() => of("subscribed").length === 2);
  hub.output("process:a", "1");
  hub.output("process:b", "2");
  await until(() => shown(store).length === 2);
  hub.breakAll();
  for (let i = 3; i <= 8; i += 1) hub.output(CHANNELS[i % 2], `${i}`);
  await until(() => shown(store).length === 8);
  assert.deepEqual(shown(store), ["1", "2", "3", "4", "5", "6", "7", "8"]);
  // One notice for all channels stands where the break was.
  assert.equal(store.kind(store.first + 2), NOTICE);
  assert.equal(store.value(store.first + 2).text, "Connected again · caught up with 6 messages");
});

test("messages that leave the history while they are fetched stay a gap", async (t) => {
  const hub = await Hub.start({ now: clock() });
  t.after(() => hub.stop());
  const { of, store, feed } = open(t, hub, ["process:a"]);
  await until(() => of("subscribed").length === 1);
  hub.skip("process:a", "1", "2", "3", "4");
  hub.output("process:a", "5");
  await until(() => shown(store).length === 2);
  // This server announces more than it sends.
  const channel = "process:a";
  const say = (type, data, rest) => hub.raw(JSON.stringify({ type, channel, data, ...rest }));
  hub.onRange = () => {
    say("replay", { from: 1, to: 4, lost: 0 });
    say("process_output", "1", { seq: 1 });
    say("gap", { from: 2, to: 3, count: 2 });
    say("process_output", "4", { seq: 4 });
    say("replayed", { from: 1, to: 4 });
  };
  await feed.past.fetch(store.value(store.first), channel);
  assert.deepEqual(shown(store), ["1", "process:a 2-3", "4", "5"]);
});
