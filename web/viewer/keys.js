// The keys of the page. A field that takes text, an open dialog and the browser's own shortcuts
// keep theirs.

/**
 * Calls what `actions` has for the key that is pressed. `onEscape` is called for Escape, and
 * `onPage` with 1 for Space and with -1 for Shift and Space. `onCommand` takes a key that is
 * pressed together with Ctrl or Cmd, and returns whether the page has used it.
 */
export function bindKeys(actions, { onEscape, onPage, onCommand }) {
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (document.querySelector("dialog[open]")) return;
    if (event.ctrlKey || event.metaKey || event.altKey) {
      const isField = target instanceof Element && target.closest("input, textarea, select");
      if (!isField && !event.altKey && !event.shiftKey && onCommand(key)) event.preventDefault();
      return;
    }
    if (key === "Escape") {
      onEscape();
      return;
    }
    const element = target instanceof Element ? target : null;
    if (element?.closest("input, textarea, select")) return;
    if (key === " " && !element?.closest("button, summary, a")) {
      event.preventDefault();
      onPage(event.shiftKey ? -1 : 1);
      return;
    }
    if (!Object.hasOwn(actions, key)) return;
    event.preventDefault();
    actions[key](event);
  });
}
