// A client whose events are written down, and can be waited for.

import { connect } from "../../outrace.js";
import { webSocketClass } from "./websocket.mjs";

const EVENTS = ["line", "lines", "status", "gap", "subscribed", "reconnected", "message", "error", "state"];

/** Quick enough for a test; the jitter stays. */
const QUICK = { initialDelay: 20, maxDelay: 80 };

export function record(test, url, options = {}) {
  const client = connect(url, { WebSocket: webSocketClass(), ...QUICK, ...options });
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
    lines: () => recorder.of("line").map(({ text }) => text),
    seqs: () => recorder.of("line").map(({ seq }) => seq),
    /** Resolves as soon as `isThere()` is true of what was written down. */
    until(isThere) {
      return new Promise((resolve) => {
        const look = () => {
          const found = isThere();
          if (!found) return;
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
    state: (state, nth = 1) => recorder.until(() => recorder.of("state").filter((e) => e.state === state).length >= nth),
  };
  return recorder;
}
