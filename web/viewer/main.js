// The page: puts the parts together, and answers to what is pressed.

import { connect } from "../outrace.js";
import { Channels } from "./channels.js";
import { Feed } from "./feed.js";
import { Find, press } from "./find.js";
import { count, counted, rate, statusText, statusTone } from "./format.js";
import { formatLink, parseLink } from "./links.js";
import { List } from "./list.js";
import { shortName } from "./row.js";
import { copyText, downloadParts, rowTexts } from "./save.js";
import { loadSettings, saveSettings } from "./settings.js";
import { GAP, Store } from "./store.js";

const LINES = 200_000;
const MOST_LINES = 2_000_000;

/** Lines that go to the clipboard at once. */
const MOST_COPIED = 100_000;

const $ = (id) => document.getElementById(id);

const root = document.documentElement;
const settings = loadSettings();
const store = new Store({ capacity: linesToKeep() });
const find = new Find(store, {
  box: $("find"),
  text: $("find-text"),
  count: $("find-count"),
  steps: $("find-steps"),
  previous: $("find-previous"),
  next: $("find-next"),
  isCase: $("find-case"),
  regex: $("find-regex"),
  hides: $("find-hides"),
});
const look = {
  version: 0,
  matcher: null,
  showsChannel: false,
  unfolds: settings.unfold,
  foundId: -1,
  hrefOf: (channel, seq) => formatLink({ ...link, line: { channel, seq }, filter: null }),
  isChosen: (channel, seq, kind) =>
    chosen !== null && kind !== GAP && channel === chosen.channel && seq >= chosen.from && seq <= chosen.to,
};
const list = new List($("lines"), store, find.view, look);
const client = connect(new URL("../ws", import.meta.url), { maxDelay: 10_000 });
const feed = new Feed(client, store);
const channels = new Channels(
  { list: $("channel-list"), none: $("no-channels"), all: $("all-channels") },
  new URL("../api/channels", import.meta.url),
);

/** What the address says: channels, line, filter. */
let link = { channels: [], line: null, filter: null };
/** Lines whose numbers were clicked: `{ channel, from, to }`. */
let chosen = null;
/** The line of the address, until it is there to be shown. */
let sought = null;
let hasChosenChannel = false;

// What the address says.

function readLink() {
  const next = parseLink(location.hash);
  const channelsChanged = next.channels.join() !== link.channels.join();
  link = next;
  if (next.channels.length > 0) hasChosenChannel = true;
  chosen = next.line && { channel: next.line.channel, from: next.line.seq, to: next.line.seq };
  if (channelsChanged) {
    look.showsChannel = next.channels.length > 1;
    feed.show(next.channels);
    channels.shown = next.channels;
    list.setFollowing(true);
  }
  find.filter = next.filter;
  sought = next.line;
  seek();
  list.invalidate();
  drawTitle();
  drawEmpty();
  list.resize();
}

function writeLink(change, { isStep = false } = {}) {
  const hash = formatLink({ ...link, ...change });
  if (hash === location.hash || (hash === "#" && location.hash === "")) return;
  if (isStep) {
    location.hash = hash;
  } else {
    history.replaceState(null, "", hash);
    link = parseLink(hash);
  }
}

/** Shows the line of the address, once it has come. */
function seek() {
  if (!sought) return;
  const id = store.findSeq(sought.channel, sought.seq);
  if (id < 0) return;
  sought = null;
  list.show(id);
}

function seekFailed() {
  if (!sought) return;
  const { channel, seq } = sought;
  sought = null;
  const range = `Line ${count(seq)} of ${shortName(channel)}`;
  toast(`${range} is not here: it is no longer kept, or has not come yet.`);
}

// Filter and find.

find.onInput = () => writeLink({ filter: find.filter });
find.onApply = (view, matcher) => {
  look.matcher = matcher;
  look.foundId = -1;
  list.setView(view);
  drawEmpty();
};
find.onProgress = () => list.refresh();
find.onStep = (id) => {
  look.foundId = id;
  list.show(id);
  list.invalidate();
};

// What is drawn beside the list.

function drawTitle() {
  const { channels: names } = link;
  const title = names.length === 0 ? "Outrace" : names.length <= 2 ? names.map(shortName).join(" + ") : `${names.length} channels`;
  $("title").textContent = title;
  document.title = names.length === 0 ? "Outrace" : `${title} · Outrace`;
  $("lines").setAttribute("aria-label", names.length === 0 ? "Lines" : `Lines of ${names.join(", ")}`);
  drawBadge();
}

function drawBadge() {
  const status = link.channels.length === 1 ? channels.status(link.channels[0]) : undefined;
  $("badge").hidden = !status;
  if (!status) return;
  $("badge").textContent = statusText(status);
  $("badge").className = `badge ${statusTone(status)}`;
}

function drawEmpty() {
  const element = $("empty");
  element.replaceChildren();
  const { view, isHiding } = find;
  if (view.end > view.first) return;
  const say = (title, text, code) => {
    const strong = document.createElement("strong");
    strong.textContent = title;
    element.append(strong, document.createTextNode(text));
    if (!code) return;
    const example = document.createElement("code");
    example.textContent = code;
    element.append(example);
  };
  if (isHiding && store.length > 0) say("Nothing matches", "New lines that do will appear here.");
  else if (link.channels.length > 0) say("No line yet", "New lines will appear here as they come.");
  else if (channels.names.length > 0) say("Choose a channel", "They are listed at the side.");
  else say("Nothing to show yet", "Start something, and it will appear here:", "outrace run -- ping localhost");
}

function drawFollow() {
  const isFollowing = list.isFollowing;
  press($("follow"), isFollowing);
  const { unseen } = list;
  $("pill").hidden = isFollowing;
  const text = unseen > 0 ? `${count(unseen)} new` : "Follow";
  if ($("pill-text").textContent !== text) $("pill-text").textContent = text;
}

let drawnEmpty = true;

list.onRender = () => {
  drawFollow();
  const isEmpty = find.view.end === find.view.first;
  if (isEmpty !== drawnEmpty) drawEmpty();
  drawnEmpty = isEmpty;
};
list.onFollow = drawFollow;

let rateAt = performance.now();
const rateCounts = new Map();

/** What need not be drawn with every frame. */
function tick() {
  const now = performance.now();
  if (now - rateAt >= 900) {
    let total = 0;
    for (const name of link.channels) {
      const came = feed.count(name);
      const perSecond = ((came - (rateCounts.get(name) ?? came)) * 1_000) / (now - rateAt);
      rateCounts.set(name, came);
      channels.setRate(name, perSecond);
      total += perSecond;
    }
    rateAt = now;
    $("rate").textContent = rate(total);
  }
  $("kept").textContent = counted(store.length, "line");
  $("kept").title = `Of at most ${count(store.capacity)}; ?lines=50000 in the address keeps less, or more`;
  $("skipped").textContent = feed.skipped > 0 ? `${count(feed.skipped)} skipped` : "";
  $("skipped").className = feed.skipped > 0 ? "lossy" : "";
  const { received, skipped, before } = feed;
  Object.assign($("lines").dataset, { received, skipped, before, kept: store.length });
  find.draw();
  seek();
}
setInterval(tick, 250);

let retryAt = 0;

function drawState(state, attempt) {
  const element = $("state");
  const names = { connecting: "connecting", open: "live", waiting: "not connected", closed: "closed" };
  element.textContent = names[state];
  element.className = `state ${state}`;
  // The first attempt is no trouble yet.
  const isTrouble = state === "waiting" || state === "closed" || (state === "connecting" && attempt > 0);
  $("banner").hidden = !isTrouble;
  $("retry").hidden = state !== "waiting";
  drawBanner();
}

function drawBanner() {
  if ($("banner").hidden) return;
  const seconds = Math.ceil((retryAt - performance.now()) / 1_000);
  const next = client.state === "waiting" && seconds > 0 ? `next attempt in ${seconds} s` : "trying again…";
  $("banner-text").textContent = `No connection to the server · ${next}`;
}
setInterval(drawBanner, 1_000);

client.on("state", ({ state, attempt, delay }) => {
  if (delay !== null) retryAt = performance.now() + delay;
  drawState(state, attempt);
});

let toastTimer = 0;

function toast(text) {
  clearTimeout(toastTimer);
  $("toast").textContent = text.slice(0, 300);
  $("toast").hidden = false;
  toastTimer = setTimeout(() => ($("toast").hidden = true), 4_000);
}

// What comes.

feed.onChange = () => {
  list.refresh();
  find.scan();
};
feed.onReplaced = () => {
  list.invalidate();
  find.scan();
};
feed.onStatus = (name, status) => {
  channels.setStatus(name, status);
  drawBadge();
};
feed.onProblem = toast;
store.onReplace = (id, removed, inserted) => {
  const top = list.topId;
  find.replaced(id);
  look.foundId = find.foundId;
  list.reset(top >= id + removed ? top + inserted - removed : top);
};
client.on("subscribed", () => setTimeout(seekFailed, 1_500));
channels.onChange = () => {
  drawBadge();
  if (hasChosenChannel || link.channels.length > 0) return;
  const { names } = channels;
  // The one there is, or the first there was: somebody who only opened the address sees something.
  if (names.length > 0) {
    hasChosenChannel = true;
    history.replaceState(null, "", formatLink({ channels: [names[0]] }));
    readLink();
  }
};
channels.onToggleAll = (isShown) => {
  writeLink({ channels: isShown ? channels.names : channels.names.slice(0, 1), line: null }, { isStep: true });
};
channels.onToggle = (name, isShown) => {
  const others = link.channels.filter((channel) => channel !== name);
  writeLink({ channels: isShown ? [...others, name] : others, line: null }, { isStep: true });
};

list.onAction = (action, id, event) => {
  if (action === "fetch") {
    feed.fetch(store.value(id), store.channel(id));
  } else if (action === "number") {
    if (event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const channel = store.channel(id);
    const seq = store.seq(id);
    if (event.shiftKey && chosen?.channel === channel) {
      chosen = { channel, from: Math.min(chosen.from, seq), to: Math.max(chosen.to, seq) };
    } else {
      chosen = { channel, from: seq, to: seq };
      writeLink({ line: { channel, seq } });
    }
    list.setFollowing(false);
    list.invalidate();
  }
};

// What is pressed.

function shownText() {
  const isChosen = chosen !== null && chosen.from !== chosen.to ? look.isChosen : () => true;
  return rowTexts(store, find.view, isChosen, look.showsChannel);
}

async function copy() {
  const selected = String(document.getSelection() ?? "");
  if (selected) {
    toast((await copyText(selected)) ? "Copied the selection" : "The browser does not let this page copy");
    return;
  }
  const lines = shownText();
  const taken = lines.slice(-MOST_COPIED);
  const isCopied = await copyText(taken.join(""));
  const of = taken.length < lines.length ? "the last " : "";
  toast(isCopied ? `Copied ${of}${counted(taken.length, "line")}` : "The browser does not let this page copy");
}

function download() {
  const name = link.channels.map(shortName).join("+").replace(/[^A-Za-z0-9_.+-]/g, "-").slice(0, 80) || "outrace";
  downloadParts(`${name}.log`, shownText());
}

function clear() {
  store.replace(store.first, store.length, []);
  chosen = null;
  list.setFollowing(true);
  list.invalidate();
}

function applySettings() {
  root.classList.toggle("no-times", !settings.times);
  root.classList.toggle("no-numbers", !settings.numbers);
  root.classList.toggle("no-channels", !settings.sidebar);
  $("toggle-channels").setAttribute("aria-expanded", String(settings.sidebar));
  $("lines").classList.toggle("wrap", settings.wrap);
  const isDark = settings.theme === "dark" || (settings.theme === "auto" && darkQuery.matches);
  root.dataset.theme = isDark ? "dark" : "light";
  for (const box of document.querySelectorAll("[data-setting]")) box.checked = settings[box.dataset.setting];
  for (const radio of document.querySelectorAll("[name=theme]")) radio.checked = radio.value === settings.theme;
  look.unfolds = settings.unfold;
  list.wraps = settings.wrap;
}

function change(name, value) {
  settings[name] = value;
  saveSettings(settings);
  applySettings();
}

const darkQuery = matchMedia("(prefers-color-scheme: dark)");
const phoneQuery = matchMedia("(max-width: 640px)");
darkQuery.addEventListener("change", applySettings);

function neighbour(direction) {
  const { names } = channels;
  if (names.length === 0) return;
  const at = names.indexOf(link.channels[0]);
  const next = names[(at + direction + names.length) % names.length];
  writeLink({ channels: [next], line: null }, { isStep: true });
}

$("find-text").addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  event.preventDefault();
  if (!find.clear()) $("lines").focus();
});
$("copy").addEventListener("click", copy);
$("download").addEventListener("click", download);
$("clear").addEventListener("click", () => {
  $("view").open = false;
  clear();
});
$("help").addEventListener("click", () => {
  $("view").open = false;
  $("keys").showModal();
});
$("retry").addEventListener("click", () => client.reconnect());
$("pill").addEventListener("click", () => {
  list.setFollowing(true);
  $("lines").focus({ preventScroll: true });
});
// It lies over the lines, but the wheel is meant for them.
$("pill").addEventListener("wheel", ({ deltaY }) => ($("lines").scrollTop += deltaY), { passive: true });
$("follow").addEventListener("click", () => list.setFollowing(!list.isFollowing));
$("toggle-channels").addEventListener("click", () => change("sidebar", !settings.sidebar));
$("channel-list").addEventListener("click", (event) => {
  if (phoneQuery.matches && event.target.closest("a")) change("sidebar", false);
});
document.addEventListener("change", (event) => {
  const { setting } = event.target.dataset;
  if (setting) change(setting, event.target.checked);
  else if (event.target.name === "theme") change("theme", event.target.value);
});
document.addEventListener("click", (event) => {
  if ($("view").open && !$("view").contains(event.target)) $("view").open = false;
});

const KEYS = {
  "/": () => $("find-text").select(),
  f: () => list.setFollowing(!list.isFollowing),
  G: () => list.setFollowing(true),
  End: () => list.setFollowing(true),
  g: () => list.toTop(),
  Home: () => list.toTop(),
  j: () => list.scrollBy(20),
  k: () => list.scrollBy(-20),
  w: () => change("wrap", !settings.wrap),
  t: () => change("times", !settings.times),
  n: () => change("numbers", !settings.numbers),
  u: () => change("unfold", !settings.unfold),
  b: () => change("sidebar", !settings.sidebar),
  c: copy,
  "[": () => neighbour(-1),
  "]": () => neighbour(1),
  "?": () => $("keys").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  if (event.key === "Escape") {
    $("view").open = false;
    if (chosen) {
      chosen = null;
      writeLink({ line: null });
      list.invalidate();
    }
    return;
  }
  const target = event.target instanceof Element ? event.target : null;
  if (target?.closest("input, textarea, select")) return;
  if (event.key === " " && !target?.closest("button, summary, a")) {
    event.preventDefault();
    list.scrollBy(event.shiftKey ? -list.pageHeight : list.pageHeight);
    return;
  }
  const act = Object.hasOwn(KEYS, event.key) ? KEYS[event.key] : null;
  if (!act) return;
  event.preventDefault();
  act();
});

function linesToKeep() {
  const asked = Number(new URLSearchParams(location.search).get("lines"));
  return Number.isSafeInteger(asked) && asked >= 100 ? Math.min(asked, MOST_LINES) : LINES;
}

addEventListener("hashchange", readLink);
if (phoneQuery.matches) settings.sidebar = false;
applySettings();
drawState(client.state, 0);
readLink();
drawEmpty();
