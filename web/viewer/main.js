// The page: puts the parts together, and answers to what is pressed.

import { connect } from "../outrace.js";
import { Channels } from "./channels.js";
import { assignColours } from "./colours.js";
import { Control } from "./control.js";
import { Feed } from "./feed.js";
import { Find, press } from "./find.js";
import { count, counted, rate, shortName, statusText, statusTone } from "./format.js";
import { Gate } from "./gate.js";
import { ALL, formatLink, isProcess, parseLink } from "./links.js";
import { List } from "./list.js";
import { copyText, downloadParts, rowTexts } from "./save.js";
import { Server, takeTokenFromAddress } from "./server.js";
import { loadSettings, saveSettings } from "./settings.js";
import { GAP, Store } from "./store.js";

const LINES = 200_000;
const MOST_LINES = 2_000_000;

/** Lines that go to the clipboard at once. */
const MOST_COPIED = 100_000;

/** Processes that are shown together when somebody opens the address without saying what. */
const MOST_AT_FIRST = 12;

const $ = (id) => document.getElementById(id);

const root = document.documentElement;
const settings = loadSettings();
const server = new Server(new URL("../", import.meta.url));
const tokenGiven = takeTokenFromAddress();
if (tokenGiven !== null) server.token = tokenGiven;
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
  colours: new Map(),
  colourOf: (channel) => look.colours.get(channel) ?? 0,
  hrefOf: (channel, seq) => formatLink({ ...link, line: { channel, seq }, filter: null }),
  isChosen: (channel, seq, kind) =>
    chosen !== null &&
    kind !== GAP &&
    channel === chosen.channel &&
    seq >= chosen.from &&
    seq <= chosen.to,
};
const list = new List($("lines"), store, find.view, look);
const client = connect(() => server.socket, { maxDelay: 10_000 });
const feed = new Feed(client, store);
const channels = new Channels({ list: $("channel-list"), none: $("no-channels") }, server);
const control = new Control(
  {
    group: $("control"),
    start: $("start"),
    restart: $("restart"),
    stop: $("stop"),
    sure: $("sure"),
    title: $("sure-title"),
  },
  server,
);
const gate = new Gate(
  { dialog: $("gate"), form: $("gate-form"), token: $("gate-token"), wrong: $("gate-wrong") },
  server,
);

/** What the address says: channels, line, filter. */
let link = { channels: [], line: null, filter: null };
/** The channels that are shown: those of the link, and for "all processes" those there are. */
let shown = [];
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
  if (channelsChanged) shown = [];
  chosen = next.line && { channel: next.line.channel, from: next.line.seq, to: next.line.seq };
  if (channelsChanged) {
    list.setFollowing(true);
    showChannels();
  }
  find.filter = next.filter;
  sought = next.line;
  seek();
  list.invalidate();
  drawTitle();
  drawEmpty();
  list.resize();
}

/** Shows what the link names. Of "all processes", one that is gone stays as long as the link does. */
function showChannels() {
  const showsAll = link.channels.includes(ALL);
  const names = new Set(shown);
  for (const channel of link.channels) {
    if (channel !== ALL) names.add(channel);
    else for (const process of channels.processes) names.add(process);
  }
  const line = link.line?.channel;
  if (showsAll && line) names.add(line);
  const isSame = names.size === shown.length && shown.length > 0;
  if (!isSame) {
    shown = [...names];
    look.showsChannel = shown.length > 1 || showsAll;
    look.colours = assignColours(shown, look.colours);
    const widest = Math.max(...shown.map((name) => shortName(name).length), 4);
    root.style.setProperty("--channel-width", `${Math.min(widest, 24)}ch`);
    feed.show(shown);
    list.invalidate();
  }
  channels.show(shown, showsAll, look.colours);
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
find.onMarks = () => list.invalidate();
find.onGivenUp = toast;
find.onStep = (id) => {
  look.foundId = id;
  list.show(id);
  list.invalidate();
};

// What is drawn beside the list.

function drawTitle() {
  const { channels: names } = link;
  const named = names.map((name) => (name === ALL ? "All processes" : shortName(name)));
  const title =
    names.length === 0
      ? "Outrace"
      : names.length <= 2
        ? named.join(" + ")
        : `${names.length} channels`;
  $("title").textContent = title;
  document.title = names.length === 0 ? "Outrace" : `${title} · Outrace`;
  $("lines").setAttribute(
    "aria-label",
    names.length === 0 ? "Lines" : `Lines of ${named.join(", ")}`,
  );
  drawBadge();
}

function drawBadge() {
  const only = link.channels.length === 1 && link.channels[0] !== ALL ? link.channels[0] : null;
  const status = only ? channels.status(only) : undefined;
  const process = only ? channels.process(only) : undefined;
  control.show(process, status);
  $("badge").hidden = !status;
  if (!status) return;
  if ($("badge").textContent !== statusText(status)) $("badge").textContent = statusText(status);
  $("badge").className = `badge ${statusTone(status)}`;
  const told = [];
  if (Number.isSafeInteger(process?.pid)) told.push(`pid ${process.pid}`);
  if (process?.restarts > 0) told.push(counted(process.restarts, "restart"));
  $("badge").title = told.join(", ");
}

function drawEmpty() {
  const element = $("empty");
  element.replaceChildren();
  const { view, isHiding } = find;
  element.classList.toggle("below", view.end > view.first);
  // Gaps stay listed; a few leave room to say that nothing else does.
  if (
    isHiding
      ? find.matchCount > 0 || !find.isComplete || view.end - view.first > 5
      : view.end > view.first
  )
    return;
  const say = (title, text, code) => {
    const strong = document.createElement("strong");
    strong.textContent = title;
    element.append(strong, document.createTextNode(text));
    if (!code) return;
    const example = document.createElement("code");
    example.textContent = code;
    element.append(example);
  };
  if (isHiding && store.length > 0)
    say(
      "Nothing matches",
      `None of ${counted(store.length, "line")}; new ones that do will appear here.`,
    );
  else if (link.channels.length > 0) say("No line yet", "New lines will appear here as they come.");
  else if (channels.names.length > 0) say("Choose a channel", "They are listed at the side.");
  else
    say(
      "Nothing to show yet",
      "Start something, and it will appear here:",
      "outrace run -- ping localhost",
    );
}

function drawFollow() {
  const isFollowing = list.isFollowing;
  press($("follow"), isFollowing);
  const { unseen } = list;
  $("pill").hidden = isFollowing;
  const text = unseen > 0 ? `${count(unseen)} new` : "Follow";
  if ($("pill-text").textContent !== text) $("pill-text").textContent = text;
}

let drawnEmpty = "";

list.onRender = () => {
  drawFollow();
  // As far as it changes what is said where nothing is.
  const emptiness = `${find.view.end === find.view.first} ${find.matchCount === 0} ${find.isComplete}`;
  if (emptiness !== drawnEmpty) drawEmpty();
  drawnEmpty = emptiness;
};
list.onFollow = drawFollow;

let rateAt = performance.now();
const rateCounts = new Map();

/** What need not be drawn with every frame. */
function tick() {
  const now = performance.now();
  if (now - rateAt >= 900) {
    let total = 0;
    for (const name of shown) {
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
  $("kept").title =
    `Of at most ${count(store.capacity)}; ?lines=50000 in the address keeps less, or more`;
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
  const names = {
    connecting: "connecting",
    open: "live",
    waiting: "not connected",
    closed: "closed",
  };
  element.textContent = names[state];
  element.className = `state ${state}`;
  // The first attempt is no trouble yet.
  const isTrouble =
    state === "waiting" || state === "closed" || (state === "connecting" && attempt > 0);
  $("banner").hidden = !isTrouble;
  $("retry").hidden = state !== "waiting" || gate.isOpen;
  drawBanner();
}

function drawBanner() {
  if ($("banner").hidden) return;
  if (gate.isOpen) {
    $("banner-text").textContent = "Not connected · waiting for a token";
    return;
  }
  const seconds = Math.ceil((retryAt - performance.now()) / 1_000);
  const next =
    client.state === "waiting" && seconds > 0 ? `next attempt in ${seconds} s` : "trying again…";
  $("banner-text").textContent = `No connection to the server · ${next}`;
}
setInterval(drawBanner, 1_000);

client.on("state", ({ state, attempt, delay }) => {
  if (delay !== null) retryAt = performance.now() + delay;
  drawState(state, attempt);
  if (state === "waiting" && delay !== Infinity) whyNot();
});

/** A page is not told why a connection was refused: an ordinary request is. */
async function whyNot() {
  const { status } = await server.ask("ws");
  if (status === 401 && client.state !== "open") refused();
}

function refused() {
  client.pause();
  gate.open();
  drawState(client.state, 1);
}

channels.onRefused = refused;
gate.onTry = async () => {
  const { status, text } = await server.ask("api/channels");
  if (status !== 401) {
    client.reconnect();
    channels.look();
  }
  return status === 401
    ? "The server did not accept this token."
    : status === 0 || status >= 400
      ? text || "The server does not answer."
      : "";
};
control.onProblem = toast;
control.onDone = () => channels.look();

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
  find.replaced(id);
  look.foundId = find.foundId;
  list.replaced(id, removed, inserted);
};
client.on("subscribed", () => setTimeout(seekFailed, 1_500));
channels.onChange = () => {
  drawBadge();
  if (link.channels.includes(ALL)) {
    const before = shown.length;
    showChannels();
    if (before !== shown.length) drawEmpty();
  }
  if (hasChosenChannel || link.channels.length > 0) return;
  const { names, processes } = channels;
  // Somebody who only opened the address sees something: what there is, if it isn't too much.
  if (names.length > 0) {
    hasChosenChannel = true;
    const isFew = processes.length > 1 && processes.length <= MOST_AT_FIRST;
    history.replaceState(null, "", formatLink({ channels: [isFew ? ALL : names[0]] }));
    readLink();
  }
};
channels.onToggle = (name, isShown) => {
  let others = link.channels.filter((channel) => channel !== name);
  if (name === ALL && isShown) others = others.filter((channel) => !isProcess(channel));
  // All but one is no longer all.
  if (isProcess(name) && others.includes(ALL))
    others = [
      ...others.filter((channel) => channel !== ALL),
      ...shown.filter((other) => isProcess(other) && other !== name),
    ];
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
    toast(
      (await copyText(selected))
        ? "Copied the selection"
        : "The browser does not let this page copy",
    );
    return;
  }
  const lines = shownText();
  const taken = lines.slice(-MOST_COPIED);
  const isCopied = await copyText(taken.join(""));
  const of = taken.length < lines.length ? "the last " : "";
  toast(
    isCopied
      ? `Copied ${of}${counted(taken.length, "line")}`
      : "The browser does not let this page copy",
  );
}

function download() {
  const name =
    link.channels
      .map((channel) => (channel === ALL ? "processes" : shortName(channel)))
      .join("+")
      .replace(/[^A-Za-z0-9_.+-]/g, "-")
      .slice(0, 80) || "outrace";
  downloadParts(`${name}.log`, shownText());
}

async function share() {
  const url = new URL(location.href);
  url.searchParams.delete("token");
  toast(
    (await copyText(url.href))
      ? "Copied a link to what is shown"
      : "The browser does not let this page copy",
  );
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
  for (const box of document.querySelectorAll("[data-setting]"))
    box.checked = settings[box.dataset.setting];
  for (const radio of document.querySelectorAll("[name=theme]"))
    radio.checked = radio.value === settings.theme;
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
  const at = link.channels[0] === ALL && direction < 0 ? 0 : names.indexOf(link.channels[0]);
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
$("share").addEventListener("click", () => {
  $("view").open = false;
  share();
});
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
$("pill").addEventListener("wheel", ({ deltaY }) => ($("lines").scrollTop += deltaY), {
  passive: true,
});
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
  l: share,
  "[": () => neighbour(-1),
  "]": () => neighbour(1),
  "?": () => $("keys").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]"))
    return;
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
channels.look();
