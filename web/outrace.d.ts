/** Options for connecting. Times are in milliseconds. */
export interface ConnectOptions {
  /**
   * The maximum delay before the first attempt to reconnect (default 1,000). Half of each delay is
   * random.
   */
  initialDelay?: number;
  /** The factor by which the maximum delay grows with each attempt (default 2). */
  factor?: number;
  /** The upper bound of all delays (default 30,000). */
  maxDelay?: number;
  /**
   * The number of attempts in a row that may fail before the client closes for good (default: no
   * limit).
   */
  retries?: number;
  /**
   * The interval of `ping` messages (default 30,000). A connection without any message between two
   * pings is given up.
   */
  heartbeat?: number;
  /** The most time that `check` waits for a sign of life (default 5,000). */
  checkTimeout?: number;
  /** The most time that opening a connection may take (default 15,000). */
  connectTimeout?: number;
  /** The most time that a refetch waits for the next part of its answer (default 15,000). */
  refetchTimeout?: number;
  /**
   * The WebSocket class, for environments without a global `WebSocket` (Node before 22: the class
   * of the package `ws`).
   */
  WebSocket?: new (url: string) => any;
}

/** The position of a message: its number, and the name of the sequence of numbers. */
export interface Position {
  epoch: string;
  seq: number;
}

export interface SubscribeOptions {
  /**
   * If true (default), the server reports skipped messages. Without it, only batches carry the
   * numbers of their lines, and the subscription does not resume.
   */
  gaps?: boolean;
  /**
   * If true (default), runs of lines come as one message, which takes fewer bytes and less
   * work. The events are the same.
   */
  batch?: boolean;
  /**
   * If true (default), lines tell their stream, and whether they are pieces of a longer line or
   * from before the file was followed.
   */
  detail?: boolean;
  /** If true, the line that a process is still writing is emitted as `partial` as it grows. */
  partial?: boolean;
  /** The maximum number of past messages to replay first. */
  tail?: number;
  /** The position after which to replay messages first. */
  since?: Position;
}

export type State = "connecting" | "open" | "waiting" | "closed";

/** The properties that all messages of a channel share. */
interface Origin {
  channel: string;
  processId: string | null;
  /** The server's time in UTC: RFC 3339 with milliseconds. */
  timestamp: string | null;
  /** True if the message answers a `refetch`, and is therefore out of order. */
  refetched: boolean;
}

/** The properties that the lines of one message share. */
interface LineOrigin extends Origin {
  /** `stderr`, or null for standard output and if the server does not know. */
  stream: "stderr" | null;
  /** True if the process wrote it before its file was followed. */
  past: boolean;
}

export interface Line extends LineOrigin {
  text: string;
  /** The number in the channel, or null if the server does not number messages. */
  seq: number | null;
  /** True if it is a piece of a longer line, which goes on in the next line of its stream. */
  continued: boolean;
}

export interface Lines extends LineOrigin {
  texts: string[];
  /** The number of the first line. The others follow without a hole. */
  seq: number | null;
  /** True if the last text is a piece of a longer line, which goes on in the next of its stream. */
  continued: boolean;
}

/** The line that a process is still writing. The whole line follows as any other. */
export interface Partial {
  channel: string;
  processId: string | null;
  /** The text so far. An empty text says that no line is unfinished any more. */
  text: string;
  timestamp: string | null;
}

export interface Status extends Origin {
  /** `running`, `exited`, `crashed`, `stopped`, or a status of the publisher's own. */
  status: string;
  exitCode: number;
  seq: number | null;
}

export interface Gap {
  channel: string;
  from: number;
  to: number;
  count: number;
  /**
   * True if the server may still have the messages. False if it has reported them as lost to a
   * resumed subscription.
   */
  isKept: boolean;
  refetched: boolean;
  timestamp: string | null;
}

export interface Subscribed {
  channel: string;
  /**
   * The position before the first message to come. Both are null with a server without extensions.
   */
  epoch: string | null;
  seq: number | null;
  /** The number of past messages that come first. */
  replayed: number;
  /**
   * The number of messages lost for good since the position of the resumption, or null if unknown.
   */
  lost: number | null;
}

export interface Reconnected extends Subscribed {
  /** True if the numbering started again because the server was restarted; null if unknown. */
  epochChanged: boolean | null;
}

/** Any other message: `event` and other broadcasts, and types of the publisher's own. */
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
   * `connection`: the connection broke or could not be opened, and an attempt follows. `gave-up`:
   * no attempt follows. `refused`: a subscription was refused. `server`: the server sent an `error`
   * message. `protocol`: a message was invalid, and was ignored.
   */
  kind: "connection" | "gave-up" | "refused" | "server" | "protocol";
  message: string;
  channel: string | null;
}

export interface StateChange {
  state: State;
  /** The number of failed attempts since a connection last worked. */
  attempt: number;
  /** Milliseconds until the next attempt when `waiting`, `Infinity` when paused, or else null. */
  delay: number | null;
}

export interface Events {
  line: Line;
  /** The same lines in runs, which is cheaper for very many lines. */
  lines: Lines;
  partial: Partial;
  status: Status;
  gap: Gap;
  subscribed: Subscribed;
  reconnected: Reconnected;
  message: OtherMessage;
  error: Failure;
  state: StateChange;
}

/** The URL to connect to. A function is called at every attempt, for tokens that change. */
export type Address = string | URL | (() => string | URL);

export class Outrace {
  constructor(url?: Address, options?: ConnectOptions);
  readonly state: State;
  /** The URL of the current or the last connection. */
  readonly url: string;
  /** Calls `handler` for each `event`. Returns a function that removes the handler. */
  on<E extends keyof Events>(event: E, handler: (detail: Events[E]) => void): () => void;
  /**
   * Subscribes now and after every break. Does nothing for a channel that is already subscribed.
   */
  subscribe(channel: string, options?: SubscribeOptions): void;
  unsubscribe(channel: string): void;
  /** Returns the position of a channel, to resume from later, or null while it is unknown. */
  position(channel: string): Position | null;
  /**
   * Requests messages again. They are emitted, marked `refetched`, before the promise resolves. The
   * range `from` to `to` came (none if `to < from`), and the server no longer keeps `lost` of the
   * requested messages. The promise is rejected if the connection breaks, or if the server does not
   * support it.
   */
  refetch(
    channel: string,
    from: number,
    to: number,
  ): Promise<{ from: number; to: number; lost: number }>;
  /** Disconnects and makes no attempt until `reconnect`. The subscriptions are kept. */
  pause(): void;
  /** Starts the next attempt at once. */
  reconnect(): void;
  /**
   * Asks for a sign of life at once. A connection without one within `checkTimeout` is given up and
   * made again. While `waiting`, the next attempt starts at once. A browser's events `online`,
   * `pageshow` and `visibilitychange` call it too.
   */
  check(): void;
  /** Closes the client for good. */
  close(code?: number, reason?: string): void;
}

/**
 * Connects to an Outrace (or go-ws) server. Without a URL, it connects to the `ws` beside this
 * module.
 */
export function connect(url?: Address, options?: ConnectOptions): Outrace;
