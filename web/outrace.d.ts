/** What can be set when connecting. Times are in milliseconds. */
export interface ConnectOptions {
  /** The longest wait before the first attempt to reconnect (default 1,000). Half of each wait is chance. */
  initialDelay?: number;
  /** How much longer each further wait may be (default 2). */
  factor?: number;
  /** The longest any wait may be (default 30,000). */
  maxDelay?: number;
  /** Attempts in a row that may fail before the client closes for good (default: no limit). */
  retries?: number;
  /** How often a `ping` is sent; a connection on which nothing came between two of them is given up (default 30,000). */
  heartbeat?: number;
  /** How long a connection may take to open (default 15,000). */
  connectTimeout?: number;
  /** How long a refetch waits for the next sign of its answer (default 15,000). */
  refetchTimeout?: number;
  /** The class to connect with, where there is no global `WebSocket` (Node before 22: that of the package `ws`). */
  WebSocket?: new (url: string) => any;
}

/** A message's place: its number, and the name of the sequence it is a number of. */
export interface Position {
  epoch: string;
  seq: number;
}

export interface SubscribeOptions {
  /** Be told what was skipped (default true). Without it, lines have a number only in batches, and nothing is resumed. */
  gaps?: boolean;
  /** Take runs of lines as one message: fewer bytes, less work (default true). The events are the same. */
  batch?: boolean;
  /** First replay up to this many of the last messages kept. */
  tail?: number;
  /** First replay what came after this. */
  since?: Position;
}

export type State = "connecting" | "open" | "waiting" | "closed";

/** What all that comes of a channel has in common. */
interface Origin {
  channel: string;
  processId: string | null;
  /** RFC 3339, in UTC, with milliseconds, set by the server. */
  timestamp: string | null;
  /** Whether it is an answer to `refetch`, and not in its place in the order of arrival. */
  refetched: boolean;
}

export interface Line extends Origin {
  text: string;
  /** Its number in the channel; null from servers that don't number. */
  seq: number | null;
}

export interface Lines extends Origin {
  texts: string[];
  /** The number of the first; the others follow without a hole. */
  seq: number | null;
}

export interface Status extends Origin {
  /** `running`, `exited`, `crashed`, `stopped`, or the publisher's own. */
  status: string;
  exitCode: number;
  seq: number | null;
}

export interface Gap {
  channel: string;
  from: number;
  to: number;
  count: number;
  /** Whether the server may still have them. False for what a resumed subscription was told is gone. */
  isKept: boolean;
  refetched: boolean;
  timestamp: string | null;
}

export interface Subscribed {
  channel: string;
  /** The position before the first message to come; both null from a server without extensions. */
  epoch: string | null;
  seq: number | null;
  /** How many messages of the past come first. */
  replayed: number;
  /** How many are gone for good since the position that was resumed from; null where that can't be known. */
  lost: number | null;
}

export interface Reconnected extends Subscribed {
  /** Whether the numbering began again (the server was restarted); null where that can't be known. */
  epochChanged: boolean | null;
}

/** Anything else: `event` and other messages to all, types of the publisher's own. */
export interface OtherMessage {
  type: string;
  channel: string | null;
  processId: string | null;
  data: unknown;
  seq: number | null;
  refetched: boolean;
  timestamp: string | null;
}

export interface Failure {
  /**
   * `connection`: it broke or could not be made, an attempt follows; `gave-up`: none follows; `refused`: a subscription was;
   * `server`: the server's own `error` message; `protocol`: a message that makes no sense, and was ignored.
   */
  kind: "connection" | "gave-up" | "refused" | "server" | "protocol";
  message: string;
  channel: string | null;
}

export interface StateChange {
  state: State;
  /** Attempts that failed since a connection last worked. */
  attempt: number;
  /** Milliseconds until the next attempt, when `waiting`; `Infinity` when paused. */
  delay: number | null;
}

export interface Events {
  line: Line;
  /** The same lines, a run at a time: cheaper for whoever takes very many. */
  lines: Lines;
  status: Status;
  gap: Gap;
  subscribed: Subscribed;
  reconnected: Reconnected;
  message: OtherMessage;
  error: Failure;
  state: StateChange;
}

/** Where to connect to; a function is asked at every attempt, for tokens that change. */
export type Address = string | URL | (() => string | URL);

export class Outrace {
  constructor(url?: Address, options?: ConnectOptions);
  readonly state: State;
  /** What is connected to, or was last. */
  readonly url: string;
  /** Calls `handler` for each `event`; returns a function that ends that. */
  on<E extends keyof Events>(event: E, handler: (detail: Events[E]) => void): () => void;
  /** Subscribes, now and after every break. A channel that is subscribed to already stays as it is. */
  subscribe(channel: string, options?: SubscribeOptions): void;
  unsubscribe(channel: string): void;
  /** Where a channel stands, to resume from later; null while that is not known. */
  position(channel: string): Position | null;
  /**
   * Asks for messages again. They come as events marked `refetched`, before the promise is fulfilled: `from` to `to` came
   * (none if `to < from`), `lost` of those asked for are no longer kept. Rejected if the connection breaks.
   */
  refetch(
    channel: string,
    from: number,
    to: number,
  ): Promise<{ from: number; to: number; lost: number }>;
  /** Breaks off, and makes no attempt until `reconnect`; what is subscribed to is kept. */
  pause(): void;
  /** Does not wait for the next attempt. */
  reconnect(): void;
  /** Ends it. */
  close(code?: number, reason?: string): void;
}

/** Connects to an Outrace (or go-ws) server; without a URL, to the `ws` beside this module. */
export function connect(url?: Address, options?: ConnectOptions): Outrace;
