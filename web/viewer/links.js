// The format of links: `#process:web:1234`, `#process:web,process:db?filter=timeout&regex=1`. Pure.
//
// A link to a line, or to lines (`#process:web:1234-1240`), names the numbering that the numbers
// are of: `?epoch=5c1e0d3f9ab24671`. Without it, they are of the present one.
//
// A colon separates a channel from a line's number. Process ids contain no colon, so
// `process:web:1234` and `process:80` are unambiguous. Any other name that ends in a colon and
// digits is written with a further colon: `#metrics:5:`.
//
// `process:*` stands for all processes: `#process:*,process:web:1234` is a line of one process,
// shown among the lines of all.

/** All processes, including those that start later. */
export const ALL = "process:*";

const CHANNEL = /^[A-Za-z0-9_.:-]{1,256}$/;
const EPOCH = /^[A-Za-z0-9_.-]{1,64}$/;
const MAX_CHANNELS = 64;
const MAX_FILTER_LENGTH = 1_000;

/**
 * Returns `{ channels, line, filter }`. `line` is `{ channel, seq, to, epoch }` or null, with the
 * last line in `to`, and an empty `epoch` if none is named. `filter` is `{ text, isRegex,
 * isCaseSensitive, hides }` or null.
 */
export function parseLink(hash) {
  const [path, query = ""] = splitOnce(hash.replace(/^#/, ""), "?");
  let channels = [];
  let line = null;
  for (const part of path.split(",")) {
    const [channel, seq, to] = splitLine(decode(part));
    if (
      (!CHANNEL.test(channel) && channel !== ALL) ||
      channels.includes(channel) ||
      channels.length >= MAX_CHANNELS
    )
      continue;
    channels.push(channel);
    if (seq !== null && line === null) line = { channel, seq, to, epoch: "" };
  }
  if (channels.includes(ALL))
    channels = channels.filter((channel) => channel === ALL || !isProcess(channel));
  const parameters = new URLSearchParams(query);
  const epoch = parameters.get("epoch") ?? "";
  if (line && EPOCH.test(epoch)) line.epoch = epoch;
  const given = parameters.get("filter") ?? parameters.get("find") ?? "";
  const text = given.slice(0, MAX_FILTER_LENGTH);
  const filter = text && {
    text,
    isRegex: parameters.get("regex") === "1",
    isCaseSensitive: parameters.get("case") === "1",
    hides: parameters.has("filter"),
  };
  return { channels, line, filter: filter || null };
}

export function formatLink({ channels, line = null, filter = null }) {
  const parts = channels.map((channel) =>
    line?.channel === channel ? formatLine(line) : unambiguous(channel),
  );
  if (line && !channels.includes(line.channel)) parts.push(formatLine(line));
  const parameters = new URLSearchParams();
  if (line?.epoch) parameters.set("epoch", line.epoch);
  if (filter?.text) {
    parameters.set(filter.hides ? "filter" : "find", filter.text);
    if (filter.isRegex) parameters.set("regex", "1");
    if (filter.isCaseSensitive) parameters.set("case", "1");
  }
  const query = parameters.toString();
  return `#${parts.join(",")}${query && `?${query}`}`;
}

export function isProcess(channel) {
  return channel.startsWith("process:");
}

function formatLine({ channel, seq, to = seq }) {
  return to > seq ? `${channel}:${seq}-${to}` : `${channel}:${seq}`;
}

/** Splits `channel:seq-to`. Returns `[channel, seq, to]`, where `seq` is null if there is none. */
function splitLine(text) {
  const process = /^(process:[A-Za-z0-9_.-]+)(?::(?:(\d+)(?:-(\d+))?)?)?$/.exec(text);
  const found = process ?? /^(.*):(?:(\d+)(?:-(\d+))?)?$/.exec(text);
  if (!found) return [text, null, null];
  const seq = Number(found[2] ?? Number.NaN);
  const to = Number(found[3] ?? seq);
  if (!Number.isSafeInteger(seq)) return [found[1], null, null];
  return [found[1], seq, Number.isSafeInteger(to) && to > seq ? to : seq];
}

function unambiguous(channel) {
  return splitLine(channel)[0] === channel ? channel : `${channel}:`;
}

function splitOnce(text, separator) {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
