// Formats numbers, times and names for people. Pure.

const COUNT = new Intl.NumberFormat("en");

export function count(number) {
  return COUNT.format(number);
}

/** Returns `12,345 lines` or `1 line`. */
export function counted(number, noun, nouns = `${noun}s`) {
  return `${count(number)} ${number === 1 ? noun : nouns}`;
}

/** Returns the local time of day, to the millisecond. */
export function timeOfDay(time) {
  if (Number.isNaN(time)) return "";
  const date = new Date(time);
  const two = (number) => String(number).padStart(2, "0");
  const hours = two(date.getHours());
  const milliseconds = String(date.getMilliseconds()).padStart(3, "0");
  return `${hours}:${two(date.getMinutes())}:${two(date.getSeconds())}.${milliseconds}`;
}

/** Returns lines per second in short form: an empty text, `0.4/s`, `12/s` or `10.1k/s`. */
export function rate(perSecond) {
  if (perSecond < 0.05) return "";
  if (perSecond < 10) return `${perSecond.toFixed(1)}/s`;
  if (perSecond < 1_000) return `${Math.round(perSecond)}/s`;
  return `${(perSecond / 1_000).toFixed(1)}k/s`;
}

/** Returns a size such as `1.2 MB`. It counts characters, most of which are one byte. */
export function size(characters) {
  if (characters < 1_000) return `${characters} B`;
  if (characters < 1_000_000) return `${(characters / 1_000).toFixed(0)} kB`;
  return `${(characters / 1_000_000).toFixed(1)} MB`;
}

/** Returns the name without the prefix that all processes share. */
export function shortName(channel) {
  return channel.startsWith("process:") ? channel.slice("process:".length) : channel;
}

/** Returns the text of a process status, such as `exited 1`. */
export function statusText({ status, exitCode }) {
  return status === "running" || (status !== "exited" && status !== "crashed" && exitCode === 0)
    ? status
    : `${status} ${exitCode}`;
}

/** Returns the class of a status: `good`, `bad`, `lost`, `over` or `live`. */
export function statusTone({ status, exitCode }) {
  if (status === "running") return "live";
  // The node of the process is gone, and how the process does is unknown.
  if (status === "lost") return "lost";
  if (status === "crashed" || exitCode !== 0) return "bad";
  if (status === "exited") return "good";
  return "over";
}
