// Which color stands for which channel. Pure.

const COLORS = 8;

/**
 * The color of each of `names`, from 0: that of its name, the same on every visit, unless one before it has that; then the
 * next that is free. Those in `before` keep theirs.
 */
export function assignColors(names, before = new Map()) {
  const colors = new Map();
  const uses = new Array(COLORS).fill(0);
  const give = (name, color) => {
    colors.set(name, color);
    uses[color] += 1;
  };
  for (const name of names) if (before.has(name)) give(name, before.get(name));
  for (const name of names) {
    if (colors.has(name)) continue;
    const least = Math.min(...uses);
    let color = hash(name) % COLORS;
    while (uses[color] > least) color = (color + 1) % COLORS;
    give(name, color);
  }
  return colors;
}

function hash(name) {
  let hash = 0;
  for (let i = 0; i < name.length; i += 1) hash = (Math.imul(hash, 31) + name.charCodeAt(i)) >>> 0;
  return hash;
}
