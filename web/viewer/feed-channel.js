// What the feed knows of a channel, and the rows that it makes. Pure.

import { PieceJoiner } from "./pieces.js";
import { GAP, LINE, STDERR } from "./store.js";

/** Returns the state of a channel of which nothing is known yet. */
export function newChannel(name) {
  return {
    name,
    // The messages that came, that were skipped, and that came before the first one requested.
    count: 0,
    skipped: 0,
    before: 0,
    isAnswered: false,
    // The numbers of the last message that came, and of the last one that was promised.
    last: Number.NaN,
    due: Number.NaN,
    // The number of the first message, how many were asked for, and whether others may be kept.
    oldest: Number.NaN,
    asked: 0,
    mayHaveOlder: false,
    // Where a channel that was shown before goes on.
    position: null,
    refetched: null,
    partial: "",
    pieces: new PieceJoiner(),
    refetchedPieces: new PieceJoiner(),
  };
}

/** Gives rows of one channel keys that place them before all its rows that are here. */
export function olderKeys(rows, store, name) {
  let key = Infinity;
  for (let id = store.first; id < store.end; id += 1)
    if (store.channel(id) === name && store.time(id) < key) key = store.time(id);
  const keyed = rows.map((row) => ({ ...row, key: 0 }));
  for (let i = keyed.length - 1; i >= 0; i -= 1) {
    if (keyed[i].time < key) key = keyed[i].time;
    keyed[i].key = key;
  }
  return keyed;
}

/** Returns the row of a gap. `isKept` tells whether the server may still have its messages. */
export function gapRow(channel, time, from, to, isKept) {
  return {
    kind: GAP,
    channel,
    seq: from,
    time,
    value: { from, to, isKept, time, state: undefined, error: undefined },
  };
}

/** Returns the rows of the pieces that are held back. */
export function restOf(pieces, channel) {
  return pieces.flush().map(([stream, line]) => ({
    kind: LINE,
    channel,
    flags: stream === "stderr" ? STDERR : 0,
    ...line,
  }));
}

/** Returns a timestamp in milliseconds since 1970, or NaN. */
export function parseTime(timestamp) {
  return timestamp === null ? Number.NaN : Date.parse(timestamp);
}
