// A client that records its events, so that a test can wait for them.

import { connect } from "../../outrace.js";
import { webSocketClass } from "./websocket.mjs";

const EVENTS = [
  "line",
  "lines",
  "partial",
  "status",
  "gap",
  "subscribed",
  "reconnected",
  "message",
  "error",
  "state",
];

/** Short delays for tests. They stay random. */
const QUICK = { initialDelay: 20, maxDelay: 80 };

/** The time after which a test fails because an event is missing. */
const TIMEOUT_MS = 20_000;

export function record(test, url, options = {}) {
  let socket;
  class Kept extends webSocketClass() {
    constructor(...args) {
      super(...args);
      socket = this;
    }
  }
  const client = connect(url, { WebSocket: Kept, ...QUICK, ...options });
  const events = [];
  const waiters = new Set();
  for (const kind of EVENTS) {
    client.on(kind, (detail) => {
      const event = { event: kind, ...detail };
      events.push(event);
      for (const waiter of [...waiters]) waiter();
    });
  }
  test.after(() => client.close());
  const recorder = {
    client,
    events,
    of: (kind) => events.filter(({ event }) => event === kind),
    /** Ends the connection under the client, as a network failure does. */
    breakConnection: () => socket.close(),
    lines: () => recorder.of("line").map(({ text }) => text),
    seqs: () => recorder.of("line").map(({ seq }) => seq),
    /** Resolves once `isThere()` returns true for the recorded events. */
    until(isThere) {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          const last = events.slice(-5).map((event) => JSON.stringify(event).slice(0, 200));
          reject(
            new Error(
              `Not within ${TIMEOUT_MS} ms: ${isThere}; after ${events.length} events, the last:\n${last.join("\n")}`,
            ),
          );
        }, TIMEOUT_MS);
        const look = () => {
          const found = isThere();
          if (!found) return;
          clearTimeout(timer);
          waiters.delete(look);
          resolve(found);
        };
        waiters.add(look);
        look();
      });
    },
    event(kind, matches = () => true) {
      return recorder.until(() => events.find((event) => event.event === kind && matches(event)));
    },
    state: (state, nth = 1) =>
      recorder.until(() => recorder.of("state").filter((e) => e.state === state).length >= nth),
  };
  return recorder;
}
