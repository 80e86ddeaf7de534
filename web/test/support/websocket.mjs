// The parts of RFC 6455 that the tests need, for both ends: text, ping, pong and close. There are
// no fragments and no extensions.

import { createHash, randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import { createServer, request } from "node:http";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/**
 * Returns the WebSocket class to test with: the global one, or the one below where there is none
 * (Node 20).
 */
export function webSocketClass() {
  return globalThis.WebSocket ?? SmallWebSocket;
}

const notFound = (_, response) => response.writeHead(404).end();

/**
 * Serves WebSocket connections at /ws on a free port to allowed clients. `onRequest` answers all
 * other requests.
 */
export async function listen(
  onPeer,
  { port = 0, onRequest = notFound, isAllowed = () => true } = {},
) {
  const server = createServer(onRequest);
  const peers = new Set();
  server.on("upgrade", (upgrade, socket, head) => {
    if (!isAllowed(upgrade)) {
      socket.end("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
      return;
    }
    if (head.length) socket.unshift(head);
    const accept = acceptKey(upgrade.headers["sec-websocket-key"]);
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    const peer = new Peer(socket, false);
    peers.add(peer);
    peer.on("close", () => peers.delete(peer));
    onPeer(peer);
  });
  await new Promise((resolve, reject) =>
    server.once("error", reject).listen(port, "127.0.0.1", resolve),
  );
  const at = server.address().port;
  return {
    port: at,
    url: `ws://127.0.0.1:${at}/ws`,
    peers,
    /** Breaks all connections and stops listening. */
    async stop() {
      for (const peer of peers) peer.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function acceptKey(key) {
  return createHash("sha1")
    .update(key + GUID)
    .digest("base64");
}

/**
 * One end of a connection. Emits `message` (a string) for each message, and `close` (`{ code,
 * reason }`) once.
 */
export class Peer extends EventEmitter {
  #socket;
  #masks;
  #pending = Buffer.alloc(0);
  #closing = { code: 1006, reason: "" };

  constructor(socket, masks) {
    super();
    this.#socket = socket;
    this.#masks = masks;
    socket.setNoDelay?.(true);
    socket.on("data", (data) => this.#read(data));
    socket.on("error", () => {});
    socket.on("close", () => this.emit("close", this.#closing));
  }

  send(text) {
    return this.#write(0x1, Buffer.from(text));
  }

  sendBinary(bytes) {
    return this.#write(0x2, Buffer.from(bytes));
  }

  ping() {
    return this.#write(0x9, Buffer.alloc(0));
  }

  close(code = 1000, reason = "") {
    const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
    payload.writeUInt16BE(code);
    payload.write(reason, 2);
    this.#write(0x8, payload);
  }

  /** Ends the connection after what was written, without a close frame. */
  hangUp() {
    this.#socket.end();
  }

  destroy() {
    this.#socket.destroy();
  }

  /** The number of bytes that the kernel has not taken yet. */
  get waiting() {
    return this.#socket.writableLength;
  }

  /** Sends raw bytes, which may break the protocol. */
  sendRaw(bytes) {
    this.#socket.write(bytes);
  }

  /** Stops reading from the connection until `resume`. */
  pause() {
    this.#socket.pause();
  }

  resume() {
    this.#socket.resume();
  }

  #write(opcode, payload) {
    const length = payload.length;
    const mask = this.#masks ? 0x80 : 0;
    let head;
    if (length < 126) {
      head = Buffer.from([0x80 | opcode, mask | length]);
    } else if (length < 65536) {
      head = Buffer.from([0x80 | opcode, mask | 126, length >> 8, length & 255]);
    } else {
      head = Buffer.alloc(10);
      head[0] = 0x80 | opcode;
      head[1] = mask | 127;
      head.writeBigUInt64BE(BigInt(length), 2);
    }
    if (!this.#masks) return this.#socket.write(Buffer.concat([head, payload]));
    const key = randomBytes(4);
    const masked = Buffer.from(payload);
    for (let i = 0; i < length; i += 1) masked[i] ^= key[i & 3];
    return this.#socket.write(Buffer.concat([head, key, masked]));
  }

  #read(data) {
    this.#pending = this.#pending.length ? Buffer.concat([this.#pending, data]) : data;
    for (;;) {
      const buffer = this.#pending;
      if (buffer.length < 2) return;
      if (buffer[0] & 0x70) {
        // A reserved bit is set, but no extension was agreed on.
        this.#socket.destroy();
        return;
      }
      let length = buffer[1] & 0x7f;
      let at = 2;
      if (length === 126) {
        if (buffer.length < 4) return;
        length = buffer.readUInt16BE(2);
        at = 4;
      } else if (length === 127) {
        if (buffer.length < 10) return;
        length = Number(buffer.readBigUInt64BE(2));
        at = 10;
      }
      const isMasked = (buffer[1] & 0x80) !== 0;
      const from = isMasked ? at + 4 : at;
      if (buffer.length < from + length) return;
      const payload = Buffer.from(buffer.subarray(from, from + length));
      if (isMasked) for (let i = 0; i < length; i += 1) payload[i] ^= buffer[at + (i & 3)];
      this.#pending = buffer.subarray(from + length);
      this.#frame(buffer[0] & 0x0f, payload);
    }
  }

  #frame(opcode, payload) {
    if (opcode === 0x1) {
      this.emit("message", payload.toString());
    } else if (opcode === 0x8) {
      this.#closing = {
        code: payload.length >= 2 ? payload.readUInt16BE(0) : 1005,
        reason: payload.toString("utf8", 2),
      };
      this.#write(0x8, payload);
      this.#socket.end();
    } else if (opcode === 0x9) {
      this.#write(0xa, payload);
    }
  }
}

/** The part of the WebSocket class that the client uses. */
export class SmallWebSocket extends EventTarget {
  readyState = 0;
  #peer;
  #request;

  constructor(url) {
    super();
    const { hostname, port, pathname } = new URL(url);
    const key = randomBytes(16).toString("base64");
    const headers = {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": 13,
      "Sec-WebSocket-Key": key,
    };
    this.#request = request({ hostname, port, path: pathname, headers });
    this.#request.on("response", () => this.#closed({ code: 1006, reason: "" }));
    this.#request.on("error", () => this.#closed({ code: 1006, reason: "" }));
    this.#request.on("upgrade", (_, socket, head) => {
      if (head.length) socket.unshift(head);
      this.#peer = new Peer(socket, true);
      this.#peer.on("message", (data) => this.#tell("message", { data }));
      this.#peer.on("close", (closing) => this.#closed(closing));
      this.readyState = 1;
      this.#tell("open", {});
    });
    this.#request.end();
  }

  send(text) {
    if (this.readyState !== 1) throw new Error("not open");
    this.#peer.send(text);
  }

  close(code, reason) {
    if (this.readyState >= 2) return;
    if (this.#peer) this.#peer.close(code, reason);
    else this.#request.destroy();
    this.readyState = 2;
  }

  #closed(closing) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.#tell("close", closing);
  }

  #tell(type, detail) {
    this.dispatchEvent(Object.assign(new Event(type), detail));
  }
}
