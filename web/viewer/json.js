// Colors JSON lines, or lays them out. Pure. Works on the text instead of the parsed values, so
// that numbers keep their digits.

/** The most characters of a line that is parsed as JSON. */
const MAX_CHARACTERS = 100_000;

/** The most lines of a laid-out value. The rest follows on the last line. */
const MAX_LINES = 2_000;

const INDENT = "  ";

/** Returns whether the line is a JSON object or array that is not empty. */
export function isJson(text) {
  if (text.length > MAX_CHARACTERS || text.length < 5) return false;
  const trimmed = text.trim();
  const first = trimmed[0];
  const last = trimmed.at(-1);
  if (!((first === "{" && last === "}") || (first === "[" && last === "]"))) return false;
  try {
    const value = JSON.parse(trimmed);
    return Object.keys(value).length > 0;
  } catch {
    return false;
  }
}

/** Returns the line unchanged, with runs `{ from, to, classes }`. Requires that `isJson(text)`. */
export function foldedJson(text) {
  const runs = [];
  for (const { kind, from, to } of tokens(text)) {
    if (kind !== "mark") runs.push({ from, to, classes: `j-${kind}`, fg: null, bg: null });
  }
  return { text, runs };
}

/** Returns the value laid out over several lines, with runs. Requires that `isJson(text)`. */
export function unfoldedJson(text) {
  const runs = [];
  const parts = [];
  let length = 0;
  let depth = 0;
  let lines = 1;
  const add = (part) => {
    parts.push(part);
    length += part.length;
  };
  const breakLine = () => {
    if (lines >= MAX_LINES) return;
    lines += 1;
    add("\n" + INDENT.repeat(Math.min(depth, 40)));
  };
  let before = "";
  for (const { kind, from, to } of tokens(text)) {
    const token = text.slice(from, to);
    const closes = token === "}" || token === "]";
    const isEmpty = closes && (before === "{" || before === "[");
    if (kind === "mark" && closes) {
      depth -= 1;
      if (!isEmpty) breakLine();
    } else if (before === "{" || before === "[") {
      breakLine();
    }
    if (kind !== "mark")
      runs.push({
        from: length,
        to: length + token.length,
        classes: `j-${kind}`,
        fg: null,
        bg: null,
      });
    add(token);
    if (kind === "mark") {
      if (token === "{" || token === "[") depth += 1;
      else if (token === ",") breakLine();
      else if (token === ":") add(" ");
    }
    before = token;
  }
  return { text: parts.join(""), runs };
}

function* tokens(text) {
  let at = 0;
  while (at < text.length) {
    const character = text[at];
    const from = at;
    if (character === '"') {
      at = endOfString(text, at);
      yield { kind: isFollowedByColon(text, at) ? "key" : "string", from, to: at };
    } else if ("{}[],:".includes(character)) {
      at += 1;
      yield { kind: "mark", from, to: at };
    } else if (/\s/.test(character)) {
      at += 1;
    } else {
      while (at < text.length && !/[\s{}[\],:"]/.test(text[at])) at += 1;
      yield { kind: /[-\d]/.test(character) ? "number" : "word", from, to: at };
    }
  }
}

function endOfString(text, start) {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return Math.min(text.length, at + 1);
}

function isFollowedByColon(text, at) {
  while (at < text.length && /\s/.test(text[at])) at += 1;
  return text[at] === ":";
}
