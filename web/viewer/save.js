// Turns lines into text for the clipboard or a file.

import { plainText } from "./ansi.js";
import { statusText } from "./format.js";
import { GAP, LINE, STATUS } from "./store.js";

/**
 * Returns the rows of a view for which `isTaken(channel, seq, kind)` is true, each with a line end.
 */
export function rowTexts(store, view, isTaken, showsChannel) {
  const texts = [];
  for (let ordinal = view.first; ordinal < view.end; ordinal += 1) {
    const id = view.idAt(ordinal);
    if (isTaken(store.channel(id), store.seq(id), store.kind(id)))
      texts.push(`${rowText(store, id, showsChannel)}\n`);
  }
  return texts;
}

/** Returns a row as text. With `showsChannel`, the channel's name precedes it. */
function rowText(store, id, showsChannel) {
  const prefix = showsChannel ? `${store.channel(id)} ` : "";
  const value = store.value(id);
  const kind = store.kind(id);
  if (kind === LINE) return prefix + plainText(value);
  if (kind === GAP)
    return `${prefix}… ${value.to - value.from + 1} skipped (${value.from} to ${value.to}) …`;
  if (kind === STATUS) return `${prefix}[${statusText(value)}]`;
  return `${prefix}[${value.text}]`;
}

/**
 * Copies a text. Returns whether that worked. A page from an insecure origin has no clipboard API,
 * and uses the older `execCommand`.
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.setAttribute("aria-hidden", "true");
    area.className = "skip";
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    return isCopied;
  }
}

export function downloadParts(name, parts) {
  const url = URL.createObjectURL(new Blob(parts, { type: "text/plain;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.hidden = true;
  document.body.append(link);
  link.click();
  link.remove();
  // The browser reads the URL after this function returns. It has begun to within a minute.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
