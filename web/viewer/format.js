// Numbers and times as people read them. Pure.

const COUNT = new Intl.NumberFormat("en");

export function count(number) {
  return COUNT.format(number);
}

/** `12,345 lines`, `1 line`. */
export function counted(number, noun, nouns = `${noun}s`) {
  return `${count(number)} ${number === 1 ? noun : nouns}`;
}

/** The local time of day, to the millisecond. */
export function timeOfDay(time) {
  if (Number.isNaN(time)) return "";
  const date = new Date(time);
  const two = (number) => String(number).padStart(2, "0");
  const milliseconds = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${milliseconds}`;
}

/** Lines per second, short: `0`, `0.4/s`, `12/s`, `10.1k/s`. */
export function rate(perSecond) {
  if (perSecond < 0.05) return "";
  if (perSecond < 10) return `${perSecond.toFixed(1)}/s`;
  if (perSecond < 1_000) return `${Math.round(perSecond)}/s`;
  return `${(perSecond / 1_000).toFixed(1)}k/s`;
}

/** `1.2 MB`; of characters, where most are one byte. */
export function size(characters) {
  if (characters < 1_000) return `${characters} B`;
  if (characters < 1_000_000) return `${(characters / 1_000).toFixed(0)} kB`;
  return `${(characters / 1_000_000).toFixed(1)} MB`;
}

/** The name without what all processes have in common. */
export function shortName(channel) {
  return channel.startsWith("process:") ? channel.slice("process:".length) : channel;
}

/** What a process status is called: `exited 1`. */
export function statusText({ status, exitCode }) {
  return status === "running" || (status !== "exited" && status !== "crashed" && exitCode === 0)
    ? status
    : `${status} ${exitCode}`;
}

/** `good`, `bad`, `over`, or `live`: how a status looks. */
export function statusTone({ status, exitCode }) {
  if (status === "running") return "live";
  if (status === "crashed" || exitCode !== 0) return "bad";
  if (status === "exited") return "good";
  return "over";
}
