// Turns terminal text into plain text and styled runs. Pure. Takes time linear in the length of the
// text, whatever the text contains.
//
// Each line is parsed on its own. A color that an earlier line left switched on is not carried
// over, because the lines before it may be gone.

/**
 * The most styled runs of a line. The rest of the line is plain, which bounds the cost of an "ANSI
 * bomb".
 */
const MAX_RUNS = 400;

/**
 * The most cells that are laid out for a line that moves the cursor (`\r`, backspace). Of a longer
 * line, only the end is laid out.
 */
const MAX_CELLS = 8192;

// A sequence without an end loses only its ESC.
const CONTROL_PARTS = [
  /\x1b\[([0-?]*)([ -/]*)([@-~])/, // CSI
  /\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)/, // OSC
  /\x1b[PX^_][^\x1b]*\x1b\\/, // DCS, SOS, PM, APC
  /\x1b[ -/]*[0-~]/, // other escapes
  /[\x00-\x08\x0a-\x1f\x7f-\x9f]/, // control characters
];
const CONTROL = new RegExp(CONTROL_PARTS.map(({ source }) => source).join("|"), "g");

const HAS_CONTROL = /[\x00-\x08\x0a-\x1f\x7f-\x9f]/;
const MOVES_CURSOR = /[\r\b]/;

const PLAIN = Object.freeze({ flags: 0, fg: null, bg: null });

const BOLD = 1;
const DIM = 2;
const ITALIC = 4;
const UNDERLINE = 8;
const BLINK = 16;
const INVERSE = 32;
const HIDDEN = 64;
const STRIKE = 128;

const CLASSES = [
  [BOLD, "a-bold"],
  [DIM, "a-dim"],
  [ITALIC, "a-italic"],
  [UNDERLINE, "a-underline"],
  [BLINK, "a-blink"],
  [HIDDEN, "a-hidden"],
  [STRIKE, "a-strike"],
];

const SETS = {
  1: BOLD,
  2: DIM,
  3: ITALIC,
  4: UNDERLINE,
  5: BLINK,
  6: BLINK,
  7: INVERSE,
  8: HIDDEN,
  9: STRIKE,
  21: UNDERLINE,
};
const CLEARS = {
  22: BOLD | DIM,
  23: ITALIC,
  24: UNDERLINE,
  25: BLINK,
  27: INVERSE,
  28: HIDDEN,
  29: STRIKE,
};

/** Returns the visible text, without styles. */
export function plainText(text) {
  if (!HAS_CONTROL.test(text)) return text;
  if (MOVES_CURSOR.test(text)) return parseAnsi(text).text;
  return text.replace(CONTROL, "");
}

/**
 * Returns the visible text and its styled runs `{ from, to, classes, fg, bg }` in order. Unstyled
 * parts have no run. `fg` and `bg` are CSS colors, or null where a class (`a-fg1`) sets the color
 * or nothing does.
 */
export function parseAnsi(text) {
  if (!HAS_CONTROL.test(text)) return { text, runs: [] };
  return MOVES_CURSOR.test(text) ? parseCells(text) : parseFlow(text);
}

function parseFlow(text) {
  const runs = [];
  let plain = "";
  let style = PLAIN;
  let at = 0;
  const take = (to) => {
    if (to <= at) return;
    if (style !== PLAIN && runs.length < MAX_RUNS)
      addRun(runs, plain.length, plain.length + to - at, style);
    plain += text.slice(at, to);
  };
  CONTROL.lastIndex = 0;
  for (let match; (match = CONTROL.exec(text));) {
    take(match.index);
    at = CONTROL.lastIndex;
    if (match[3] === "m" && match[2] === "") style = applySgr(style, match[1]);
  }
  take(text.length);
  return { text: plain, runs };
}

function parseCells(whole) {
  const text = whole.length > MAX_CELLS ? whole.slice(-MAX_CELLS) : whole;
  const cells = [];
  const styles = [];
  let column = 0;
  let style = PLAIN;
  let at = 0;
  const put = (to) => {
    for (const character of text.slice(at, to)) {
      while (cells.length < column) {
        cells.push(" ");
        styles.push(PLAIN);
      }
      cells[column] = character;
      styles[column] = style;
      column += 1;
    }
  };
  CONTROL.lastIndex = 0;
  for (let match; (match = CONTROL.exec(text));) {
    put(match.index);
    at = CONTROL.lastIndex;
    if (match[0] === "\r") column = 0;
    else if (match[0] === "\b") column = Math.max(0, column - 1);
    else if (match[3] === "m" && match[2] === "") style = applySgr(style, match[1]);
    else if (match[3] === "K") eraseInLine(cells, styles, column, match[1]);
    else if (match[3] !== undefined) column = moveTo(column, match[3], match[1]);
  }
  put(text.length);

  const runs = [];
  let plain = "";
  for (let i = 0; i < cells.length;) {
    const from = plain.length;
    const first = styles[i];
    while (i < cells.length && styles[i] === first) plain += cells[i++];
    if (first !== PLAIN && runs.length < MAX_RUNS) addRun(runs, from, plain.length, first);
  }
  return { text: plain.trimEnd(), runs };
}

function eraseInLine(cells, styles, column, parameter) {
  if (parameter === "" || parameter === "0") {
    cells.length = styles.length = Math.min(cells.length, column);
    return;
  }
  const to = parameter === "2" ? cells.length : Math.min(cells.length, column + 1);
  cells.fill(" ", 0, to);
  styles.fill(PLAIN, 0, to);
}

function moveTo(column, final, parameter) {
  const count = Math.min(MAX_CELLS, Math.max(1, Number.parseInt(parameter, 10) || 1));
  const to =
    final === "C"
      ? column + count
      : final === "D"
        ? column - count
        : final === "G"
          ? count - 1
          : column;
  return Math.min(MAX_CELLS, Math.max(0, to));
}

function addRun(runs, from, to, style) {
  const last = runs.at(-1);
  if (last && last.to === from && last.style === style) {
    last.to = to;
    return;
  }
  const classes = [];
  for (const [flag, name] of CLASSES) if (style.flags & flag) classes.push(name);
  let fg = style.fg;
  let bg = style.bg;
  if (style.flags & INVERSE) {
    [fg, bg] = [bg, fg];
    if (fg === null) classes.push("a-fgback");
    if (bg === null) classes.push("a-bgtext");
  }
  if (bg !== null) classes.push(isDarkBackground(bg) ? "on-dark" : "on-light");
  fg = color(fg, "a-fg", classes);
  bg = color(bg, "a-bg", classes);
  runs.push({ from, to, style, classes: classes.join(" "), fg, bg });
}

// The theme defines the first sixteen colors, so that they are legible in both themes: they become
// a class. Every other color keeps its value.
function color(code, prefix, classes) {
  if (code === null) return null;
  if (typeof code === "string") return code;
  if (code < 16) {
    classes.push(prefix + code);
    return null;
  }
  return indexedColor(code);
}

/** The numbers of the sixteen colors that are dark as a background. */
const DARK_BACKGROUNDS = new Set([0, 1, 2, 3, 4, 5, 6, 8]);

/** Returns whether bright text has more contrast to this background than dark text has. */
function isDarkBackground(code) {
  if (typeof code === "number" && code < 16) return DARK_BACKGROUNDS.has(code);
  const parts = (typeof code === "string" ? code : indexedColor(code)).match(/\d+/g);
  const [red, green, blue] = parts.map((part) => (Number(part) / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.18;
}

function indexedColor(index) {
  if (index >= 232) {
    const gray = 8 + (index - 232) * 10;
    return `rgb(${gray},${gray},${gray})`;
  }
  const cube = index - 16;
  const level = (value) => (value === 0 ? 0 : 55 + value * 40);
  const red = level(Math.floor(cube / 36));
  const green = level(Math.floor(cube / 6) % 6);
  return `rgb(${red},${green},${level(cube % 6)})`;
}

function applySgr(style, parameters) {
  if (parameters === "" || parameters === "0") return PLAIN;
  let { flags, fg, bg } = style;
  const codes = parameters.slice(0, 256).split(";");
  for (let i = 0; i < codes.length; i += 1) {
    const parts = codes[i].split(":");
    const code = parts[0] === "" ? 0 : Number(parts[0]);
    if (code === 0) {
      flags = 0;
      fg = bg = null;
    } else if (code === 4 && parts[1] === "0") flags &= ~UNDERLINE;
    else if (code in SETS) flags |= SETS[code];
    else if (code in CLEARS) flags &= ~CLEARS[code];
    else if (code >= 30 && code <= 37) fg = code - 30;
    else if (code >= 40 && code <= 47) bg = code - 40;
    else if (code >= 90 && code <= 97) fg = code - 90 + 8;
    else if (code >= 100 && code <= 107) bg = code - 100 + 8;
    else if (code === 39) fg = null;
    else if (code === 49) bg = null;
    else if (code === 38 || code === 48 || code === 58) {
      const isInOne = parts.length > 1;
      const given = isInOne ? parts.slice(1) : codes.slice(i + 1, i + 5);
      const [value, used] = extendedColor(given, isInOne);
      if (!isInOne) i += used;
      if (value === undefined || code === 58) continue;
      if (code === 38) fg = value;
      else bg = value;
    }
  }
  return flags === 0 && fg === null && bg === null ? PLAIN : { flags, fg, bg };
}

/**
 * Returns the color that `5;n` or `2;r;g;b` names, and the number of codes it takes. With colons,
 * the usual form is `2::r:g:b`.
 */
function extendedColor(codes, isInOne) {
  const byte = (text) =>
    /^\d{1,3}$/.test(text ?? "") && Number(text) < 256 ? Number(text) : undefined;
  if (codes[0] === "5") return [byte(codes[1]), 2];
  if (codes[0] !== "2") return [undefined, 1];
  const rgb = (isInOne && codes.length >= 5 ? codes.slice(2, 5) : codes.slice(1, 4)).map(byte);
  return [rgb.length === 3 && !rgb.includes(undefined) ? `rgb(${rgb.join(",")})` : undefined, 4];
}
