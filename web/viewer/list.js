// The lines on the screen. Only the visible rows have elements.
//
// The position in the list is a row and its distance from the top edge (the anchor) instead of a
// scroll position. A row therefore stays in place while others are added at the end, are dropped at
// the front, or turn out to be higher than estimated. The browser scrolls a tall empty element. The
// distance it moves is added to the anchor. When scrolling ends, the scroll position is set to
// match the anchor.

import { plainText } from "./ansi.js";
import { Heights } from "./heights.js";
import { Row } from "./row.js";
import { GAP, LINE, UNFOLDED, WHOLE } from "./store.js";

const LINE_HEIGHT_PX = 20;
const GAP_LINES = 2;

/** The height of what stands above the first row, in lines. */
const HEAD_LINES = 2;

/** Browsers can't lay out much more. In a longer list, the scroll bar is scaled down. */
const MAX_HEIGHT_PX = 8_000_000;

/**
 * The time between two frames while whole screens of lines go by. Nobody reads faster, and the page
 * stays responsive.
 */
const FLOOD_INTERVAL_MS = 66;

const SCROLL_REST_MS = 150;

/**
 * The most times that rows are placed within one frame because some had another height than
 * estimated.
 */
const MAX_LAYOUT_ROUNDS = 12;

export class List {
  #scroller;
  #content;
  #window;
  #rowsElement;
  #head;
  #hasHead = false;
  #store;
  #view;
  #context;
  #heights;
  #rows = [];
  #free = [];
  #rowOf = new WeakMap();
  #isFollowing = true;
  #anchor = { ordinal: 0, y: 0 };
  #placed = { start: 0, end: 0, y: 0 };
  /** The id of the row at the top when rows were last placed, or -1. */
  #topId = -1;
  /** The distance of that row from the top edge. */
  #topY = 0;
  /** The id after the newest row at the time when following ended. */
  #seenEnd = 0;
  #lastTop = 0;
  #lastHeight = 0;
  #lastScroll = -Infinity;
  #lastRender = -Infinity;
  #turnover = 0;
  #frame = 0;
  #timer = 0;
  #columns = 80;
  #widest = 0;
  #wraps = false;
  onFollow = () => {};
  onAction = () => {};
  onRender = () => {};

  /** Takes `context`, which rows are filled from. Call `invalidate` after every change to it. */
  constructor(scroller, store, view, context) {
    this.#scroller = scroller;
    this.#store = store;
    this.#view = view;
    this.#context = context;
    this.#heights = new Heights(store.capacity);
    this.#content = element("content");
    this.#window = element("window");
    this.#rowsElement = element("rows");
    this.#head = element("head");
    this.#window.append(this.#head, this.#rowsElement);
    this.#content.append(this.#window);
    scroller.append(this.#content);
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    scroller.addEventListener("wheel", (event) => this.#wheeled(event.deltaY), { passive: true });
    this.#rowsElement.addEventListener("click", (event) => this.#clicked(event));
    document.addEventListener("selectionchange", () => this.#selected());
    new ResizeObserver(() => this.resize()).observe(scroller);
    this.resize();
  }

  /** The element above the first row. */
  get head() {
    return this.#head;
  }

  /** Shows or hides what stands above the first row. */
  set hasHead(hasHead) {
    if (this.#hasHead === hasHead) return;
    this.#hasHead = hasHead;
    this.refresh(true);
  }

  get isFollowing() {
    return this.#isFollowing;
  }

  /** The number of rows added since following ended. */
  get unseen() {
    return this.#isFollowing
      ? 0
      : Math.max(0, this.#view.end - this.#view.ordinalOf(this.#seenEnd));
  }

  set wraps(wraps) {
    this.#wraps = wraps;
    this.resize();
  }

  /** Shows another view. The rows on the screen stay there if possible. */
  setView(view) {
    this.#view = view;
    this.reset(this.topId);
  }

  /** Estimates all heights again and keeps `id` at the top. */
  reset(id = -1) {
    this.#heights.clear(this.#view.first);
    this.#widest = 0;
    this.#content.style.minWidth = "";
    if (id >= 0) {
      const ordinal = this.#view.ordinalOf(id);
      // The first row is anchored by what stands above it.
      const y = ordinal === this.#view.first ? Math.min(0, this.#placed.y) : this.#topY;
      this.#anchor = { ordinal, y };
    }
    this.invalidate();
  }

  /** Handles a renumbering of the rows. Those on the screen stay there if possible. */
  replaced(moved) {
    this.#seenEnd = moved(this.#seenEnd);
    if (this.#topId >= 0) this.#topId = moved(this.#topId);
    this.reset(this.topId);
  }

  /**
   * The id of the row at the top, or -1 if the list follows or is empty. `reset` keeps it in place.
   */
  get topId() {
    return this.#isFollowing ? -1 : this.#topId;
  }

  /** Fills all rows again. */
  invalidate() {
    this.#context.version += 1;
    this.refresh(true);
  }

  /** Draws new rows with the next frame, or later during a flood. `isUrgent` skips that delay. */
  refresh(isUrgent = false) {
    if (isUrgent && this.#timer) {
      clearTimeout(this.#timer);
      this.#timer = 0;
    }
    if (this.#frame || this.#timer) return;
    const isFlood = this.#turnover >= 0.5;
    const next = this.#lastRender + FLOOD_INTERVAL_MS;
    const wait = isUrgent || !isFlood ? 0 : next - performance.now();
    const request = () => {
      this.#timer = 0;
      this.#frame = requestAnimationFrame(() => {
        this.#frame = 0;
        this.#render();
      });
    };
    if (wait > 4) this.#timer = setTimeout(request, wait);
    else request();
  }

  resize() {
    const style = getComputedStyle(this.#scroller);
    const character = measureCharacter(this.#scroller);
    const gutter = this.#gutter();
    this.#columns = Math.max(
      8,
      Math.floor(
        (this.#scroller.clientWidth - gutter - Number.parseFloat(style.paddingLeft || 0)) /
          character,
      ),
    );
    this.#window.style.height = `${this.#scroller.clientHeight}px`;
    this.reset(this.topId);
  }

  setFollowing(isFollowing) {
    if (this.#isFollowing === isFollowing) return;
    this.#isFollowing = isFollowing;
    if (!isFollowing) {
      this.#anchor = { ordinal: this.#placed.start, y: this.#placed.y };
      this.#seenEnd = this.#store.end;
    }
    this.onFollow(isFollowing);
    this.refresh(true);
  }

  /** Returns the id of the row at a place of the window, or nearest to it. Without rows, -1. */
  idAt(clientY) {
    const { top, bottom } = this.#scroller.getBoundingClientRect();
    const y = Math.max(top, Math.min(bottom - 1, clientY));
    for (const row of this.#rows) if (y < row.element.getBoundingClientRect().bottom) return row.id;
    return this.#rows.at(-1)?.id ?? -1;
  }

  /** Scrolls as little as shows a row. */
  reveal(id) {
    const row = this.#rows.find((shown) => shown.id === id)?.element.getBoundingClientRect();
    const { top, bottom } = this.#scroller.getBoundingClientRect();
    if (!row) this.show(id);
    else if (row.top < top) this.scrollBy(row.top - top);
    else if (row.bottom > bottom) this.scrollBy(row.bottom - bottom);
  }

  toTop() {
    this.setFollowing(false);
    this.#anchor = { ordinal: this.#view.first, y: 0 };
    this.refresh(true);
  }

  scrollBy(pixels) {
    if (pixels < 0) this.setFollowing(false);
    this.#anchor.y -= pixels;
    this.refresh(true);
  }

  get pageHeight() {
    return this.#scroller.clientHeight - LINE_HEIGHT_PX;
  }

  /** Shows a row in the middle of the screen. */
  show(id) {
    this.setFollowing(false);
    this.#anchor = {
      ordinal: this.#view.ordinalOf(id),
      y: Math.floor(this.#scroller.clientHeight / 2),
    };
    this.refresh(true);
  }

  // Placing the rows.

  #render() {
    const viewport = this.#scroller.clientHeight;
    this.#lastRender = performance.now();
    this.#syncHeights();
    const reference = { ...this.#anchor };
    // A wrong estimate changes which rows fit. Two rounds are nearly always enough.
    let isStable = false;
    for (let round = 0; round < MAX_LAYOUT_ROUNDS && !isStable; round += 1) {
      this.#anchor = { ...reference };
      const { start, end } = this.#isFollowing
        ? this.#lastRows(viewport)
        : this.#rowsFromAnchor(viewport);
      this.#place(start, end);
      isStable = !this.#measure();
    }
    const { start, end } = this.#placed;
    let height = 0;
    for (let ordinal = start; ordinal < end; ordinal += 1) height += this.#height(ordinal);
    let y = this.#anchor.y;
    if (this.#isFollowing)
      y = start === this.#view.first && height < viewport ? 0 : viewport - height;
    this.#placed.y = y;
    this.#topId = end > start ? this.#view.idAt(start) : -1;
    const head = start === this.#view.first && end > start ? this.#headLines * LINE_HEIGHT_PX : 0;
    this.#topY = y + head;
    this.#head.hidden = head === 0;
    this.#head.style.transform = `translateY(${y}px)`;
    this.#rowsElement.style.transform = `translateY(${y + head}px)`;
    this.#syncScroll(viewport);
    this.#growWidth();
    this.onRender();
    if (!isStable) this.refresh(true);
  }

  #syncHeights() {
    const { first, end } = this.#view;
    const heights = this.#heights;
    if (heights.end < first || heights.end > end) heights.clear(first);
    heights.dropUntil(first);
    while (heights.end < end) heights.push(this.#guess(this.#view.idAt(heights.end)));
  }

  #guess(id) {
    const store = this.#store;
    const kind = store.kind(id);
    if (kind === GAP) return GAP_LINES;
    if (kind !== LINE || !this.#wraps) return 1;
    const text = store.value(id).slice(0, 20_000);
    // Escapes take no room.
    const length =
      text.includes("\x1b") || text.includes("\r") ? plainText(text).length : text.length;
    return Math.max(1, Math.ceil(Math.min(length, 5_000) / this.#columns));
  }

  /** The height of a row, with what stands above the first one. */
  #height(ordinal) {
    const head = ordinal === this.#view.first ? this.#headLines : 0;
    return (this.#heights.at(ordinal) + head) * LINE_HEIGHT_PX;
  }

  get #headLines() {
    return this.#hasHead ? HEAD_LINES : 0;
  }

  get #totalLines() {
    return this.#heights.total + this.#headLines;
  }

  #lastRows(viewport) {
    const { first, end } = this.#view;
    let start = end;
    for (let height = 0; start > first && height < viewport;) height += this.#height(--start);
    return { start, end };
  }

  #rowsFromAnchor(viewport) {
    const { first, end } = this.#view;
    const anchor = this.#anchor;
    if (anchor.ordinal < first) Object.assign(anchor, { ordinal: first, y: 0 });
    if (anchor.ordinal >= end) Object.assign(anchor, { ordinal: Math.max(first, end - 1) });
    this.#raise(anchor);
    while (anchor.ordinal < end - 1 && anchor.y + this.#height(anchor.ordinal) <= 0) {
      anchor.y += this.#height(anchor.ordinal);
      anchor.ordinal += 1;
    }
    let stop = anchor.ordinal;
    let bottom = anchor.y;
    while (stop < end && bottom < viewport) bottom += this.#height(stop++);
    if (stop === end && bottom < viewport) {
      anchor.y += viewport - bottom;
      this.#raise(anchor);
    }
    return { start: anchor.ordinal, end: stop };
  }

  /**
   * Moves the anchor up by whole rows until it is at the top edge. The first row has none above it.
   */
  #raise(anchor) {
    while (anchor.y > 0 && anchor.ordinal > this.#view.first) {
      anchor.ordinal -= 1;
      anchor.y -= this.#height(anchor.ordinal);
    }
    if (anchor.y > 0) anchor.y = 0;
  }

  #place(start, end) {
    const rows = this.#rows;
    const version = this.#context.version;
    while (rows.length > 0 && rows[0].ordinal < start) this.#free.push(rows.shift());
    while (rows.length > 0 && rows.at(-1).ordinal >= end) this.#free.push(rows.pop());
    if (rows.length > 0 && (rows[0].ordinal >= end || rows.at(-1).ordinal < start))
      this.#free.push(...rows.splice(0));
    const kept = rows.length;
    let filled = 0;
    const from = kept > 0 ? rows[0].ordinal : end;
    const to = kept > 0 ? rows.at(-1).ordinal + 1 : end;
    if (kept === 0) {
      // No row stays on the screen: the elements keep their places and take other rows.
      const all = Array.from(this.#rowsElement.children, (child) => this.#rowOf.get(child));
      this.#rows = all;
      for (let ordinal = start; ordinal < end; ordinal += 1, filled += 1) {
        const row = all[ordinal - start] ?? this.#addRow();
        this.#fill(row, ordinal);
      }
      this.#free = this.#rows.splice(end - start);
    } else {
      for (let ordinal = from - 1; ordinal >= start; ordinal -= 1, filled += 1) {
        const row = this.#free.pop() ?? this.#newRow();
        this.#rowsElement.insertBefore(row.element, rows[0].element);
        rows.unshift(row);
        this.#fill(row, ordinal);
      }
      for (let ordinal = to; ordinal < end; ordinal += 1, filled += 1) {
        const row = this.#free.pop() ?? this.#newRow();
        this.#rowsElement.insertBefore(row.element, rows.at(-1).element.nextSibling);
        rows.push(row);
        this.#fill(row, ordinal);
      }
      for (const row of rows) if (row.version !== version) this.#fill(row, row.ordinal);
    }
    for (const row of this.#free) {
      row.ordinal = -1;
      row.element.hidden = true;
    }
    this.#turnover = end > start ? filled / (end - start) : 0;
    this.#placed = { start, end, y: this.#anchor.y };
  }

  #newRow() {
    const row = new Row();
    this.#rowOf.set(row.element, row);
    return row;
  }

  #addRow() {
    const row = this.#newRow();
    this.#rowsElement.append(row.element);
    this.#rows.push(row);
    return row;
  }

  #fill(row, ordinal) {
    row.ordinal = ordinal;
    row.element.hidden = false;
    row.fill(this.#store, this.#view.idAt(ordinal), this.#context);
  }

  /** Returns whether a height differs from its estimate. */
  #measure() {
    let isChanged = false;
    for (const row of this.#rows) {
      const guessed = this.#heights.at(row.ordinal);
      if (!this.#wraps && !row.isTall && guessed <= GAP_LINES) continue;
      const lines = Math.max(1, Math.round(row.element.offsetHeight / LINE_HEIGHT_PX));
      if (lines === guessed) continue;
      this.#heights.set(row.ordinal, lines);
      isChanged = true;
    }
    return isChanged;
  }

  // The browser's scrolling.

  #syncScroll(viewport) {
    const total = this.#totalLines * LINE_HEIGHT_PX;
    const height = Math.max(viewport, Math.min(total, MAX_HEIGHT_PX));
    if (height !== this.#lastHeight) {
      this.#lastHeight = height;
      this.#content.style.height = `${height}px`;
    }
    const isResting = performance.now() - this.#lastScroll > SCROLL_REST_MS;
    if (!this.#isFollowing && !isResting) {
      setTimeout(() => this.refresh(true), SCROLL_REST_MS);
      return;
    }
    delete this.#scroller.dataset.moving;
    let top = height - viewport;
    if (!this.#isFollowing && total > viewport) {
      const { start, y } = this.#placed;
      const above = start > this.#view.first ? this.#headLines : 0;
      const offset = (this.#heights.offsetOf(start) + above) * LINE_HEIGHT_PX - y;
      top = Math.round((offset / (total - viewport)) * (height - viewport));
    }
    if (Math.abs(top - this.#lastTop) < 1) return;
    this.#scroller.scrollTop = top;
    this.#lastTop = top;
  }

  #scrolled() {
    const scroller = this.#scroller;
    const top = scroller.scrollTop;
    const moved = top - this.#lastTop;
    if (Math.abs(moved) < 1) return;
    this.#lastTop = top;
    const viewport = scroller.clientHeight;
    const maxTop = this.#lastHeight - viewport;
    if (this.#window.style.height !== `${viewport}px`) {
      this.refresh(true);
      return;
    }
    this.#lastScroll = performance.now();
    // Set until the scroll position matches the rows again. Tests wait for its removal.
    scroller.dataset.moving = "";
    if (top >= maxTop - 2 && (moved > 0 || this.#isFollowing)) {
      // A list that has grown or has fewer rows was moved by the browser, and is at its end still.
      this.setFollowing(true);
      this.refresh(true);
      return;
    }
    this.setFollowing(false);
    if (top <= 0) {
      this.#anchor = { ordinal: this.#view.first, y: 0 };
    } else if (Math.abs(moved) > 2 * viewport) {
      const rows = this.#totalLines - viewport / LINE_HEIGHT_PX;
      const line = (top / maxTop) * rows - this.#headLines;
      const { ordinal, into } = this.#heights.rowAt(line);
      this.#anchor = { ordinal, y: -Math.round(into * LINE_HEIGHT_PX) };
    } else {
      this.#anchor.y -= moved;
    }
    this.refresh(true);
  }

  // Scrolling up ends following before anything has moved. Scrolling down at the very end, where
  // nothing can move, begins it again.
  #wheeled(delta) {
    if (this.#totalLines * LINE_HEIGHT_PX <= this.#scroller.clientHeight) return;
    if (delta < 0) this.setFollowing(false);
    if (delta <= 0 || this.#isFollowing) return;
    setTimeout(() => {
      const { scrollTop, clientHeight } = this.#scroller;
      if (scrollTop >= this.#lastHeight - clientHeight - 2 && this.#placed.end === this.#view.end)
        this.setFollowing(true);
    }, SCROLL_REST_MS);
  }

  #selected() {
    const selection = document.getSelection();
    if (!this.#isFollowing || !selection || selection.isCollapsed) return;
    if (this.#rowsElement.contains(selection.anchorNode)) this.setFollowing(false);
  }

  #clicked(event) {
    const target = event.target instanceof Element ? event.target : null;
    const row = this.#rowOf.get(target?.closest(".row"));
    if (!row) return;
    const action = target.closest("[data-action]")?.dataset.action;
    if (action === "fold" || action === "whole") {
      this.setFollowing(false);
      this.#store.toggleFlag(row.id, action === "fold" ? UNFOLDED : WHOLE);
      row.version = -1;
      this.refresh(true);
      // The pressed button is created again: its successor takes the focus.
      requestAnimationFrame(() =>
        row.element.querySelector(`.${action}`)?.focus({ preventScroll: true }),
      );
    } else if (action) {
      this.onAction(action, row.id, event);
    } else if (target.closest(".num[href]")) {
      this.onAction("number", row.id, event);
    }
  }

  #growWidth() {
    if (this.#wraps) return;
    // The width only grows: a scroll bar that comes and goes with every long line disturbs more
    // than one that stays.
    const width = this.#turnover < 0.5 ? this.#rowsElement.scrollWidth : 0;
    if (width > this.#widest) {
      this.#widest = width;
      this.#content.style.minWidth = `${width}px`;
    }
  }

  #gutter() {
    const text = this.#rows[0]?.element.querySelector(".text");
    return text ? text.offsetLeft + 16 : 160;
  }
}

function element(className) {
  const made = document.createElement("div");
  made.className = className;
  return made;
}

function measureCharacter(parent) {
  const probe = document.createElement("span");
  probe.className = "probe";
  probe.textContent = "0".repeat(100);
  parent.append(probe);
  const width = probe.getBoundingClientRect().width / 100;
  probe.remove();
  return width || 8;
}
