// Finds the log level of a line. Pure. Inspects only the beginning of the line.

export const UNKNOWN = 0;
export const TRACE = 1;
export const DEBUG = 2;
export const INFO = 3;
export const WARN = 4;
export const ERROR = 5;

/** The class names of the levels, indexed by level. */
export const LEVEL_NAMES = ["", "trace", "debug", "info", "warn", "error"];

const MAX_INSPECTED = 240;

const WORDS = new Map(
  Object.entries({
    trace: TRACE,
    verbose: TRACE,
    debug: DEBUG,
    dbg: DEBUG,
    info: INFO,
    inf: INFO,
    notice: INFO,
    warn: WARN,
    warning: WARN,
    wrn: WARN,
    error: ERROR,
    err: ERROR,
    severe: ERROR,
    fatal: ERROR,
    critical: ERROR,
    crit: ERROR,
    alert: ERROR,
    emerg: ERROR,
    panic: ERROR,
  }),
);

const NAMED = /["']?\b(?:level|lvl|severity|levelname)["']?\s*[=:]\s*["']?(\w+)/i;
// Ordinary words that are also levels count only in capitals, at the start, or in brackets.
const SHOUTED = new RegExp(
  String.raw`\b(TRACE|VERBOSE|DEBUG|DBG|INFO|INF|NOTICE|WARN|WARNING|WRN|ERROR|ERR` +
    String.raw`|SEVERE|FATAL|CRITICAL|CRIT|ALERT|EMERG|PANIC)\b`,
);
const LEADING =
  /^\W{0,3}(trace|verbose|debug|info|notice|warn|warning|error|fatal|critical|panic)\W?[:\]|>)]/i;
const BRACKETED = new RegExp(
  String.raw`[[<(](trace|verbose|debug|dbg|info|inf|notice|warn|warning|wrn|error|err` +
    String.raw`|fatal|critical|crit|panic)[\])>]`,
  "i",
);

export function levelOf(text) {
  const start = text.length > MAX_INSPECTED ? text.slice(0, MAX_INSPECTED) : text;
  const named = NAMED.exec(start);
  if (named) {
    const level = byName(named[1]);
    if (level !== UNKNOWN) return level;
  }
  const found = SHOUTED.exec(start) ?? LEADING.exec(start) ?? BRACKETED.exec(start);
  return found ? byName(found[1]) : UNKNOWN;
}

function byName(name) {
  const level = WORDS.get(name.toLowerCase());
  if (level !== undefined) return level;
  // bunyan and pino use multiples of ten.
  const number = Number(name);
  if (!Number.isInteger(number) || number < 10 || number > 60) return UNKNOWN;
  return Math.min(ERROR, Math.floor(number / 10));
}
