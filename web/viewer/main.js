// The page: creates its parts and connects them.

import { connect } from "../outrace.js";
import { Channels } from "./channels.js";
import { ConnectionState } from "./connection-state.js";
import { Control } from "./control.js";
import { EmptyText } from "./empty-text.js";
import { Exporter } from "./exporter.js";
import { Feed } from "./feed.js";
import { Find } from "./find.js";
import { FollowControls } from "./follow-controls.js";
import { count, shortName } from "./format.js";
import { bindKeys } from "./keys.js";
import { ALL } from "./links.js";
import { List } from "./list.js";
import { LineSeeker, Navigation } from "./navigation.js";
import { OlderLines } from "./older-lines.js";
import { PartialRows } from "./partial-rows.js";
import { RowContext } from "./row.js";
import { RowDrag } from "./row-drag.js";
import { RowSelection } from "./row-selection.js";
import { SelectionBar } from "./selection-bar.js";
import { Selection } from "./selection.js";
import { Server, takeTokenFromAddress } from "./server.js";
import { ShownChannels } from "./shown-channels.js";
import { StatusBar } from "./status-bar.js";
import { Store } from "./store.js";
import { TitleBar } from "./title-bar.js";
import { Toast } from "./toast.js";
import { TokenDialog } from "./token-dialog.js";
import { ViewMenu, ViewSettings } from "./view.js";

/** Twice this time is the most after which a dead connection is noticed. */
const HEARTBEAT_MS = 7_000;

const DEFAULT_CAPACITY = 200_000;
const MIN_CAPACITY = 100;
const MAX_CAPACITY = 2_000_000;

/** How often the figures that change with every line are drawn. */
const FIGURES_INTERVAL_MS = 250;

/** The time after a subscription in which the line of the address may still arrive. */
const SEEK_TIMEOUT_MS = 1_500;

/** How long the page says that the line of its address is missing. */
const MISSING_MS = 20_000;

const KEY_SCROLL_PX = 20;

/** The rows by which Shift and PageUp or PageDown extend the selection. */
const PAGE_ROWS = 30;

const $ = (id) => document.getElementById(id);

// A page at a path without a slash at its end has a base, for its scripts and styles. All are
// requested now. With a base, `#lines` and the links to lines would lead to another page.
document.querySelector("base")?.remove();

const server = new Server(new URL("../", import.meta.url));
const givenToken = takeTokenFromAddress();
if (givenToken !== null) server.token = givenToken;
const client = connect(() => server.socket, { maxDelay: 10_000, heartbeat: HEARTBEAT_MS });

// The data, without elements.

const store = new Store({ capacity: capacityFromAddress() });
const feed = new Feed(client, store);
const navigation = new Navigation();
const selection = new Selection();
const shown = new ShownChannels();
const rowSelection = new RowSelection();
const context = new RowContext(navigation, selection, rowSelection);

// The parts of the page.

const lines = $("lines");
document.querySelector("a.skip").addEventListener("click", (event) => {
  // The address names channels. It would name one that is called "lines".
  event.preventDefault();
  lines.focus();
});
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
const list = new List(lines, store, find.view, context);
const olderLines = new OlderLines(list.head, feed, store);
const partialRows = new PartialRows($("partials"), context);
const channels = new Channels({ list: $("channel-list"), none: $("no-channels") }, server);
const control = new Control(
  {
    group: $("control"),
    start: $("start"),
    restart: $("restart"),
    stop: $("stop"),
    dialog: $("stop-dialog"),
    title: $("stop-dialog-title"),
  },
  server,
);
const tokenDialog = new TokenDialog(
  {
    dialog: $("token-dialog"),
    form: $("token-dialog-form"),
    token: $("token"),
    wrong: $("token-dialog-wrong"),
  },
  server,
);
const connection = new ConnectionState(
  { state: $("state"), banner: $("banner"), bannerText: $("banner-text"), retry: $("retry") },
  client,
  server,
  tokenDialog,
);
const titleBar = new TitleBar({ title: $("title"), badge: $("badge"), lines });
const statusBar = new StatusBar(
  { rate: $("rate"), kept: $("kept"), skipped: $("skipped"), lines },
  store,
  feed,
);
const emptyText = new EmptyText($("empty"), {
  store,
  find,
  navigation,
  channels,
  feed,
  connection,
  server,
});
emptyText.onClearFilter = () => find.clear();
emptyText.onToken = () => connection.refuse(true);
connection.onChange = () => emptyText.update();
const followControls = new FollowControls(
  { button: $("follow"), pill: $("pill"), pillText: $("pill-text"), lines },
  list,
);
const toast = new Toast($("toast"));
const tell = (text) => toast.show(text);
const settings = new ViewSettings({
  lines,
  toggleChannels: $("toggle-channels"),
  channelList: $("channel-list"),
});
const exporter = new Exporter({ store, find, selection, rowSelection, context });
const rowDrag = new RowDrag(lines, list, rowSelection);
const selectionBar = new SelectionBar(
  {
    bar: $("selection"),
    text: $("selection-text"),
    copy: $("selection-copy"),
    times: $("selection-times"),
    link: $("selection-link"),
    download: $("selection-download"),
    close: $("selection-close"),
  },
  {
    copy: () => exporter.copy(),
    times: () => exporter.copy({ hasTimes: true }),
    link: linkSelection,
    download: () => exporter.download(navigation.channels, { isSelected: true }),
    close: () => rowSelection.clear(),
  },
);
rowSelection.onChange = () => {
  drawSelection();
  list.invalidate();
};
const seeker = new LineSeeker(store, list);
const menu = new ViewMenu($("view"), [
  [$("share"), () => exporter.share()],
  [$("clear"), clearScreen],
  [$("help"), showKeys],
]);

// The address and the channels it names.

navigation.onRead = ({ channelsChanged }) => {
  selection.choose(navigation.line);
  if (channelsChanged) {
    const before = shown.names;
    shown.clear();
    showChannels();
    // With a channel that stays, so does the place where its lines are read.
    if (!before.some((name) => shown.names.includes(name))) list.setFollowing(true);
  }
  find.filter = navigation.filter;
  seeker.seek(navigation.line);
  list.invalidate();
  titleBar.showChannels(navigation.channels);
  showStatus();
  emptyText.update();
  list.resize();
};
seeker.onMissing = async ({ channel, seq, epoch }) => {
  await feed.past.loadBack(channel, seq, epoch);
  const id = store.findSeq(channel, seq, epoch);
  if (id >= 0) {
    list.show(id);
    return;
  }
  const line = `Line ${count(seq)} of ${shortName(channel)}`;
  const isEarlier = epoch && epoch !== store.epochOf(channel);
  const why = isEarlier
    ? "belongs to an earlier run of the server, whose lines are gone"
    : "is not here: it is no longer kept, or has not come yet";
  toast.show(`${line} ${why}.`, MISSING_MS);
};

function showChannels() {
  if (shown.update(navigation, channels.processes)) {
    context.showsChannel = shown.needNames;
    context.colors = shown.colors;
    document.documentElement.style.setProperty("--channel-width", `${shown.nameWidth}ch`);
    feed.show(shown.names, (name) => (shown.showsAll ? channels.place(name) : undefined));
    list.invalidate();
  }
  channels.show(shown.names, shown.showsAll, shown.colors);
}

function showStatus() {
  const name = navigation.onlyChannel;
  const status = name === null ? undefined : channels.status(name);
  const process = name === null ? undefined : channels.process(name);
  control.show(process, status);
  titleBar.showStatus(status, process);
}

channels.onChange = () => {
  showStatus();
  if (navigation.channels.includes(ALL)) {
    const before = shown.names.length;
    showChannels();
    if (before !== shown.names.length) emptyText.update();
  }
  navigation.openDefault(channels);
};
channels.onToggle = (name, isShown) => navigation.toggle(name, isShown, shown.names);
channels.onRefused = () => connection.refuse();
control.onProblem = tell;
control.onDone = () => channels.poll();
tokenDialog.onTry = async () => {
  const { status, text } = await server.ask("api/channels");
  if (status === 401) return "The server did not accept this token.";
  client.reconnect();
  channels.poll();
  return status === 0 || status >= 400 ? text || "The server does not answer." : "";
};

// Lines that arrive.

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
  showStatus();
};
feed.onPartial = (name, text) => partialRows.show(name, text);
feed.onProblem = tell;
store.onReplace = (id, moved) => {
  find.replaced(id, moved);
  context.foundId = find.foundId;
  rowSelection.replaced(moved);
  rowDrag.replaced(moved);
  list.replaced(moved);
};
client.on("subscribed", () => setTimeout(() => seeker.giveUp(), SEEK_TIMEOUT_MS));

// Filter and find.

find.onInput = () => navigation.write({ filter: find.filter });
find.onApply = (view, matcher) => {
  context.matcher = matcher;
  context.foundId = -1;
  list.setView(view);
  emptyText.update();
};
find.onProgress = () => list.refresh();
find.onMarks = () => list.invalidate();
find.onGivenUp = tell;
find.onStep = (id) => {
  context.foundId = id;
  list.show(id);
  list.invalidate();
};

// The list and the settings of the view.

list.onRender = () => {
  list.hasHead = olderLines.draw();
  followControls.draw();
  emptyText.update();
};
list.onFollow = () => followControls.draw();
list.onAction = (action, id, event) => {
  if (action === "fetch") feed.past.fetch(store.value(id), store.channel(id));
  else if (action === "number") chooseLine(id, event);
};
settings.onApply = ({ wrap, unfold }) => {
  context.unfolds = unfold;
  list.wraps = wrap;
};
exporter.onMessage = tell;
statusBar.onRate = (name, perSecond) => channels.setRate(name, perSecond);
setInterval(() => {
  statusBar.draw(shown.names);
  drawSelection();
  find.draw();
  seeker.retry();
}, FIGURES_INTERVAL_MS);

function chooseLine(id, event) {
  // With these keys the browser opens the link in another tab.
  if (event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const line = { channel: store.channel(id), seq: store.seq(id), epoch: store.epoch(id) };
  if (!event.shiftKey || !selection.extendTo(line)) selection.choose(line);
  navigation.write({ line: selection.line });
  list.setFollowing(false);
  list.invalidate();
}

function clearScreen() {
  rowSelection.clear();
  store.clear();
  feed.cleared();
  selection.clear();
  list.setFollowing(true);
  list.invalidate();
}

function drawSelection() {
  const { from, end } = rowSelection.ordinals(find.view);
  selectionBar.draw(end - from);
}

/** Puts the selected lines of the first one's channel into the address, and copies that. */
function linkSelection() {
  const { from, end } = rowSelection.ordinals(find.view);
  let line = null;
  for (let ordinal = from; ordinal < end; ordinal += 1) {
    const id = find.view.idAt(ordinal);
    const [channel, seq, epoch] = [store.channel(id), store.seq(id), store.epoch(id)];
    if (!(seq > 0)) continue;
    line ??= { channel, seq, to: seq, epoch };
    if (channel === line.channel && epoch === line.epoch) line.to = seq;
  }
  if (!line) return;
  selection.choose(line);
  navigation.write({ line });
  list.invalidate();
  exporter.share();
}

/** Moves the end of the selection by rows. The first step selects the row at the screen's edge. */
function extendSelection(rows) {
  const { view } = find;
  if (view.end === view.first) return;
  list.setFollowing(false);
  if (rowSelection.isEmpty) {
    const { top, bottom } = lines.getBoundingClientRect();
    const id = list.idAt(rows > 0 ? top : bottom);
    rowSelection.select(id, id);
    return;
  }
  const ordinal = view.ordinalOf(rowSelection.head) + rows;
  const head = view.idAt(Math.max(view.first, Math.min(view.end - 1, ordinal)));
  rowSelection.select(rowSelection.anchor, head);
  list.reveal(head);
}

function move(pixels, rows) {
  return (event) => (event.shiftKey ? extendSelection(rows) : list.scrollBy(pixels()));
}

function selectAll() {
  const { view } = find;
  if (view.end === view.first) return;
  list.setFollowing(false);
  document.getSelection()?.removeAllRanges();
  rowSelection.select(view.idAt(view.first), view.idAt(view.end - 1));
}

function showKeys() {
  $("keys").showModal();
}

$("copy").addEventListener("click", () => exporter.copy());
$("download").addEventListener("click", () => exporter.download(navigation.channels));
$("find-text").addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  event.preventDefault();
  if (!find.clear()) lines.focus();
});

bindKeys(
  {
    "/": () => $("find-text").select(),
    f: () => list.setFollowing(!list.isFollowing),
    G: () => list.setFollowing(true),
    End: () => list.setFollowing(true),
    g: () => list.toTop(),
    Home: () => list.toTop(),
    j: () => list.scrollBy(KEY_SCROLL_PX),
    k: () => list.scrollBy(-KEY_SCROLL_PX),
    ArrowDown: move(() => KEY_SCROLL_PX, 1),
    ArrowUp: move(() => -KEY_SCROLL_PX, -1),
    PageDown: move(() => list.pageHeight, PAGE_ROWS),
    PageUp: move(() => -list.pageHeight, -PAGE_ROWS),
    w: () => settings.toggle("wrap"),
    t: () => settings.toggle("times"),
    n: () => settings.toggle("numbers"),
    u: () => settings.toggle("unfold"),
    b: () => settings.toggle("sidebar"),
    c: () => exporter.copy(),
    l: () => exporter.share(),
    "[": () => navigation.step(-1, channels.names),
    "]": () => navigation.step(1, channels.names),
    "?": showKeys,
  },
  {
    onEscape() {
      menu.close();
      if (!rowSelection.isEmpty) {
        rowSelection.clear();
        return;
      }
      if (selection.isEmpty) return;
      selection.clear();
      navigation.write({ line: null });
      list.invalidate();
    },
    onCommand(key) {
      if (key === "a") selectAll();
      // In the find box it is the browser's.
      else if (key === "f") find.open();
      else if (key === "c" && !rowSelection.isEmpty && !String(getSelection())) exporter.copy();
      else return false;
      return true;
    },
    onPage: (direction) => list.scrollBy(direction * list.pageHeight),
  },
);

function capacityFromAddress() {
  const asked = Number(new URLSearchParams(location.search).get("lines"));
  const isValid = Number.isSafeInteger(asked) && asked >= MIN_CAPACITY;
  return isValid ? Math.min(asked, MAX_CAPACITY) : DEFAULT_CAPACITY;
}

settings.apply();
navigation.read();
emptyText.update();
channels.poll();
