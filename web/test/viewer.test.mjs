import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { parseAnsi, plainText } from "../viewer/ansi.js";
import { assignColors } from "../viewer/colors.js";
import { AllRows, makeMatcher, Matches } from "../viewer/filter.js";
import { Heights } from "../viewer/heights.js";
import { foldedJson, isJson, unfoldedJson } from "../viewer/json.js";
import { DEBUG, ERROR, INFO, levelOf, TRACE, UNKNOWN, WARN } from "../viewer/levels.js";
import { describe, pieces, MAX_SHOWN } from "../viewer/line.js";
import { formatLink, parseLink } from "../viewer/links.js";
import { GAP, LINE, NOTICE, STATUS, Store, UNFOLDED } from "../viewer/store.js";

/** Returns pseudorandom numbers that are the same in every run. */
function random(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function styles(text) {
  const { text: plain, runs } = parseAnsi(text);
  return runs.map(({ from, to, classes, fg, bg }) => [plain.slice(from, to), classes, fg, bg]);
}

test("ANSI: text without control characters stays as it is", () => {
  assert.deepEqual(parseAnsi("plain\ttext ✓"), { text: "plain\ttext ✓", runs: [] });
});

test("ANSI: 16, 256 and true colors and styles begin and end where they should", () => {
  assert.deepEqual(styles("\x1b[31mred\x1b[0m plain \x1b[1;92mok\x1b[22m green\x1b[39m."), [
    ["red", "a-fg1", null, null],
    ["ok", "a-bold a-fg10", null, null],
    [" green", "a-fg10", null, null],
  ]);
  assert.deepEqual(styles("\x1b[38;5;196mx\x1b[48;5;9my\x1b[m"), [
    ["x", "", "rgb(255,0,0)", null],
    ["y", "on-light a-bg9", "rgb(255,0,0)", null],
  ]);
  assert.deepEqual(styles("\x1b[38;5;244mx"), [["x", "", "rgb(128,128,128)", null]]);
  assert.deepEqual(styles("\x1b[38;2;1;2;3mx\x1b[48:2::4:5:6my\x1b[3;4;9mz"), [
    ["x", "", "rgb(1,2,3)", null],
    ["y", "on-dark", "rgb(1,2,3)", "rgb(4,5,6)"],
    ["z", "a-italic a-underline a-strike on-dark", "rgb(1,2,3)", "rgb(4,5,6)"],
  ]);
});

test("ANSI: inverse swaps the colors, including default ones", () => {
  assert.deepEqual(styles("\x1b[7mx\x1b[31my\x1b[42mz"), [
    ["x", "a-fgback a-bgtext", null, null],
    ["y", "a-fgback on-dark a-bg1", null, null],
    ["z", "on-dark a-fg2 a-bg1", null, null],
  ]);
});

test("ANSI: other sequences are removed, and the text between them stays", () => {
  assert.equal(
    plainText("a\x1b[2Jb\x1b]0;title\x07c\x1b]8;;http://x\x1b\\d\x1bP1$r\x1b\\e\x1b(Bf\x07\x00g"),
    "abcdefg",
  );
});

test("ANSI: a sequence without an end hides no text after it", () => {
  assert.equal(plainText("\x1b]0;never ends"), "0;never ends");
  assert.equal(plainText("\x1b[31"), "31");
  assert.equal(plainText("end\x1b"), "end");
});

test("ANSI: a progress line shows what a terminal would show at its end", () => {
  assert.equal(plainText("10%\r50%\r100% done"), "100% done");
  assert.equal(plainText("downloading\rdone"), "doneloading");
  assert.equal(plainText("downloading\r\x1b[Kdone"), "done");
  assert.equal(plainText("abc\b\bX"), "aXc");
  assert.equal(plainText("ab\x1b[5Gc\r"), "ab  c");
  assert.deepEqual(styles("\x1b[31mred\x1b[0m\rgr"), [["d", "a-fg1", null, null]]);
});

test("ANSI: a bomb makes a bounded number of runs, in little time", () => {
  const bombs = [
    "\x1b[31mx\x1b[0m".repeat(100_000),
    "\x1b]".repeat(500_000),
    "\x1b[".repeat(500_000),
    `\x1b[${"1;".repeat(500_000)}m!`,
    `\x1b[${"0".repeat(1_000_000)}`,
    "\x1bP".repeat(500_000),
    "a\r".repeat(500_000),
    `\r\x1b[99999999G${"x\x1b[99999999C".repeat(10_000)}`,
  ];
  for (const bomb of bombs) {
    const began = performance.now();
    const { text, runs } = parseAnsi(bomb);
    plainText(bomb);
    assert.ok(runs.length <= 400);
    assert.doesNotMatch(text, /[\x00-\x08\x0a-\x1f\x7f-\x9f]/);
    const took = performance.now() - began;
    assert.ok(took < 2_000, `${JSON.stringify(bomb.slice(0, 12))} took ${took} ms`);
  }
});

test("ANSI: for any input, the text has no control character and the runs lie inside it, in order", () => {
  const next = random(7);
  const pieces = [
    "\x1b",
    "[",
    "]",
    "m",
    "31",
    ";",
    ":",
    "38",
    "2",
    "5",
    "\r",
    "\b",
    "\x07",
    "\\",
    "K",
    "G",
    "é",
    "😀",
    "x",
    "\x9b",
  ];
  for (let round = 0; round < 5_000; round += 1) {
    let line = "";
    for (let i = next(24); i > 0; i -= 1) line += pieces[next(pieces.length)];
    const { text, runs } = parseAnsi(line);
    assert.doesNotMatch(text, /[\x00-\x08\x0a-\x1f\x7f-\x9f]/);
    assert.equal(plainText(line), text);
    let at = 0;
    for (const { from, to } of runs) {
      assert.ok(from >= at && to > from, `${JSON.stringify(line)}: ${from}-${to}`);
      at = to;
    }
  }
});

test("levels: the usual formats are found, and a line without a level has none", () => {
  const lines = {
    "2026-01-01T00:00:00Z ERROR it broke": ERROR,
    "[warn] careful": WARN,
    "level=debug msg=x": DEBUG,
    '{"level":"info","msg":"x"}': INFO,
    '{"level":50,"msg":"x"}': ERROR,
    '{"level":10}': TRACE,
    "error: no such file": ERROR,
    "panic: runtime error": ERROR,
    "the error of my ways": UNKNOWN,
    information: UNKNOWN,
    "": UNKNOWN,
  };
  for (const [line, level] of Object.entries(lines)) assert.equal(levelOf(line), level, line);
});

test("JSON: only objects and arrays that are not empty count", () => {
  for (const line of ['{"a":1}', " [1, 2] ", '{"a":{"b":[]}}']) assert.ok(isJson(line), line);
  for (const line of ["{}", "[]", "1", "text", '{"a":1', '{"a":1} tail', "[ERROR] x]", ""])
    assert.ok(!isJson(line), line);
});

test("JSON: unfolding keeps the value and its digits, and folding keeps the text", () => {
  const line =
    '{"id":12345678901234567890,"a":[1,{"b":"x,\\"}{"}],"e":{},"f":[],"n":null, "t":true}';
  const { text, runs } = unfoldedJson(line);
  assert.equal(
    text,
    '{\n  "id": 12345678901234567890,\n  "a": [\n    1,\n    {\n      "b": "x,\\"}{"\n    }\n  ],\n  "e": {},\n  "f": [],\n  "n": null,\n  "t": true\n}',
  );
  assert.deepEqual(JSON.parse(text), JSON.parse(line));
  assert.deepEqual(
    runs.slice(0, 2).map(({ from, to, classes }) => [text.slice(from, to), classes]),
    [
      ['"id"', "j-key"],
      ["12345678901234567890", "j-number"],
    ],
  );
  assert.equal(foldedJson(line).text, line);
});

test("JSON: the layout of a deep or a long value is bounded", () => {
  const deep = "[".repeat(3_000) + "1" + "]".repeat(3_000);
  assert.ok(unfoldedJson(deep).text.split("\n").length <= 2_000);
  assert.ok(unfoldedJson(`[${"1,".repeat(40_000)}1]`).text.split("\n").length <= 2_000);
  assert.ok(!isJson(`[${"1,".repeat(100_000)}1]`));
});

test("a long line is shown in part until all of it is requested; a progress line shows its end", () => {
  const long = "x".repeat(MAX_SHOWN + 100);
  assert.deepEqual([describe(long).text.length, describe(long).rest], [MAX_SHOWN, 100]);
  assert.deepEqual(
    [describe(long, { isWhole: true }).text.length, describe(long, { isWhole: true }).rest],
    [MAX_SHOWN + 100, 0],
  );
  const huge = describe("y".repeat(1_000_000));
  assert.equal(huge.text.length + huge.rest, 1_000_000);
  assert.equal(describe(`${"10%\r".repeat(100_000)}done`).text, "done");
  assert.deepEqual(describe('{"a":1}', { isUnfolded: true }).text, '{\n  "a": 1\n}');
  assert.ok(!describe("{not json}").isJson);
});

test("runs and marks cut a line into pieces of one style each, which join to the line again", () => {
  const next = random(13);
  const spans = (length) => {
    const found = [];
    for (let at = next(5); at < length; at += next(6)) {
      const to = at + 1 + next(4);
      found.push({ from: at, to });
      at = to;
    }
    return found;
  };
  for (let round = 0; round < 2_000; round += 1) {
    const length = next(40);
    const runs = spans(length);
    const marks = spans(length).map(({ from, to }) => [from, Math.min(to, length)]);
    let at = 0;
    for (const piece of pieces(length, runs, marks)) {
      assert.equal(piece.from, at);
      assert.ok(piece.to > piece.from);
      at = piece.to;
      for (let i = piece.from; i < piece.to; i += 1) {
        assert.equal(piece.run, runs.find(({ from, to }) => from <= i && i < to) ?? null);
        assert.equal(
          piece.isMarked,
          marks.some(([from, to]) => from <= i && i < to),
        );
      }
    }
    assert.equal(at, length);
  }
});

test("links: parsing returns what was formatted", () => {
  const links = [
    { channels: ["process:web"], line: null, filter: null },
    {
      channels: ["process:web"],
      line: { channel: "process:web", seq: 1234, to: 1234, epoch: "" },
      filter: null,
    },
    {
      channels: ["process:80"],
      line: { channel: "process:80", seq: 7, to: 12, epoch: "5c1e0d3f9ab24671" },
      filter: { text: "a", isRegex: false, isCaseSensitive: false, hides: true },
    },
    { channels: ["metrics:5-7"], line: null, filter: null },
    { channels: ["process:80", "a:b"], line: null, filter: null },
    {
      channels: ["metrics:5", "x:"],
      line: { channel: "x:", seq: 9, to: 9, epoch: "" },
      filter: null,
    },
    {
      channels: ["metrics:5"],
      line: null,
      filter: { text: "a&b=#?%,c", isRegex: true, isCaseSensitive: true, hides: true },
    },
    {
      channels: ["c"],
      line: null,
      filter: { text: "é 1", isRegex: false, isCaseSensitive: false, hides: false },
    },
    { channels: ["process:*"], line: null, filter: null },
    {
      channels: ["process:*", "metrics:5"],
      line: { channel: "process:80", seq: 7, to: 7, epoch: "e" },
      filter: null,
    },
    { channels: [], line: null, filter: null },
  ];
  for (const link of links) assert.deepEqual(parseLink(formatLink(link)), link, formatLink(link));
  assert.deepEqual(parseLink("#process:web:1234").line, {
    channel: "process:web",
    seq: 1234,
    to: 1234,
    epoch: "",
  });
  assert.equal(parseLink("#process:web:9-3").line.to, 9);
  assert.equal(parseLink("#process:web:9?epoch=<b>").line.epoch, "");
  assert.deepEqual(parseLink("#process:1234").channels, ["process:1234"]);
  // All processes include each of them.
  assert.deepEqual(parseLink("#process:a,x,process:*,process:b:3"), {
    channels: ["x", "process:*"],
    line: { channel: "process:b", seq: 3, to: 3, epoch: "" },
    filter: null,
  });
});

test("links: an invalid link names nothing", () => {
  for (const hash of [
    "",
    "#",
    "#<script>",
    "#%",
    "#a b",
    `#${"x".repeat(300)}`,
    "#,,,",
    "#?filter=",
  ]) {
    assert.deepEqual(parseLink(hash), { channels: [], line: null, filter: null }, hash);
  }
  assert.equal(parseLink("#a:99999999999999999999").line, null);
  assert.equal(parseLink(`#${Array.from({ length: 500 }, (_, i) => `c${i}`)}`).channels.length, 64);
});

function texts(store) {
  const kept = [];
  for (let id = store.first; id < store.end; id += 1) kept.push(store.value(id));
  return kept;
}

test("the store keeps the newest rows, bounded in rows and in characters", () => {
  const store = new Store({ capacity: 3, maxCharacters: 10 });
  for (const text of ["a", "b", "c", "d"]) store.push(LINE, "x", 1, 0, text);
  assert.deepEqual(texts(store), ["b", "c", "d"]);
  store.push(LINE, "x", 2, 0, "12345678");
  assert.deepEqual(texts(store), ["c", "d", "12345678"]);
  store.push(LINE, "x", 3, 0, "longer than all that may be kept");
  assert.deepEqual(texts(store), ["longer than all that may be kept"]);
  assert.equal(store.characters, 32);
});

test("the store behaves like a plain array under any pushes and replacements", () => {
  const next = random(3);
  const capacity = 50;
  const store = new Store({ capacity });
  let model = [];
  let replaced = 0;
  store.onReplace = () => (replaced += 1);
  for (let round = 0; round < 3_000; round += 1) {
    if (next(4) > 0 || model.length === 0) {
      store.push(LINE, `c${next(3)}`, round, round, `${round}`);
      model.push(`${round}`);
    } else {
      const at = next(model.length);
      const removed = next(Math.min(3, model.length - at + 1));
      const rows = Array.from({ length: next(6) }, (_, i) => ({
        kind: LINE,
        channel: "r",
        seq: i,
        time: round,
        value: `${round}/${i}`,
      }));
      store.replace(store.first + at, removed, rows);
      model.splice(at, removed, ...rows.map(({ value }) => value));
    }
    model = model.slice(-capacity);
    assert.deepEqual(texts(store), model);
    assert.equal(store.characters, model.join("").length);
  }
  assert.ok(replaced > 100);
});

test("a channel that is opened later is merged by time with its flags, and can be removed again", () => {
  const store = new Store({ capacity: 10 });
  for (const time of [10, 20, 30, 40]) store.push(LINE, "a", time, time, `a${time}`);
  store.toggleFlag(store.first + 2, UNFOLDED);
  store.merge(
    [15, 30, 45].map((time) => ({
      kind: LINE,
      channel: "b",
      seq: 1,
      time,
      key: time,
      value: `b${time}`,
    })),
  );
  assert.deepEqual(texts(store), ["a10", "b15", "a20", "a30", "b30", "a40", "b45"]);
  assert.ok(store.hasFlag(store.first + 3, UNFOLDED));
  store.takeChannels((channel) => channel === "a");
  assert.deepEqual(texts(store), ["b15", "b30", "b45"]);
});

test("a line is found by its number, itself or the gap that contains it", () => {
  const store = new Store({ capacity: 10 });
  store.push(LINE, "a", 1, 0, "one");
  store.push(GAP, "a", 2, 0, { from: 2, to: 5 });
  store.push(LINE, "b", 6, 0, "other");
  store.push(LINE, "a", 6, 0, "six");
  assert.equal(store.value(store.findSeq("a", 6)), "six");
  assert.equal(store.kind(store.findSeq("a", 4)), GAP);
  assert.equal(store.findSeq("a", 7), -1);
});

test("matching: text and regular expressions match with and without case, regardless of colors", () => {
  const find = (options, line) => makeMatcher(options).matches(line);
  assert.ok(find({ text: "WARN" }, "a warning"));
  assert.ok(!find({ text: "WARN", isCaseSensitive: true }, "a warning"));
  assert.ok(find({ text: "a.c" }, "xa.cx"));
  assert.ok(!find({ text: "a.c" }, "abc"));
  assert.ok(find({ text: "^a.c$", isRegex: true }, "abc"));
  assert.ok(find({ text: "red line" }, "\x1b[31mred\x1b[0m line"));
  assert.equal(makeMatcher({ text: "" }), null);
  assert.ok(makeMatcher({ text: "(", isRegex: true }).error);
  assert.deepEqual(makeMatcher({ text: "an" }).ranges("banana"), [
    [1, 3],
    [3, 5],
  ]);
  assert.deepEqual(makeMatcher({ text: "x*", isRegex: true }).ranges("axxb"), [[1, 3]]);
});

for (const [where, hides] of [
  ["here", true],
  ["here", false],
  ["in a worker", true],
  ["in a worker", false],
]) {
  const index = `the index of matches made ${where}, ${hides ? "hiding" : "showing"} other lines`;
  test(`${index}, equals a scan of the store, however the work is sliced`, () =>
    matchesAreFound(where === "in a worker", hides));
}

function matchesAreFound(isInWorker, hides) {
  const next = random(11);
  const store = new Store({ capacity: 400 });
  const matcher = makeMatcher({ text: "7" });
  const matches = new Matches(store, matcher, { hides });
  store.onReplace = (id) => matches.rewind(id);
  let pending = null;
  const advance = (isTimeUp) => {
    if (!isInWorker) return matches.advance(isTimeUp);
    // The result of a piece arrives after other rows were pushed, evicted or replaced.
    if (pending)
      matches.take(
        pending,
        pending.texts.map((text) => text !== null && matcher.matches(text)),
      );
    pending = matches.isComplete ? null : matches.piece();
    return matches.isComplete;
  };
  for (let round = 0; round < 400; round += 1) {
    for (let i = next(300); i > 0; i -= 1) {
      if (next(20) === 0) store.push(GAP, "c", 0, 0, {});
      else store.push(LINE, "c", i, 0, `${next(100)}`);
    }
    if (next(5) === 0 && store.length > 0) {
      store.replace(store.first + next(store.length), 1, [
        { kind: LINE, channel: "c", seq: 0, time: 0, value: "77" },
      ]);
    }
    advance(() => next(2) === 0);
    const before = matches.first;
    if (next(3) > 0) continue;
    while (!advance());
    assert.ok(matches.first >= before);
    const expected = [];
    const lines = [];
    for (let id = store.first; id < store.end; id += 1) {
      const isMatch = store.kind(id) === LINE && store.value(id).includes("7");
      if (isMatch) lines.push(id);
      if (isMatch || (hides && store.kind(id) === GAP)) expected.push(id);
    }
    const found = [];
    for (let i = matches.first; i < matches.end; i += 1) found.push(matches.idAt(i));
    assert.deepEqual(found, expected);
    for (const id of expected) assert.equal(matches.idAt(matches.ordinalOf(id)), id);
    assert.equal(matches.count, lines.length);
    lines.forEach((id, i) =>
      assert.deepEqual([matches.match(i), matches.matchesBefore(id)], [id, i]),
    );
  }
}

test("a filter searches statuses and notices as well as lines", () => {
  const store = new Store({ capacity: 10 });
  store.push(STATUS, "c", 1, 0, { status: "exited", exitCode: 3, name: "web" });
  store.push(NOTICE, "c", 2, 0, { text: "deploy 42" });
  const count = (text) => {
    const matches = new Matches(store, makeMatcher({ text }), { hides: true });
    matches.advance();
    return matches.count;
  };
  assert.deepEqual(["exited 3", "web", "deploy", "4", "no"].map(count), [1, 1, 1, 1, 0]);
});

test("colors: they repeat only when all are used, depend on the name, and stay when channels are added", () => {
  const names = Array.from({ length: 20 }, (_, i) => `process:${i}`);
  const few = assignColors(names.slice(0, 8));
  assert.equal(new Set(few.values()).size, 8);
  const all = assignColors(names, few);
  for (const [name, color] of few) assert.equal(all.get(name), color);
  const uses = Array.from(
    { length: 8 },
    (_, color) => [...all.values()].filter((one) => one === color).length,
  );
  assert.ok(Math.max(...uses) - Math.min(...uses) <= 1, String(uses));
  assert.deepEqual(assignColors(["process:web"]), assignColors(["process:web"]));
});

test("all rows form a view too", () => {
  const store = new Store({ capacity: 2 });
  for (const text of ["a", "b", "c"]) store.push(LINE, "x", 1, 0, text);
  const view = new AllRows(store);
  assert.deepEqual(
    [view.first, view.end, view.idAt(2), view.ordinalOf(0), view.ordinalOf(9)],
    [1, 3, 2, 1, 3],
  );
});

test("heights: offsets and rows agree with plain sums after any pushes, drops and corrections", () => {
  const next = random(5);
  const heights = new Heights(1_000);
  heights.clear(12_345);
  let model = [];
  let first = 12_345;
  for (let round = 0; round < 300; round += 1) {
    for (let i = next(60); i > 0; i -= 1) {
      const lines = 1 + next(4);
      heights.push(lines);
      model.push(lines);
    }
    const most = 1_000;
    if (model.length > most) {
      first += model.length - most;
      model = model.slice(-most);
      heights.dropUntil(first);
    }
    if (model.length === 0) continue;
    const at = next(model.length);
    model[at] = 1 + next(9);
    heights.set(first + at, model[at]);
    const sum = (to) => model.slice(0, to).reduce((a, b) => a + b, 0);
    assert.equal(heights.total, sum(model.length));
    const some = next(model.length);
    assert.equal(heights.offsetOf(first + some), sum(some));
    assert.deepEqual(heights.rowAt(sum(some)), { ordinal: first + some, into: 0 });
    assert.deepEqual(heights.rowAt(sum(some) + model[some] - 1), {
      ordinal: first + some,
      into: model[some] - 1,
    });
  }
  assert.equal(heights.rowAt(1e9).ordinal, heights.end - 1);
});

test("the page preloads exactly the modules that main.js imports, directly or not", async () => {
  const page = new URL("../index.html", import.meta.url);
  const html = await readFile(page, "utf8");
  const links = html.matchAll(/<link rel="modulepreload"[^>]* href="([^"]+)"/g);
  const preloaded = Array.from(links, ([, href]) => new URL(href, page).href);
  const imported = new Set();
  const follow = async (url) => {
    const source = await readFile(new URL(url), "utf8");
    for (const [, specifier] of source.matchAll(/^(?:import|\}) .*from "([^"]+)";$/gm)) {
      const next = new URL(specifier, url).href;
      if (imported.has(next)) continue;
      imported.add(next);
      await follow(next);
    }
  };
  await follow(new URL("viewer/main.js", page).href);
  assert.deepEqual(preloaded.sort(), [...imported].sort());
});
