// The channels whose lines are shown: those that the link names and, for "all processes", every
// process there is. Pure.

import { assignColors } from "./colors.js";
import { shortName } from "./format.js";
import { ALL } from "./links.js";

const MIN_NAME_WIDTH = 4;
const MAX_NAME_WIDTH = 24;

export class ShownChannels {
  /** True if they are shown as "all processes". */
  showsAll = false;
  names = [];
  /** The color number of each channel. */
  colors = new Map();

  clear() {
    this.names = [];
  }

  /**
   * Brings the channels in line with the link. Returns whether they are others now.
   *
   * A process that ends stays among "all processes" until `clear`.
   */
  update({ channels, line }, processes) {
    this.showsAll = channels.includes(ALL);
    const names = new Set(this.names);
    for (const channel of channels) {
      if (channel !== ALL) names.add(channel);
      else for (const process of processes) names.add(process);
    }
    if (this.showsAll && line?.channel) names.add(line.channel);
    if (names.size === this.names.length && this.names.length > 0) return false;
    this.names = [...names];
    this.colors = assignColors(this.names, this.colors);
    return true;
  }

  /** True if each line has to show its channel. */
  get needNames() {
    return this.names.length > 1 || this.showsAll;
  }

  /** The width of the column for their names, in characters. */
  get nameWidth() {
    const widest = Math.max(...this.names.map((name) => shortName(name).length), MIN_NAME_WIDTH);
    return Math.min(widest, MAX_NAME_WIDTH);
  }
}
