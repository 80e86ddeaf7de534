// The text in place of the lines where there are none. It says which of three things is so: nothing
// was published, the filter hides everything, or the lines cannot be had. Each has a next step.

import { copyText } from "./exporter.js";
import { count, counted, shortName } from "./format.js";
import { ALL, isProcess } from "./links.js";

/** The most rows of a filtered list, all of them gaps, that leave room for the text below them. */
const MAX_GAPS_ABOVE = 5;

export class EmptyText {
  #element;
  #parts;
  #drawnFor = "";
  /** The filter is to be cleared. */
  onClearFilter = () => {};
  /** Another token is to be asked for. */
  onToken = () => {};

  /** `parts` are `{ store, find, navigation, channels, feed, connection, server }`. */
  constructor(element, parts) {
    this.#element = element;
    this.#parts = parts;
  }

  /** Draws the text again if it has changed. */
  update() {
    const { view } = this.#parts.find;
    const content = this.#isNeeded() ? this.#content() : null;
    const state = JSON.stringify([content, view.end > view.first]);
    if (state === this.#drawnFor) return;
    this.#drawnFor = state;
    this.#element.replaceChildren();
    this.#element.classList.toggle("below", view.end > view.first);
    if (content) this.#say(content);
  }

  #isNeeded() {
    const { view, isHiding, matchCount, isComplete } = this.#parts.find;
    const rows = view.end - view.first;
    if (!isHiding) return rows === 0;
    // A filter hides no gaps: only matches, or many gaps, take the place of the text.
    return !(matchCount > 0) && isComplete && rows <= MAX_GAPS_ABOVE;
  }

  /** Returns `{ title, text, code, step }`, or null while the reason is not known. */
  #content() {
    const { store, find, navigation, channels, feed, connection } = this.#parts;
    if (find.isHiding && store.length > 0)
      return {
        title: "Nothing matches",
        text: `The filter hides all ${counted(store.length, "line")}. New matches appear here.`,
        step: "filter",
      };
    if (connection.trouble)
      return { title: "No connection", text: connection.trouble, step: "retry" };
    if (navigation.channels.length === 0)
      return channels.names.length > 0
        ? { title: "Choose a channel", text: "They are listed at the side." }
        : { title: "Nothing to show yet", text: "To publish a line:", code: this.#example() };
    if (feed.refusals.size > 0 && feed.refusals.size === feed.channels.length) {
      const [[name, reason]] = feed.refusals;
      const isOnly = feed.channels.length === 1;
      const names = isOnly ? shortName(name) : `${count(feed.channels.length)} channels`;
      return {
        title: `No access to ${names}`,
        text: `The server refuses it: ${reason}.`,
        step: reason.includes("unauthorised") ? "token" : undefined,
      };
    }
    if (!feed.isAnswered) return null;
    const earlier = feed.before + feed.received + feed.skipped;
    if (earlier > 0)
      return {
        title: "No line is kept here",
        text: `${counted(earlier, "message")} came before. New lines will appear as they come.`,
      };
    return {
      title: "Nothing published yet",
      text: "New lines will appear here as they come. To publish one:",
      code: this.#example(),
    };
  }

  /** Returns a command that publishes a line to what is shown. */
  #example() {
    const { navigation, server } = this.#parts;
    const [channel = ALL] = navigation.channels;
    const id = channel === ALL ? "hello" : shortName(channel);
    const action = isProcess(channel)
      ? { action: "ws.send_process_output", process_id: id, output: "hello" }
      : { action: "ws.send_channel", channel, type: "process_output", data: "hello" };
    const token = server.token ? " -H 'Authorization: Bearer YOUR-TOKEN'" : "";
    const type = "-H 'Content-Type: application/json'";
    return `curl ${server.actions} ${type}${token} -d '${JSON.stringify(action)}'`;
  }

  #say({ title, text, code, step }) {
    const strong = document.createElement("strong");
    strong.textContent = title;
    this.#element.append(strong, document.createTextNode(text));
    if (code) {
      const example = document.createElement("code");
      example.textContent = code;
      this.#element.append(example);
      const copy = this.#button("Copy", async () => {
        copy.textContent = (await copyText(code)) ? "Copied" : "The browser does not allow it";
      });
    }
    const { connection } = this.#parts;
    if (step === "filter") this.#button("Clear the filter", () => this.onClearFilter());
    if (step === "retry") this.#button("Try now", () => connection.retry());
    if (step === "token") this.#button("Use another token", () => this.onToken());
  }

  #button(text, act) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.textContent = text;
    button.addEventListener("click", act);
    this.#element.append(button);
    return button;
  }
}
