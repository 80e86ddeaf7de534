// Assigns colors to channels. Pure.

const COLORS = 8;

/**
 * Returns the color number, from 0, of each of `names`. A name always gets the same color, derived
 * from the name, unless an earlier channel has taken it: then it gets the next free color. The
 * names in `before` keep their colors.
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
