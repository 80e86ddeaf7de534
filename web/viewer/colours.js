// Which colour stands for which channel. Pure.

const COLOURS = 8;

/**
 * The colour of each of `names`, from 0: that of its name, the same on every visit, unless one before it has that; then the
 * next that is free. Those in `before` keep theirs.
 */
export function assignColours(names, before = new Map()) {
  const colours = new Map();
  const uses = new Array(COLOURS).fill(0);
  const give = (name, colour) => {
    colours.set(name, colour);
    uses[colour] += 1;
  };
  for (const name of names) if (before.has(name)) give(name, before.get(name));
  for (const name of names) {
    if (colours.has(name)) continue;
    const least = Math.min(...uses);
    let colour = hash(name) % COLOURS;
    while (uses[colour] > least) colour = (colour + 1) % COLOURS;
    give(name, colour);
  }
  return colours;
}

function hash(name) {
  let hash = 0;
  for (let i = 0; i < name.length; i += 1) hash = (Math.imul(hash, 31) + name.charCodeAt(i)) >>> 0;
  return hash;
}
