//! The cost of the kernel alone.
//!
//! Frames are encoded in advance, in blocks of a given size. Each socket costs one bare
//! non-blocking `write` per block. Only the stamps of a block are written anew, once per block and
//! not per client, so that the same receivers can check order, completeness and latency. The floor
//! never skips a line: no client gets more than [`RING_BLOCKS`] blocks ahead of the slowest one.

use crate::clock;
use crate::wire::frame::push_server_text;
use crate::wire::line_template::LineTemplate;
use crate::wire::stamp::{STAMP_BYTES, Stamp};
use memchr::memmem;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The number of prepared blocks. They are enough for writing to continue while the slowest client
/// reads, and few enough to stay in a cache.
const RING_BLOCKS: u64 = 4;

/// The options of [`serve_floor`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloorOptions {
    /// The number of clients to wait for.
    pub clients: usize,
    /// The length of a line in bytes.
    pub line_bytes: usize,
    /// The bytes per write. They are rounded to whole frames.
    pub block_bytes: usize,
    /// Lines per second. Without a rate, the floor writes as fast as the clients read.
    pub lines_per_second: Option<u64>,
}

/// The reason why the floor failed.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    /// A socket, standard input or standard output failed.
    #[error("the floor failed: {0}")]
    Io(std::io::Error),
    /// The first line of standard input is no start command.
    #[error("the floor expected \"start ORIGIN_NS END_NS\" on its input, not {0:?}")]
    Order(String),
}

impl From<std::io::Error> for FloorError {
    fn from(error: std::io::Error) -> FloorError {
        FloorError::Io(error)
    }
}

/// Runs the floor, a server that the generator starts as a child and measures.
///
/// It prints its address to standard error, accepts the clients, and waits for the line
/// `start ORIGIN_NS END_NS` on standard input. It then writes blocks until the end, prints the
/// numbers of lines, writes and bytes to standard output, and ends with its input.
///
/// # Errors
///
/// Fails if a socket, standard input or standard output fails, or if the start command is wrong.
pub fn serve_floor(options: &FloorOptions) -> Result<(), FloorError> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    writeln!(
        std::io::stderr(),
        "listening on ws://{}/ws",
        listener.local_addr()?
    )?;
    let sockets: Vec<TcpStream> = (0..options.clients)
        .map(|_| join(&listener))
        .collect::<Result<_, _>>()?;
    let mut input = std::io::stdin().lock();
    let mut order = String::new();
    input.read_line(&mut order)?;
    let mut times = order
        .split_ascii_whitespace()
        .skip(1)
        .map(str::parse::<u64>);
    let (Some(Ok(origin_ns)), Some(Ok(end_ns))) = (times.next(), times.next()) else {
        return Err(FloorError::Order(order));
    };
    let mut floor = Floor::new(options, sockets, origin_ns, end_ns);
    clock::reduce_timer_slack();
    floor.write_all()?;
    writeln!(
        std::io::stdout(),
        "{} {} {}",
        floor.lines,
        floor.writes,
        floor.bytes
    )?;
    // The input ends when the generator has drained.
    input.read_line(&mut order)?;
    let mut last = Vec::new();
    push_server_text(
        &mut last,
        br#"{"type":"process_status","channel":"process:load","processId":"load","data":{"status":"exited","exitCode":0},"timestamp":"2026-01-01T00:00:00.000Z"}"#,
    );
    // A close frame with code 1001.
    last.extend_from_slice(&[0x88, 2, 0x03, 0xe9]);
    for mut socket in floor.clients.into_iter().map(|client| client.socket) {
        socket.set_nonblocking(false)?;
        socket.write_all(&last)?;
    }
    Ok(())
}

/// Accepts one client: the upgrade, its subscriptions, and the ping that follows them.
fn join(listener: &TcpListener) -> std::io::Result<TcpStream> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    read_until(&mut stream, &mut bytes, |bytes| {
        match memmem::find(bytes, b"\r\n\r\n") {
            Some(end) => ControlFlow::Break(end + 4),
            None => ControlFlow::Continue(0),
        }
    })?;
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key:"))
        .unwrap_or_default();
    let accept = derive_accept_key(key.trim().as_bytes());
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    bytes.clear();
    read_until(&mut stream, &mut bytes, |bytes| match is_ping(bytes) {
        true => ControlFlow::Break(bytes.len()),
        false => ControlFlow::Continue(0),
    })?;
    let mut pong = Vec::new();
    push_server_text(
        &mut pong,
        br#"{"type":"pong","timestamp":"2026-01-01T00:00:00.000Z"}"#,
    );
    stream.write_all(&pong)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Returns whether one of the masked frames is the ping that ends a join.
fn is_ping(mut bytes: &[u8]) -> bool {
    while bytes.len() >= 6 {
        // A client's frame has a mask of four bytes between header and payload.
        let short = usize::from(bytes[1] & 0x7f);
        let (header, length) = if short == 126 && bytes.len() >= 8 {
            (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]])))
        } else {
            (2, short)
        };
        let Some(masked) = bytes.get(header + 4..header + 4 + length) else {
            return false;
        };
        let mask = &bytes[header..header + 4];
        let plain: Vec<u8> = masked
            .iter()
            .zip(mask.iter().cycle())
            .map(|(b, m)| b ^ m)
            .collect();
        if memmem::find(&plain, b"\"ping\"").is_some() {
            return true;
        }
        bytes = &bytes[header + 4 + length..];
    }
    false
}

fn read_until(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
    done: impl Fn(&[u8]) -> ControlFlow<usize, usize>,
) -> std::io::Result<()> {
    let mut chunk = [0; 4096];
    while done(bytes).is_continue() {
        match stream.read(&mut chunk)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
    Ok(())
}

struct Floor {
    clients: Vec<FloorClient>,
    /// Block `n` is at index `n % RING_BLOCKS`.
    ring: Vec<Vec<u8>>,
    /// The number of blocks prepared so far.
    prepared: u64,
    /// The position of each frame's stamp in a block.
    stamps: Vec<usize>,
    lines_per_second: Option<u64>,
    origin_ns: u64,
    end_ns: u64,
    lines: u64,
    writes: u64,
    bytes: u64,
}

struct FloorClient {
    socket: TcpStream,
    /// The block that is written next.
    block: u64,
    /// The bytes of that block that the kernel has taken.
    offset: usize,
    /// True if the kernel took less than it was offered.
    full: bool,
}

impl Floor {
    fn new(options: &FloorOptions, sockets: Vec<TcpStream>, origin_ns: u64, end_ns: u64) -> Floor {
        let frame = prepare_frame(options.line_bytes);
        let stamp = memmem::find(&frame, b"\"~").map_or(0, |at| at + 1);
        let frames = (options.block_bytes as f64 / frame.len() as f64)
            .round()
            .max(1.0) as usize;
        Floor {
            clients: sockets
                .into_iter()
                .map(|socket| FloorClient {
                    socket,
                    block: 0,
                    offset: 0,
                    full: false,
                })
                .collect(),
            ring: (0..RING_BLOCKS).map(|_| frame.repeat(frames)).collect(),
            prepared: 0,
            stamps: (0..frames).map(|i| i * frame.len() + stamp).collect(),
            lines_per_second: options.lines_per_second,
            origin_ns,
            end_ns,
            lines: 0,
            writes: 0,
            bytes: 0,
        }
    }

    /// Writes each block when its last line is due, until the end has come and every client has
    /// every block.
    fn write_all(&mut self) -> std::io::Result<()> {
        clock::sleep_until_ns(self.origin_ns);
        loop {
            let next = self.next_due_ns();
            let now = clock::now_ns();
            let has_room = self.slowest_block() + RING_BLOCKS > self.prepared;
            if let Some(due) = next
                && due <= now
                && has_room
            {
                self.prepare_block(now);
            }
            self.write_prepared()?;
            let all_written = self.slowest_block() == self.prepared;
            match self.next_due_ns() {
                None if all_written => return Ok(()),
                // If the ring is full, a due block waits for the clients.
                next => self.wait_for_room(
                    next.filter(|_| self.slowest_block() + RING_BLOCKS > self.prepared),
                )?,
            }
        }
    }

    /// Returns the time at which the next block is due, or `None` after the end.
    fn next_due_ns(&self) -> Option<u64> {
        let last = self.lines + self.stamps.len() as u64 - 1;
        let due = self.intended_ns(last).unwrap_or_else(clock::now_ns);
        (due < self.end_ns).then_some(due)
    }

    /// Returns the time at which `line` is due, or `None` without a rate.
    fn intended_ns(&self, line: u64) -> Option<u64> {
        let lines_per_second = self.lines_per_second?;
        Some(
            self.origin_ns
                + (u128::from(line) * u128::from(clock::NS_PER_SECOND)
                    / u128::from(lines_per_second)) as u64,
        )
    }

    /// Returns the next block of the slowest client.
    ///
    /// Linear in the number of clients, each of which costs a system call per block anyway.
    fn slowest_block(&self) -> u64 {
        self.clients
            .iter()
            .map(|client| client.block)
            .min()
            .unwrap_or(self.prepared)
    }

    /// Writes the stamps of the next block.
    fn prepare_block(&mut self, now: u64) {
        let place = (self.prepared % RING_BLOCKS) as usize;
        for (i, at) in self.stamps.iter().enumerate() {
            let sequence = self.lines + i as u64;
            let sent_ns = self.intended_ns(sequence).unwrap_or(now);
            Stamp {
                publisher: 0,
                sequence,
                sent_ns,
            }
            .write(&mut self.ring[place][*at..*at + STAMP_BYTES]);
        }
        self.lines += self.stamps.len() as u64;
        self.prepared += 1;
    }

    /// Writes the prepared blocks to every socket that has room.
    fn write_prepared(&mut self) -> std::io::Result<()> {
        for client in &mut self.clients {
            while client.block < self.prepared && !client.full {
                let rest = &self.ring[(client.block % RING_BLOCKS) as usize][client.offset..];
                let written = match client.socket.write(rest) {
                    Ok(n) => n,
                    Err(e)
                        if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
                    {
                        0
                    }
                    Err(e) => return Err(e),
                };
                self.writes += u64::from(written > 0);
                self.bytes += written as u64;
                client.full = written < rest.len();
                client.offset += written;
                if !client.full {
                    client.block += 1;
                    client.offset = 0;
                }
            }
        }
        Ok(())
    }

    /// Sleeps until `due_ns`, or until a full socket has room.
    fn wait_for_room(&mut self, due_ns: Option<u64>) -> std::io::Result<()> {
        let mut full: Vec<&mut FloorClient> = self
            .clients
            .iter_mut()
            .filter(|client| client.full)
            .collect();
        if full.is_empty() {
            due_ns.into_iter().for_each(clock::sleep_until_ns);
            return Ok(());
        }
        let timeout = due_ns.map(|due| clock::timespec(due.saturating_sub(clock::now_ns())));
        let mut waiting: Vec<PollFd<'_>> = full
            .iter()
            .map(|client| PollFd::new(&client.socket, PollFlags::OUT))
            .collect();
        poll(&mut waiting, timeout.as_ref())?;
        let room: Vec<bool> = waiting.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (client, room) in full.iter_mut().zip(room) {
            client.full = !room;
        }
        Ok(())
    }
}

/// Returns a frame of one line as the engine sends it.
fn prepare_frame(line_bytes: usize) -> Vec<u8> {
    let mut line = LineTemplate::new(line_bytes).line();
    Stamp {
        publisher: 0,
        sequence: 0,
        sent_ns: 0,
    }
    .write(&mut line);
    let message = format!(
        "{{\"type\":\"process_output\",\"channel\":\"process:load\",\"processId\":\"load\",\"data\":\"{}\",\"timestamp\":\"2026-01-01T00:00:00.000Z\"}}",
        String::from_utf8_lossy(&line)
    );
    let mut frame = Vec::new();
    push_server_text(&mut frame, message.as_bytes());
    frame
}

/// Returns the length in bytes of the frame of one line.
pub(crate) fn frame_bytes(line_bytes: usize) -> usize {
    prepare_frame(line_bytes).len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{PONG, ParsedFrame, TEXT, parse_frame, push_client_frame};

    #[test]
    fn a_ready_frame_is_one_text_frame_whose_line_receivers_know() {
        let bytes = prepare_frame(100);
        let ParsedFrame::Frame(frame) = parse_frame(&bytes) else {
            panic!("no frame")
        };
        assert_eq!((frame.opcode, frame.len), (TEXT, bytes.len()));
        let mut hint = 0;
        assert!(crate::wire::stamp::find_stamp(frame.payload, &mut hint).is_some());
        assert!(LineTemplate::new(100).matches(frame.payload, hint));
    }

    #[test]
    fn the_ping_that_ends_a_join_is_found_behind_subscriptions_only_when_whole() {
        let mut bytes = Vec::new();
        push_client_frame(&mut bytes, PONG, b"");
        push_client_frame(&mut bytes, TEXT, &[b'x'; 300]);
        assert!(!is_ping(&bytes));
        push_client_frame(&mut bytes, TEXT, b"{\"type\":\"ping\"}");
        assert!(is_ping(&bytes));
        assert!(!is_ping(&bytes[..bytes.len() - 1]));
    }
}
